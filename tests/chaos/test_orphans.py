"""A parallel run whose controller is killed: its workers end with it, and the next run finishes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.plugin.conftest import text_of
from tests.plugin.test_parallel import MEETING, until

WAITING = """
    @step_of("waiting", "a")
    def test_waiting(step):
        step.make(Meeting("here", "go-on"))
"""


def gone(process: int) -> bool:
    """Whether a process has ended; one that nobody has buried yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_workers_do_not_outlive_their_controller(migration, run):
    text = textwrap.dedent(MEETING) + textwrap.dedent(WAITING)
    (migration.path / "phases" / "test_3_meeting.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "phases", "-n", "2"]
    with subprocess.Popen(
        command, cwd=migration.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as controller:
        worker = int(until(migration.path / "here"))
        controller.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while not gone(worker):
        if time.monotonic() > end:
            os.kill(worker, signal.SIGKILL)
            pytest.fail("the worker went on without the lock")
        time.sleep(0.01)
    (migration.path / "go-on").touch()
    again = run("phases", "-n", "2")
    assert again.ret == 0, text_of(again)
