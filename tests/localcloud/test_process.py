"""Processes behind resources: one that nobody wrote down is ended before another is started."""

import os
import time
from pathlib import Path

from lib.localcloud.process import LocalProcess


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_nobody_wrote_down_is_ended(tmp_path: Path) -> None:
    process = LocalProcess(tmp_path / "p")
    process.start("http.server", ["0", "--bind", "127.0.0.1"])
    first = process.pid()
    assert first is not None
    os.remove(tmp_path / "p" / "process.json")  # as a kill of the server between the two leaves it
    process.start("http.server", ["0", "--bind", "127.0.0.1"])
    second = process.pid()
    assert second not in (None, first)
    deadline = time.monotonic() + 10
    while _alive(first):
        assert time.monotonic() < deadline
    os.remove(tmp_path / "p" / "process.json")
    process.stop()
    while _alive(second or 0):
        assert time.monotonic() < deadline
