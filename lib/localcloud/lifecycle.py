"""The life of the server process: start, adopt, describe, stop, reset."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from lib.localcloud.errors import EmbeddedCloudError
from lib.runtime.addresses import holder, require_loopback, subnet

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 90.0
POLL_SECONDS: Final = 0.02
CLAIM_SECONDS: Final = 1.0
CHECKOUT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a server serves and how to get in; ``token`` is its owner's bearer token.

    ``rest`` is where the APIs answer in JSON, ``endpoint`` where they do in gRPC.
    """

    endpoint: str
    ca: str
    token: str
    pid: int
    state: str
    rest: str = ""

    def __repr__(self) -> str:
        return f"Serving({self.endpoint}, pid {self.pid}, {self.state})"


def default_state() -> Path:
    """``$ORCHESTRA_STATE/localcloud``, else ``.migration/localcloud`` of the checkout."""
    root = os.environ.get("ORCHESTRA_STATE")
    return (Path(root) if root else CHECKOUT / ".migration") / "localcloud"


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[IO[str] | None]:
    """Hold a lock file; None where somebody else holds it and ``wait`` is off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
            return
        yield file


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[IO[str] | None]:
    """The lock of a server; those who merely look hold it for an instant, so ask again."""
    deadline = time.monotonic() + CLAIM_SECONDS
    while True:
        with _locked(path, wait=False) as lock:
            if lock is not None or time.monotonic() > deadline:
                yield lock
                return
        time.sleep(POLL_SECONDS)


def running(state: Path) -> Serving | None:
    """The server of a state folder, or None where none runs."""
    if not (state / "server.lock").exists():
        return None
    with _locked(state / "server.lock", wait=False) as lock:
        if lock is not None:
            return None
    try:
        told = json.loads((state / "server.json").read_text())
        token = (state / "token").read_text().strip()
    except (OSError, ValueError):
        return None
    return Serving(token=token, state=str(state), **told)


def start(state: Path, *, operation_seconds: float, host: str, port: int) -> Serving:
    """Return the server of a state folder, started now if it does not run."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(state / "start.lock", wait=True):
        serving = running(state)
        if serving is not None:
            return serving
        for each in (host or f"{subnet(state)}.1", f"{subnet(state)}.2"):  # .2: an instance's
            require_loopback(each, "The embedded cloud")
        (state / "server.json").unlink(missing_ok=True)
        command = [
            sys.executable, "-m", "lib.localcloud", "serve", "--state", str(state),
            "--operation-seconds", str(operation_seconds), "--port", str(port),
            *(["--host", host] if host else []),
        ]  # fmt: skip
        log = state / "server.log"
        begun = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        return _await(state, process, log, begun)


def _await(state: Path, process: "subprocess.Popen[bytes]", log: Path, begun: int) -> Serving:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        serving = running(state)
        if serving is not None and serving.pid == process.pid:
            return serving
        if process.poll() is not None:
            with log.open("rb") as file:
                file.seek(begun)
                said = file.read().decode(errors="replace").strip()[-2000:]
            raise EmbeddedCloudError(
                f"The embedded cloud did not start: {said or 'it said nothing'}",
                remedy=f"see {log}",
            )
        time.sleep(POLL_SECONDS)
    process.kill()
    raise EmbeddedCloudError(
        f"The embedded cloud did not serve within {START_SECONDS:.0f} seconds.",
        remedy=f"see {log}",
    )


def serve(state: Path, *, operation_seconds: float, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then stop what runs behind the resources too."""
    state = state.absolute()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _claimed(state / "server.lock") as lock:
        if lock is None:
            raise EmbeddedCloudError(
                f"Another embedded cloud serves {state}: {_told(state)}.",
                remedy="python -m lib.localcloud stop",
            )
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        _serve(state, operation_seconds, host or f"{subnet(state)}.1", port)


def _serve(state: Path, operation_seconds: float, host: str, port: int) -> None:
    from lib.localcloud.certificates import write_private
    from lib.localcloud.iam import OWNER
    from lib.localcloud.server import Server

    _require_free(host, port)
    _require_free(host, port + 1)
    finished = threading.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: finished.set())
    server = Server(state, host, port, operation_seconds)
    write_private(state / "token", server.token(OWNER).encode())
    server.start()
    told = {
        "endpoint": server.endpoint, "rest": server.rest, "ca": str(state / "ca.pem"),
        "pid": os.getpid(),
    }  # fmt: skip
    write_private(state / "server.json", json.dumps(told).encode())
    finished.wait()
    (state / "server.json").unlink(missing_ok=True)
    server.stop()


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EmbeddedCloudError(
                f"The embedded cloud cannot listen on {host}:{port}: {error.strerror} "
                f"({holder(host, port)}).",
                remedy="stop that process, or start with another --port or --state",
            ) from error


def _told(state: Path) -> str:
    try:
        told = json.loads((state / "server.json").read_text())
    except (OSError, ValueError):
        return "it is starting or stopping"
    return f"process {told['pid']} on {told['endpoint']}"


def stop(state: Path) -> bool:
    """Stop the server and its runtimes, also those of a killed server; False if none ran."""
    if not state.exists():
        return False
    with _locked(state / "start.lock", wait=True):
        serving = running(state)
        if serving is None:
            return _halt_left(state)
        os.kill(serving.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with _locked(state / "server.lock", wait=False) as lock:
                if lock is not None:
                    return True
            time.sleep(POLL_SECONDS)
    raise EmbeddedCloudError(
        f"The embedded cloud (process {serving.pid}) does not stop.",
        remedy=f"see {state / 'server.log'}, then kill -9 {serving.pid}",
    )


def _halt_left(state: Path) -> bool:
    """Stop runtimes that a killed server left."""
    if not (state / "state.db").exists():
        return False
    from lib.localcloud.core import Core
    from lib.localcloud.supervisor import Supervisor

    core = Core(state, subnet(state))
    Supervisor(core).halt()
    core.close()
    return False


def reset(state: Path) -> None:
    """Stop everything and remove every resource and its data."""
    if not state.exists():
        return
    stop(state)
    if (state / "state.db").exists():
        from lib.localcloud.core import Core
        from lib.localcloud.supervisor import Supervisor

        core = Core(state, subnet(state))
        Supervisor(core).discard()
        core.close()
    shutil.rmtree(state)


def resources(state: Path) -> list[dict[str, str]]:
    """Every resource with its kind, state and address, read from the store."""
    if not (state / "state.db").exists():
        return []
    from lib.localcloud.core import Core

    core = Core(state, subnet(state))
    found = []
    for service in core.services_in_use():
        for kind in service.of_kind.values():
            for name, pb in kind.everything():
                found.append(
                    {
                        "kind": kind.name,
                        "name": name,
                        "state": kind.state_name(pb),
                        "address": kind.where(pb),
                        "process": ("running" if kind.alive(pb) else "down") if kind.backed else "",
                    }
                )
    core.close()
    return found


def token(state: Path, principal: str) -> str:
    """The bearer token of a principal, made when there is none."""
    from lib.localcloud.iam import Identities
    from lib.localcloud.store import Store

    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = Store(state / "state.db")
    try:
        return Identities(store).token(principal)
    except ValueError as error:
        raise EmbeddedCloudError(str(error), expected="user:NAME@DOMAIN") from error
    finally:
        store.close()


def as_json(serving: Serving) -> str:
    """The line that programs read."""
    return json.dumps(asdict(serving))
