"""Steps on several workers: order, failures, skips and checkpoints as in one process."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.plugin.conftest import Migrate, applied, text_of

MEETING = """
    import os, time
    import pytest
    from pathlib import Path
    from lib.engine.changes import Change, ChangeKind

    def wait_for(path, safe_point=lambda: None):
        end = time.monotonic() + 30
        while not Path(path).exists():
            assert time.monotonic() < end, f"nobody wrote {path}"
            safe_point()
            time.sleep(0.01)

    class Meeting:
        def __init__(self, mine, theirs):
            self.mine, self.theirs, self.subject = mine, theirs, f"meeting {mine}"
        def observe(self):
            return None
        def plan(self, observed):
            return Change(ChangeKind.CREATE, self.subject)
        def apply(self, change, journal):
            Path(self.mine).write_text(str(os.getpid()))
            wait_for(self.theirs, journal.safe_point)
        def verify(self):
            return None
        def undo(self, change, journal):
            pass

    def step_of(name, *depends):
        def marked(function):
            mark = pytest.mark.dependency(name=name, depends=list(depends), scope="session")
            return pytest.mark.component("meeting")(mark(function))
        return marked
"""


@pytest.fixture
def meet(migration, run):
    """Adds a phase of steps that meet; gives what runs it with workers."""

    def write(steps: str) -> None:
        text = textwrap.dedent(MEETING) + textwrap.dedent(steps)
        (migration.path / "phases" / "test_3_meeting.py").write_text(text)

    return write


def checkpoints(migration) -> dict[str, tuple[str, str, str, str, int]]:
    with sqlite3.connect(migration.path / ".migration" / "development.db") as store:
        rows = store.execute(
            "select step, state, inputs, outputs, changes, attempt from orchestra_checkpoints"
        )
        return {
            row[0]: (row[1], row[5], *(json.dumps(json.loads(c), sort_keys=True) for c in row[2:5]))
            for row in rows
        }


def test_checkpoints_are_those_of_a_serial_run(migration, run: Migrate):
    assert run("phases", "--checkpoint", ".migration/serial.db").ret == 0
    for path in migration.path.glob("?.txt"):
        path.unlink()
    assert run("phases", "-n", "2").ret == 0
    parallel = checkpoints(migration)
    (migration.path / ".migration" / "development.db").unlink()
    (migration.path / ".migration" / "serial.db").rename(
        migration.path / ".migration" / "development.db"
    )
    assert parallel == checkpoints(migration)
    again = run("phases", "-n", "2")
    assert again.ret == 0
    assert text_of(again).count("in run 1") == 4
    assert len(applied(migration)) == 8


def test_independent_steps_run_at_once_and_each_begins_when_its_own_are_done(run, meet):
    meet("""
        @step_of("left", "a")
        def test_left(step):
            step.make(Meeting("left", "late"))

        @step_of("early", "a")
        def test_early(step):
            step.make(Meeting("early", "early"))

        @step_of("late", "early")
        def test_late(step):
            step.make(Meeting("late", "left"))
    """)
    result = run("phases/test_3_meeting.py", "-n", "2")
    assert result.ret == 0, text_of(result)


def test_a_failure_stops_what_depends_on_it_and_nothing_else(migration, run: Migrate):
    result = run("phases", "-n", "2", FAIL_B="1")
    assert result.ret == 1
    seen = text_of(result)
    assert "B broke." in seen
    assert "mend B" in seen
    assert "waits for b" in seen
    assert "Traceback" not in seen
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "d.txt"]
    assert run("phases", "-n", "2").ret == 0
    assert sorted(line.split()[0] for line in applied(migration)) == [
        "a.txt",
        "b.txt",
        "c.txt",
        "d.txt",
    ]


def test_a_worker_that_dies_loses_its_step_alone(migration, run: Migrate):
    result = run("phases", "-n", "2", DIE_IN="b.txt")
    assert result.ret == 1
    seen = text_of(result)
    assert "The process that ran this step died." in seen
    states = {name: row[0] for name, row in checkpoints(migration).items()}
    assert states == {"a": "done", "b": "running", "d": "done"}
    assert run("phases", "-n", "2").ret == 0
    assert checkpoints(migration)["b"][1] == 2, "its second attempt"


def test_other_tests_are_left_to_xdist(migration, run: Migrate):
    folder = migration.mkdir("tests")
    (folder / "test_other.py").write_text("def test_one(): pass\ndef test_two(): pass")
    result = run("tests", "-n", "2")
    assert result.ret == 0
    result.assert_outcomes(passed=2)


def test_reports_are_whole(migration, run: Migrate):
    run("phases", "-n", "2", "--junit-xml=junit.xml")
    junit = (migration.path / "junit.xml").read_text()
    assert junit.count("<testcase") == 4
    assert junit.count('name="phase"') >= 4


def test_a_step_sees_what_other_workers_finished_in_the_same_run(migration, run, meet):
    meet("""
        @step_of("left", "a")
        def test_left(step):
            step.make(Meeting("left", "right"))

        @step_of("right", "a")
        def test_right(step):
            step.make(Meeting("right", "left"))

        @step_of("told", "left", "right")
        def test_told(step, migration):
            steps = migration.finished_steps(step.name)
            Path("told").write_text(" ".join(each["step"] for each in steps))
    """)
    assert run("phases/test_3_meeting.py", "-n", "2").ret == 0
    assert (migration.path / "told").read_text() == "a left right"


def test_what_changes_nothing_needs_no_workers(migration, run: Migrate):
    assert run("phases", "-n", "2", "--dry-run").ret == 0
    assert run("phases", "-n", "2", "--status").ret == 0
    assert applied(migration) == []


@pytest.mark.parametrize("more", [[], ["--benchmark-only"]])
def test_criteria_are_never_measured_in_parallel(migration, run: Migrate, more):
    folder = migration.mkdir("validation")
    (folder / "test_criteria.py").write_text("def test_one(): pass")
    result = run("validation", "-n", "2", *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "criteria are measured one after the other" in text_of(result)
    assert "pytest phases/ -n 2, then pytest validation/ without -n" in text_of(result)


def until(path: Path) -> str:
    end = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return path.read_text()


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["serial", "parallel"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_lets_steps_reach_a_safe_point(migration, run, meet, workers, number):
    meet("""
        @step_of("waiting", "a")
        def test_waiting(step):
            step.make(Meeting("here", "go-on"))

        @step_of("after", "waiting")
        def test_after(step):
            step.make(Meeting("never", "never"))
    """)
    command = [sys.executable, "-m", "pytest", "phases/test_3_meeting.py", *workers]
    process = subprocess.Popen(
        command, cwd=migration.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(migration.path / "here")
    process.send_signal(number)
    seen, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, seen
    assert "stopping at the next safe point" in seen
    assert checkpoints(migration)["waiting"][0] == "running"
    assert not (migration.path / "never").exists()
    (migration.path / "go-on").write_text("")
    again = run("phases/test_3_meeting.py::test_waiting", *workers)
    assert again.ret == 0, "the lock is free, and the step is done"


def test_a_second_interruption_stops_at_once(migration, meet):
    meet("""
        @step_of("deaf", "a")
        def test_deaf(step):
            Path("here").write_text("1")
            wait_for("never")
    """)
    command = [sys.executable, "-m", "pytest", "phases/test_3_meeting.py", "-n", "2"]
    process = subprocess.Popen(
        command, cwd=migration.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    until(migration.path / "here")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    for line in process.stdout:
        if "stopping at the next safe point" in line:
            break
    process.send_signal(signal.SIGTERM)
    seen, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, seen
    assert os.path.exists(migration.path / ".migration")
