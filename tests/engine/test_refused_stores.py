"""What is no store of ours is refused, and stays as it was to the byte."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lib.engine.errors import CheckpointError
from lib.engine.lock import RunLock
from lib.engine.store import Store


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table invoices (number)")


def newer(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("update orchestra_meta set value = '2x' where key = 'version'")


def corrupt(path: Path) -> None:
    Store(path).close()
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)


def text(path: Path) -> None:
    path.write_text("no database at all")


@pytest.mark.parametrize("make", [foreign, newer, corrupt, text])
@pytest.mark.parametrize("create", [True, False])
def test_what_is_no_usable_store_stays_as_it_was(tmp_path, make, create):
    path = tmp_path / "store.db"
    make(path)
    before = files(tmp_path)
    with pytest.raises(CheckpointError, match=r"store\.db"):
        Store(path, create=create)
    assert files(tmp_path) == before


@pytest.mark.parametrize("place", ["file/store.db", "/proc/nowhere/store.db", "/dev/null"])
def test_a_place_where_no_file_can_be_made_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(CheckpointError, match="can't be written"):
        Store(place)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_any_file_name_will_do(tmp_path):
    path = tmp_path / "what? 100%20.db"
    Store(path).close()
    assert path.exists()


def test_who_only_looks_makes_no_store(make_database, tmp_path):
    empty = tmp_path / "empty.db"
    empty.touch()
    for location in (make_database(), str(empty)):
        looking = Store(location, create=False)
        assert not looking.exists
        looking.close()
        made = Store(location)
        assert made.exists
        made.close()
    assert Store(empty, create=False).exists


def test_nobody_takes_over_while_the_holder_writes(make_database):
    url = make_database()
    holding = Store(url)
    lock = RunLock(holding, lease=1e-9)
    lock.acquire()
    other = Store(url + "?options=-c%20lock_timeout%3D100")
    token, who, _ = other.read_lock()
    with holding.fenced(), ThreadPoolExecutor(1) as elsewhere:
        taking = elsewhere.submit(other.take_lock, token, who, 60.0)
        with pytest.raises(CheckpointError, match="lock timeout"):
            taking.result()
    assert other.take_lock(token, who, 60.0)
    lock.release()
    holding.close()
    other.close()


def test_a_store_that_another_program_holds_is_told_as_such(tmp_path, monkeypatch):
    path = tmp_path / "store.db"
    store = Store(path)
    store._driver.execute("pragma busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    try:
        with pytest.raises(CheckpointError, match="locked"):
            store.checkpoints()
    finally:
        other.close()
        store.close()
