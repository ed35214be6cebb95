"""Input that is wrong is refused at collection, whatever was asked for, and nothing is touched."""

import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from lib.engine.store import Store
from tests.plugin.conftest import Migrate, applied, undone
from tests.plugin.test_refusals import refused

ROOT = Path(__file__).resolve().parents[2]
WAYS = [
    ("--dry-run",),
    ("--status",),
    ("--detect-drift",),
    ("--rollback",),
    ("--collect-only",),
    ("-n", "2"),
]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_cycle_through_two_phases_is_told_whole_whatever_was_asked_for(migration, run, way):
    path = migration.path / "phases" / "test_1_first.py"
    path.write_text(path.read_text().replace('name="a", depends=[]', 'name="a", depends=["c"]'))
    seen = refused(run("phases", *way))
    assert "The steps form a cycle: a -> c -> b -> a." in seen
    assert applied(migration) == []
    assert not (migration.path / ".migration").exists()


def test_a_cycle_is_told_where_one_good_step_was_chosen(migration, run: Migrate):
    path = migration.path / "phases" / "test_2_second.py"
    path.write_text(path.read_text().replace('name="c", depends=["b"]', 'name="c", depends=["c"]'))
    assert "cycle: c -> c" in refused(run("phases/test_1_first.py::test_a"))
    assert applied(migration) == []


@pytest.fixture
def finished(migration, run: Migrate):
    """A finished migration's store, in one file."""
    assert run().ret == 0
    path = migration.path / ".migration" / "development.db"
    Store(path).close()
    assert not path.with_name("development.db-wal").exists()
    return path


@pytest.mark.parametrize("way", [(), *WAYS[:4]], ids=" ".join)
def test_a_newer_store_is_refused_by_its_version(migration, run: Migrate, finished, way):
    with closing(sqlite3.connect(finished)) as store, store:
        store.execute("update orchestra_meta set value = '99' where key = 'version'")
    before = finished.read_bytes()
    seen = refused(run("phases", *way))
    assert "written by a newer version of this tool (store version 99)" in seen
    assert "update this checkout" in seen
    assert finished.read_bytes() == before
    assert len(applied(migration)) == 4


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.99])
def test_a_store_cut_short_anywhere_is_refused_and_left_as_it_is(migration, run, finished, part):
    content = finished.read_bytes()
    content = content[: int(len(content) * part)]
    finished.write_bytes(content)
    for way in ((), ("--status",)):
        assert "can't be used" in refused(run("phases", *way))
    assert finished.read_bytes() == content
    assert len(applied(migration)) == 4


@pytest.mark.parametrize("paths", [["phases"], ["phases", "validation"], ["."]], ids=" ".join)
def test_benchmarks_are_never_run_at_once(migration, run: Migrate, paths):
    folder = migration.mkdir("validation")
    (folder / "test_criteria.py").write_text("def test_one(benchmark): benchmark(int)")
    seen = refused(run(*paths, "-n", "2", "--benchmark-only"))
    assert "on a machine that does nothing else" in seen
    assert "pytest phases/ -n 2, then pytest validation/ without -n" in seen
    assert applied(migration) == []


@pytest.mark.parametrize("to", ["nosuch", "test_b", "", "A"])
def test_a_rollback_to_what_does_not_exist_takes_nothing_back(migration, run, finished, to):
    before = finished.read_bytes()
    seen = refused(run("phases", "--rollback", "--to", to))
    assert "first, second" in seen
    assert undone(migration) == []
    assert finished.read_bytes() == before


def test_a_database_that_only_lets_read_is_refused(migration, run: Migrate, make_database):
    url = make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        only = sql.SQL("alter database {} set default_transaction_read_only = on")
        connection.execute(only.format(name))
    seen = refused(run("phases", "--checkpoint", url))
    assert "read-only transaction" in seen
    assert applied(migration) == []


LOOK_AS_NOBODY = """
import os, sys
from pathlib import Path
from lib.engine.store import Store

own, path = map(Path, sys.argv[1:])
Store(own).close()  # imports what the other user may not be able to read
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    Store(path).checkpoints()
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("closed", ["the file", "its folder"])
def test_a_file_that_may_only_be_read_is_refused(closed, tmp_path):
    """Not in pytest's own folders, which nobody else may enter."""
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "store.db"
        Store(path).close()
        before = path.read_bytes()
        folder.chmod(0o555 if closed == "its folder" else 0o777)
        path.chmod(0o444 if closed == "the file" else 0o666)
        command = [sys.executable, "-c", LOOK_AS_NOBODY, tmp_path / "own.db", path]
        told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        folder.chmod(0o700)
        assert told.startswith("CheckpointError: The checkpoint store")
        assert "writ" in told
        assert "to mend it" in told
        assert path.read_bytes() == before
