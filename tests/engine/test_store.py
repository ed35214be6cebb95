"""Checkpoints in SQLite and PostgreSQL: durable, whole, fenced by the lock."""

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CheckpointError, LockHeld, LockLost
from lib.engine.lock import RunLock, holder
from lib.engine.run import Run, StepState
from lib.engine.store import Checkpoint, Store
from lib.engine.tables import VERSION

DATA = Path(__file__).parent / "data"
CHANGE = Change(
    ChangeKind.UPDATE,
    "thing",
    fields=(FieldChange("size", 1, [2, "x"]),),
    reason="it grew",
    quantities={"rows": 3},
)


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    return str(request.getfixturevalue("make_database")())


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    store = Store(location)
    yield store
    store.close()


def done(step: str, run: int = 1, **more: object) -> Checkpoint:
    values = {
        "state": "done",
        "attempt": 1,
        "started_at": 10.0,
        "finished_at": 12.5,
        "inputs": {"setting:size": "abc"},
        "outputs": {"address": "10.0.0.1"},
        "changes": (CHANGE,),
        "error": None,
    }
    return Checkpoint(step=step, run=run, **(values | more))  # type: ignore[arg-type]


def test_a_checkpoint_is_read_back_as_it_was_written(store, location):
    store.finish(done("a"))
    again = Store(location)
    assert again.checkpoint("a") == done("a")
    assert again.checkpoint("b") is None
    assert done("a").seconds == 2.5
    again.close()


def test_an_intent_stands_until_it_is_undone_and_history_is_kept(store):
    store.intend("a", 1, 1, 10.0, CHANGE)
    assert store.checkpoint("a").state == "running"
    store.finish(done("a", state="failed", error="broken"))
    (intent,) = store.intents("a")
    assert (intent.change, intent.state) == (CHANGE, "intended")
    store.intend("a", 2, 2, 11.0, CHANGE)
    store.finish(done("a", run=2, attempt=2))
    assert [each.state for each in store.intents("a")] == ["applied", "applied"]
    store.undone(intent.id)
    assert len(store.intents("a")) == 1
    assert [row["state"] for row in store.history("a")] == ["failed", "done"]


def test_the_journal_survives_a_failure_and_ends_with_the_step(store):
    store.journal_put("a", "thing", {"op:1": "name", "op:2": 2, "other": None})
    store.journal_put("a", "thing", {"op:2": 3})
    store.finish(done("a", state="failed"))
    assert store.journal_entries("a", "thing", "op:") == {"op:1": "name", "op:2": 3}
    store.journal_forget("a", "thing", "op:1")
    assert store.journal_entries("a", "thing", "") == {"op:2": 3, "other": None}
    store.finish(done("a"))
    assert store.journal_entries("a", "thing", "") == {}


def test_forgetting_checkpoints_keeps_history_and_intents(store):
    store.intend("a", 1, 1, 10.0, CHANGE)
    store.finish(done("a"))
    store.forget_checkpoints(store.checkpoints())
    assert store.checkpoints() == {}
    assert store.history("a")
    assert store.intents("a")


def test_a_second_run_is_told_who_holds_the_lock(store, location):
    lock = RunLock(store)
    lock.acquire()
    other = Store(location)
    with pytest.raises(LockHeld) as raised:
        RunLock(other).acquire()
    assert f"process {os.getpid()}" in str(raised.value)
    lock.release()
    second = RunLock(other)
    second.acquire()
    second.release()
    other.close()


def test_a_dead_holder_frees_the_lock_by_itself(store, location):
    code = (
        "import sys, os, signal; from lib.engine.store import Store;"
        "from lib.engine.lock import RunLock; RunLock(Store(sys.argv[1])).acquire();"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    died = subprocess.run([sys.executable, "-c", code, location], check=False)
    assert died.returncode == -signal.SIGKILL
    lock = RunLock(store)
    lock.acquire()
    lock.release()


def test_who_lost_the_lock_writes_nothing_more(store, location):
    frozen = RunLock(store, lease=1e-9)
    frozen.acquire()
    other = Store(location)
    token, who, _ = other.read_lock()
    assert other.take_lock(token, {**who, "pid": 0}, 60.0)
    with pytest.raises(LockLost):
        store.finish(done("a"))
    with pytest.raises(LockLost):
        store.journal_put("a", "thing", {"key": 1})
    assert other.checkpoints() == {}
    frozen.release()
    assert other.read_lock()[0] == token + 1, "the loser's release must not free another's lock"
    other.close()


def test_a_kill_between_intent_and_result_shows(location):
    code = (
        "import sys, os, signal; from lib.engine.store import Store;"
        "from lib.engine.changes import Change, ChangeKind;"
        "s = Store(sys.argv[1]); s.intend('a', 1, 1, 1.0, Change(ChangeKind.CREATE, 'thing'));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, location], check=False)
    store = Store(location)
    assert Run(store).standing("a").state is StepState.INTERRUPTED
    store.close()


@pytest.mark.parametrize("change", ["setting", "source", "world", "output"])
def test_a_changed_input_makes_a_step_pending(tmp_path, change):
    from dataclasses import dataclass

    from lib.engine.step import Step

    @dataclass(frozen=True)
    class Settings:
        size: int = 1

    store = Store(tmp_path / "store.db")
    world = ["one"]
    run = Run(store, settings=Settings(), world=lambda: world[0])
    run.sources = {"b": "code"}
    run.begin(["test"])
    first = Step("a", run)
    first.publish(address="x")
    first.finish(None)
    second = Step("b", run)
    assert second.settings.size == 1
    assert second.output("a", "address") == "x"
    second.finish(None)
    assert run.standing("b").state is StepState.DONE
    if change == "setting":
        run.settings = Settings(2)
    elif change == "source":
        run.sources = {"b": "other code"}
    elif change == "world":
        world[0] = "two"
    else:
        again = Step("a", run)
        again.publish(address="y")
        again.finish(None)
    standing = run.standing("b")
    assert standing.state is StepState.PENDING
    words = {"setting": "size", "source": "its code", "world": "target", "output": "a.address"}
    assert words[change] in standing.reason
    run.end("passed")
    store.close()


def test_a_store_of_an_older_version_still_loads(tmp_path):
    kept = sorted(DATA.glob("store-v*.db"))
    assert [path.stem for path in kept] == [f"store-v{n}" for n in range(1, VERSION + 1)]
    for path in kept:
        copy = tmp_path / path.name
        shutil.copy(path, copy)
        store = Store(copy)
        assert store.checkpoint("a") == done("a")
        assert [row["state"] for row in store.history()] == ["done"]
        store.close()


def test_a_newer_store_is_refused_by_its_version(tmp_path):
    path = tmp_path / "store.db"
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("update orchestra_meta set value = '99' where key = 'version'")
    with pytest.raises(CheckpointError, match="version 99"):
        Store(path)


def test_a_truncated_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "store.db"
    store = Store(path)
    for number in range(200):
        store.finish(done(f"step-{number}"))
    store.close()
    content = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="can't be used"):
        broken = Store(path)
        broken.checkpoints()
    assert path.read_bytes() == content


def test_places_where_no_store_can_be_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="can't be written"):
        Store(tmp_path)
    with pytest.raises(CheckpointError, match="can't be kept"):
        Store("mysql://somewhere/else")
    with pytest.raises(CheckpointError) as raised:
        Store("postgresql://user:pass-word@127.0.0.1:1/none")
    assert "pass-word" not in str(raised.value)


def test_a_checkpoint_is_one_durable_transaction(tmp_path):
    """Full synchronisation, and one commit a step: what the cost of a checkpoint rests on."""
    store = Store(tmp_path / "store.db")
    with store.transaction() as connection:
        assert connection.exec_driver_sql("pragma synchronous").scalar() == 2
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
    assert holder()["pid"] == os.getpid()
    assert abs(float(str(holder()["since"])) - time.time()) < 60
    store.close()


def test_a_new_store_is_made_by_one_process_at_a_time(tmp_path):
    path = tmp_path / "store.db"
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as elsewhere:
        making = elsewhere.submit(Store, path)
        with pytest.raises(TimeoutError):
            making.result(timeout=0.1)
        assert not path.exists() or not path.stat().st_size, "it waits before it looks"
        os.close(other)
        making.result().close()
    assert path.stat().st_size
