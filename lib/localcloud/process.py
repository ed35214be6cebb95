"""A process of ours in a session of its own that outlives the server and is found again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lib.localcloud import errors
from lib.localcloud.certificates import write_private
from lib.localcloud.probes import await_ready, tcp_answers
from lib.runtime.processes import environment

CHECKOUT: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 10.0
LISTEN_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.02
MARK: Final = "EMBEDDED_CLOUD_FOLDER"
_children: list["subprocess.Popen[bytes]"] = []


@dataclass(frozen=True, slots=True)
class LocalProcess:
    """A Python module running as a process; ``folder`` keeps its log and its identity."""

    folder: Path

    def start(
        self, module: str, arguments: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> None:
        """Run ``python -m module``; one that runs already is left alone."""
        if self.running():
            return
        self._end_strays()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "process.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], cwd=CHECKOUT,
                env={**environment(), **(variables or {}), MARK: str(self.folder)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        _children.append(process)
        told = {"pid": process.pid, "started": _start_time(process.pid)}
        write_private(self._identity, json.dumps(told).encode())

    def await_listening(self, host: str, port: int, seconds: float = LISTEN_SECONDS) -> None:
        """Return once it accepts connections; INTERNAL where it has ended, or does not."""
        if not await_ready(lambda: tcp_answers(host, port), self.running, seconds):
            said = self.last_words()
            self.stop()
            raise errors.internal(f"what should listen on {host}:{port} did not start: {said}")

    def running(self) -> bool:
        """Whether the process lives."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """The process, known by its id and start time; None where it has ended."""
        _children[:] = [child for child in _children if child.poll() is None]
        try:
            told = json.loads(self._identity.read_text())
        except (OSError, ValueError):
            return None
        pid = int(told["pid"])
        started = _start_time(pid)
        return pid if started is not None and started == told["started"] else None

    def stop(self) -> None:
        """End the process and everything in its session."""
        for which, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            pid = self.pid()
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, which)
            deadline = time.monotonic() + seconds
            while self.running() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        self._end_strays()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it was never started
            self._identity.unlink()

    def _end_strays(self) -> None:
        """End processes of this folder that were started just before their server was killed."""
        mark = f"{MARK}={self.folder}".encode()
        for found in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in found.read_bytes().split(b"\0"):
                    os.kill(int(found.parent.name), signal.SIGKILL)

    def last_words(self, size: int = 1500) -> str:
        """The end of the process's log."""
        try:
            return (self.folder / "process.log").read_text(errors="replace")[-size:].strip()
        except OSError:
            return ""

    @property
    def _identity(self) -> Path:
        return self.folder / "process.json"


def _start_time(pid: int) -> str | None:
    """The kernel's start time of a living process that is no zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
