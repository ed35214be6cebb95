"""Failures of the step, the process and the lock: what is written is whole, or not there."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import LockLost
from lib.engine.lock import RunLock
from lib.engine.run import Run, StepState
from lib.engine.step import Step
from lib.engine.store import Store
from lib.errors import MigrationError


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    return str(request.getfixturevalue("make_database")())


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    store = Store(location)
    yield store
    store.close()


@pytest.mark.parametrize("text", ["NUL \0 in it", "a lone \udcff", "", "❄ " * 5000], ids=ascii)
def test_any_failure_can_be_recorded(store, text):
    run = Run(store)
    Step("a", run).finish(MigrationError(text))
    assert store.checkpoint("a").error
    assert Run(store).standing("a").state is StepState.FAILED


def test_a_secret_in_a_failure_is_not_recorded(store):
    run = Run(store)
    Step("a", run).finish(MigrationError("no answer from postgresql://me:s3cr3t-word@host/db"))
    assert "s3cr3t-word" not in store.checkpoint("a").error
    assert "postgresql://me:" in store.checkpoint("a").error


def test_a_result_that_cannot_be_stored_leaves_the_intent_standing(store):
    run = Run(store)
    step = Step("a", run)
    change = Change(ChangeKind.CREATE, "thing")
    store.intend("a", 1, 1, 1.0, change)
    step.publish(address=object())
    with pytest.raises(Exception, match="serializable"):
        step.finish(None)
    assert store.checkpoint("a").state == "running"
    assert [each.state for each in store.intents("a")] == ["intended"]
    assert store.history("a") == []
    store.journal_put("a", "thing", {"still": "usable"})


RACER = """
import sys
from lib.engine.errors import LockHeld
from lib.engine.lock import RunLock
from lib.engine.store import Store
store = Store(sys.argv[1])
for line in sys.stdin:
    lock = RunLock(store)
    try:
        lock.acquire()
    except LockHeld:
        print("held", flush=True)
        sys.stdin.readline()
    else:
        print("works", flush=True)
        sys.stdin.readline()
        lock.release()
    print("ended", flush=True)
"""


def test_of_two_runs_at_once_one_works_every_time(location):
    Store(location).close()
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, location],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(2)
    ]

    def all_say(word: str) -> list[str]:
        for racer in racers:
            racer.stdin.write(f"{word}\n")
        return sorted(racer.stdout.readline().strip() for racer in racers)

    for _ in range(20):
        assert all_say("go") == ["held", "works"]
        assert all_say("end") == ["ended", "ended"]
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0


def test_a_holder_that_nobody_has_buried_yet_is_dead(store, location):
    code = (
        "import sys, os; from lib.engine.store import Store;"
        "from lib.engine.lock import RunLock; RunLock(Store(sys.argv[1])).acquire(); os._exit(1)"
    )
    died = subprocess.Popen([sys.executable, "-c", code, location])
    os.waitid(os.P_PID, died.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    lock = RunLock(store)
    lock.acquire()
    lock.release()
    assert died.wait() == 1


def test_the_heartbeat_notices_the_loss_and_the_step_stops_at_its_next_safe_point(store, location):
    run = Run(store, lease=0.03)
    run.begin(["test"])
    other = Store(location)
    token, who, _ = other.read_lock()
    assert other.take_lock(token, {**who, "pid": 0}, 60.0)
    run._lock._thread.join(timeout=30)
    with pytest.raises(LockLost, match="taken over"):
        run.safe_point()
    run.end("failed")
    assert other.read_lock()[0] == token + 1
    other.close()
