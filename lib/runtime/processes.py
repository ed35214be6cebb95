"""Server processes that outlive this one: begin, recognise, end."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lib.runtime.account import Account, run_as
from lib.runtime.errors import ServerFailed
from lib.runtime.folders import explained

POLL_SECONDS = 0.01
_LOG_TAIL = 12
_begun: list[subprocess.Popen[bytes]] = []  # kept so that ended ones are reaped


def begin(
    command: Sequence[str | Path], folder: Path, log: Path, account: Account | None
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, writing to ``log``."""
    _begun[:] = [process for process in _begun if process.poll() is None]
    with explained(folder), log.open("ab") as output:
        process = subprocess.Popen(
            run_as(account, command),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _begun.append(process)
    return process


def environment() -> dict[str, str]:
    """A server's environment: the caller's PG* settings, language and secrets stay out."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def is_server(pid: int, program: str, marker: Path) -> bool:
    """Whether a living process is that program, called with that path.

    The command line is the one thing of a process that everybody may read everywhere.
    """
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return Path(os.fsdecode(words[0])).name == program and os.fsencode(marker) in words


def await_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, seconds: float
) -> None:
    """Return when the server serves; raise ``ServerFailed`` if it ends or stays silent."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise failure(f"It ended with exit code {process.returncode}.", log)
        if time.monotonic() > deadline:
            raise failure(f"It didn't serve within {seconds:.0f} seconds.", log)
        time.sleep(POLL_SECONDS)


def end(
    pid: int, signals: Sequence[tuple[signal.Signals, float]], alive: Callable[[], bool]
) -> None:
    """Send one signal after the other, each with its seconds to take effect.

    Raises ``ServerFailed`` when the process outlives them all.
    """
    for which, seconds in signals:
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not alive():
                return
            time.sleep(POLL_SECONDS)
    raise ServerFailed(f"The server (process {pid}) doesn't end.", remedy=f"kill -9 {pid}")


def failure(what: str, log: Path) -> ServerFailed:
    """An error that quotes the end of a server's log."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
    except OSError:
        lines = []
    quoted = "".join(f"\n    {line}" for line in lines)
    return ServerFailed(f"{what} The end of its log:{quoted}", remedy=f"read {log}")
