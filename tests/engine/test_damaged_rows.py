"""Rows that nobody of ours wrote are refused as what they are, and stay as they were."""

import sqlite3
from contextlib import closing

import pytest

from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import CheckpointError
from lib.engine.run import Run
from lib.engine.store import Checkpoint, Store

CHANGE = Change(ChangeKind.CREATE, "thing")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "half done"),
        ("inputs", "no JSON"),
        ("inputs", "[1]"),
        ("outputs", "3"),
        ("outputs", b"\xff\xfe"),
        ("changes", "{}}"),
        ("changes", '[{"kind": "explode", "subject": "thing"}]'),
        ("changes", '[{"subject": "thing"}]'),
        ("changes", '["create"]'),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, column, value):
    path = tmp_path / "store.db"
    store = Store(path)
    store.finish(Checkpoint("a", "done", 1, 1, 1.0, 2.0, {}, {}, (CHANGE,), None))
    store.close()
    damage(path, f"update orchestra_checkpoints set {column} = ?", value)
    refused(path, lambda store: Run(store))
    refused(path, lambda store: store.checkpoint("a"))


@pytest.mark.parametrize("value", ["no JSON", "[]", '{"kind": "create"}'])
def test_a_damaged_intent_is_refused(tmp_path, value):
    path = tmp_path / "store.db"
    store = Store(path)
    store.intend("a", 1, 1, 1.0, CHANGE)
    store.close()
    damage(path, "update orchestra_intents set change = ?", value)
    refused(path, lambda store: store.intents("a"))


def damage(path, statement: str, value) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement, (value,))


def refused(path, look) -> None:
    before = path.read_bytes()
    store = Store(path)
    with pytest.raises(CheckpointError, match=r"store\.db can't be used: a row of it"):
        look(store)
    store.close()
    assert path.read_bytes() == before
