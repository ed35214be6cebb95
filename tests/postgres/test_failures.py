"""Failures on the way: each is told clearly, nothing is half-counted, and the next run goes on."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from lib.errors import MigrationError
from lib.postgres import catalog, snapshot
from lib.postgres.comparison import compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database, connect
from lib.postgres.errors import CopyFailed, Obstacle
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.verified import Verified
from lib.runtime.account import server_account
from lib.runtime.binaries import pg_dump_path
from tests.postgres.conftest import Notes, make, run_sql

SCHEMA = SchemaOptions(pg_dump=pg_dump_path())
SMALL = CopyOptions(workers=2, chunk_bytes=1 << 16)
ROWS = """
create table wide (id int primary key, filler text);
alter table wide alter filler set storage external;
insert into wide select n, repeat(md5(n::text), 6000) from generate_series(1, 60) n;
create table small (id int primary key, filler text);
insert into small select n, repeat('x', 100) from generate_series(1, 8000) n;
analyze
"""


@pytest.fixture
def moved(source: Database, target: Database) -> tuple[Database, Database]:
    """A source with some 12 MB in 60 rows, and a target with its schema."""
    for statement in ROWS.split(";\n"):
        run_sql(source, statement)
    make(PreDataSchema(source, target, SCHEMA))
    return source, target


def require_counted(target: Database) -> None:
    """The bookkeeping counts exactly the rows that are there."""
    counted = run_sql(
        target,
        "select table_name, sum(rows)::int from orchestra_migration.chunk where xid is not null"
        " group by 1",
    )
    for table, rows in counted:
        assert run_sql(target, f"select count(*) from {table}") == [(rows,)]


def finish(source: Database, target: Database) -> None:
    """The next run goes on and ends well."""
    make(CopyRows(source, target, SMALL))
    assert compare(source, target).describe() == ""


@contextmanager
def soon(database: Database, query: str) -> Iterator[threading.Event]:
    """Execute the query again and again in a thread until it gives a row."""
    done, stop = threading.Event(), threading.Event()

    def look() -> None:
        with psycopg.connect(database.url, autocommit=True) as connection:
            while not (done.is_set() or stop.is_set()):
                if connection.execute(query.encode()).fetchall():
                    done.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()


COPYING = (
    "select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database()"
    " and query ~ '^COPY' and query ~ 'wide' and state = 'active' and pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("side", [0, 1], ids=["source", "target"])
def test_a_cancelled_backend_is_told_and_its_chunk_is_not_counted(
    moved: tuple[Database, Database], side: int
) -> None:
    slow = CopyOptions(workers=1, chunk_bytes=1 << 30, rate=6_000_000)
    with soon(moved[side], COPYING) as cancelled:
        with pytest.raises(CopyFailed, match=r"public\.wide .*cancel") as caught:
            make(CopyRows(*moved, slow))
        assert cancelled.is_set()
    assert "someone cancelled the query; run the same command again" in str(caught.value)
    require_counted(moved[1])
    finish(*moved)


def test_a_table_that_is_dropped_on_the_target_meanwhile_is_told(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved

    class Dropping(Notes):
        def safe_point(self) -> None:
            super().safe_point()
            if self.safe_points == 6:
                run_sql(target, "drop table small")

    with pytest.raises(CopyFailed, match="small") as caught:
        make(CopyRows(source, target, replace(SMALL, workers=1)), Dropping())
    assert "a table was dropped while the migration ran" in str(caught.value)
    with pytest.raises(Obstacle, match=r"no table public\.small"):
        make(CopyRows(source, target, SMALL))
    make(PreDataSchema(source, target, SCHEMA))
    finish(source, target)


def test_a_table_that_is_dropped_on_the_source_before_its_turn_is_told(
    moved: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = moved
    lock = snapshot.Snapshot.lock

    def drop_first(self: snapshot.Snapshot, tables: tuple[catalog.Table, ...]) -> None:
        run_sql(source, "drop table small")
        lock(self, tables)

    monkeypatch.setattr(snapshot.Snapshot, "lock", drop_first)
    with pytest.raises(CopyFailed, match="small") as caught:
        make(CopyRows(source, target, SMALL))
    assert "a table was dropped while the migration ran" in str(caught.value)


@pytest.mark.parametrize("action", [CopyRows, PreDataSchema])
def test_a_table_that_stays_locked_is_told_and_not_waited_for_without_end(
    moved: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch, action: type
) -> None:
    source, target = moved
    monkeypatch.setattr(catalog, "PATIENCE", "200ms")
    planning = CopyRows(source, target) if action is CopyRows else PreDataSchema(*moved, SCHEMA)
    with psycopg.connect(source.url) as other:
        other.execute("lock table small in access exclusive mode")
        with pytest.raises(MigrationError, match=r"(lock|statement) timeout") as caught:
            planning.plan(planning.observe())
    assert "find who holds the lock (pg_locks)" in str(caught.value)
    finish(source, target)


def test_a_lock_that_comes_after_the_plan_is_told_too(
    moved: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LOCK_TIMEOUT", "200ms")
    source, _ = moved
    with psycopg.connect(source.url) as other, connect(source) as reader:
        tables = catalog.tables(reader)
        with snapshot.Snapshot(source) as held:
            other.execute("lock table small in access exclusive mode")
            with pytest.raises(CopyFailed, match="lock timeout"):
                held.lock(tables)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, 8 MB, that the servers reach."""
    account = server_account()
    folder = Path("/var/lib/embedded_postgres") / f"disk-{os.getpid()}"
    if account is None:
        pytest.skip("only root can mount a small file system")
    folder.mkdir(parents=True)
    owner = f"size=8m,uid={account.uid},gid={account.gid},mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", owner, "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        folder.rmdir()
        pytest.skip(f"mount can't be run: {error}")
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"a small file system can't be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_a_full_disk_of_the_target_is_told_and_what_was_copied_stays(
    source: Database, new_target: Callable[[], Database], small_disk: Path
) -> None:
    for statement in ROWS.split(";\n"):
        run_sql(source, statement)
    target = new_target()
    run_sql(target, f"create tablespace little location '{small_disk}'")
    try:
        run_sql(target, f"alter database {target.name} set default_tablespace = little")
        make(PreDataSchema(source, target, SCHEMA))
        with pytest.raises(CopyFailed, match=r"No space left on device") as caught:
            make(CopyRows(source, target, SMALL))
        assert "free or add disk space on the server" in str(caught.value)
        require_counted(target)
        run_sql(target, f"alter database {target.name} reset default_tablespace")
        kept = run_sql(target, "select count(xid) from orchestra_migration.chunk")
        assert kept[0][0] > 0
        run_sql(target, "alter table wide set tablespace pg_default")
        finish(source, target)
    finally:
        run_sql(target, "drop schema public, orchestra_migration cascade")
        run_sql(target, "drop tablespace little")


def test_a_password_is_in_no_process_list(moved: tuple[Database, Database]) -> None:
    secret = "never-in-a-process-list"
    source, target = (
        Database(each.host, each.port, each.user, secret, each.name) for each in moved
    )
    told: list[bytes] = []
    seen, stop = threading.Event(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for each in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = each.read_bytes()
                except OSError:
                    continue
                if b"pg_dump" in line.partition(b"\0")[0]:
                    seen.set()
                if secret.encode() in line:
                    told.append(line)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        post_data = PostDataSchema(source, target, SCHEMA)
        make(CopyRows(source, target, SMALL, post_data=post_data))
        make(post_data)
        Verified(source, target, pg_dump=SCHEMA.pg_dump).verify()
    finally:
        stop.set()
        thread.join()
    assert seen.is_set(), "pg_dump was running while we looked"
    assert told == []
