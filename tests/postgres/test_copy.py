"""Rows are copied once and only once, whatever happens on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from lib.engine.changes import ChangeKind
from lib.errors import VerificationError
from lib.postgres import portions
from lib.postgres.comparison import CompareOptions, compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database
from lib.postgres.errors import CopyFailed, ForeignRows, Obstacle
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.runtime.binaries import pg_dump_path
from tests.postgres.conftest import Notes, make, planned, run_sql

SMALL = CopyOptions(workers=2, chunk_bytes=1 << 16)
SCHEMA = SchemaOptions(pg_dump=pg_dump_path())
TABLES = """
create table numbers (id int primary key, filler text, x float8);
insert into numbers select n, repeat(md5(n::text), 4), n / 3.0 from generate_series(1, 12000) n;
create table "No ""Key"" x" (at timestamptz, what text);
insert into "No ""Key"" x" select to_timestamp(n % 7), 'same' from generate_series(1, 6000) n;
"""
CHANGES = {
    "rows move to other blocks": "update numbers set filler = filler || 'x' where id % 3 = 0",
    "rows go": "delete from numbers where id between 100 and 5000; vacuum numbers",
    "rows come": "insert into numbers select n, 'new' from generate_series(20001, 23000) n",
    "the table is rewritten": "vacuum full numbers",
    "the table is emptied and filled": "truncate numbers; insert into numbers values (1, 'only')",
    "a table without a key changes": """delete from "No ""Key"" x" where ctid < '(9,0)';
                                        insert into "No ""Key"" x" values (now(), 'late')""",
}
COPIES = """
create table copies (at timestamptz default now());
create function count_copy() returns trigger language plpgsql as $$ begin
    insert into public.copies default values; return null;
end $$;
create trigger copied after insert on numbers for each statement execute function count_copy();
alter table numbers enable always trigger copied;
"""
PROGRAM = """
import sys
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database
from tests.postgres.conftest import Notes
source, target = map(Database.from_url, sys.argv[1:])
action = CopyRows(source, target, CopyOptions(workers=2, chunk_bytes=1 << 16, rate=1_500_000))
action.apply(action.plan(action.observe()), Notes())
"""


@pytest.fixture
def moved(source: Database, target: Database) -> tuple[Database, Database]:
    """A source with two tables of many chunks, and a target with their schema."""
    run_sql(source, TABLES)
    run_sql(source, "analyze")
    make(PreDataSchema(source, target, SCHEMA))
    return source, target


def chunks_done(target: Database) -> int:
    """How many chunks the target has; 0 before it has bookkeeping."""
    try:
        query = "select count(xid) from orchestra_migration.chunk"
        return int(run_sql(target, query)[0][0])
    except psycopg.errors.UndefinedTable:
        return 0


def kill_after(source: Database, target: Database, chunks: int) -> None:
    """Copy in another process and kill it once so many chunks are there."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, source.url, target.url],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 30
    while chunks_done(target) < chunks and child.poll() is None:
        assert time.monotonic() < deadline
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert child.returncode == -signal.SIGKILL, child.stderr and child.stderr.read()


def assert_equal(source: Database, target: Database) -> None:
    assert compare(source, target, CompareOptions(chunk_bytes=1 << 16)).describe() == ""


@pytest.mark.parametrize("chunks", [1, 7, 19])
def test_killed_and_run_again_holds_every_row_once(
    moved: tuple[Database, Database], chunks: int
) -> None:
    source, target = moved
    kill_after(source, target, chunks)
    before = chunks_done(target)
    assert before < run_sql(target, "select count(*) from orchestra_migration.chunk")[0][0]
    xids = "select xid from orchestra_migration.chunk where xid is not null"
    kept = set(run_sql(target, xids))
    make(CopyRows(source, target, SMALL))
    assert kept <= set(run_sql(target, xids)), "chunks that were there were not copied again"
    assert_equal(source, target)
    assert planned(CopyRows(source, target, SMALL)) is ChangeKind.NONE


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES.keys())
def test_source_that_changed_between_kill_and_resume_is_copied_as_it_is_now(
    moved: tuple[Database, Database], statement: str
) -> None:
    source, target = moved

    class Stop(Exception):
        pass

    class Stopping(Notes):
        def safe_point(self) -> None:
            super().safe_point()
            if self.safe_points > 12:
                raise Stop

    action = CopyRows(source, target, SMALL)
    with pytest.raises(Stop):
        action.apply(action.plan(None), Stopping())
    assert chunks_done(target) > 0
    for each in statement.split(";"):
        run_sql(source, each)
    make(action)
    assert_equal(source, target)


def test_refresh_brings_a_complete_copy_up_to_date(moved: tuple[Database, Database]) -> None:
    source, target = moved
    make(CopyRows(source, target, SMALL))
    run_sql(source, "update numbers set x = -x where id = 77")
    assert planned(CopyRows(source, target, SMALL)) is ChangeKind.NONE
    again = CopyOptions(chunk_bytes=1 << 16, refresh=True)
    make(CopyRows(source, target, again))
    assert_equal(source, target)


def test_a_table_whose_index_takes_longest_is_copied_first(
    source: Database, target: Database
) -> None:
    for name, rows in (("large", 12000), ("searched", 3000), ("small", 3000)):
        run_sql(source, f"create table {name} (id int, words text)")
        words = f"select n, repeat(md5(n::text), 5) from generate_series(1, {rows}) n"
        run_sql(source, f"insert into {name} {words}")
    run_sql(source, "create index on searched using gin (string_to_array(words, 'a'))")
    make(PreDataSchema(source, target, SCHEMA))
    make(CopyRows(source, target, CopyOptions(workers=1)))
    came = "select table_name from orchestra_migration.chunk group by 1 order by min(copied_at)"
    assert run_sql(target, came) == [("searched",), ("large",), ("small",)]


def test_a_table_like_others_keeps_the_order_of_its_rows(
    source: Database, target: Database
) -> None:
    for name in "abcd":
        run_sql(source, f"create table {name} (id int primary key, filler text)")
        run_sql(source, f"insert into {name} select n, md5('') from generate_series(1, 9000) n")
    make(PreDataSchema(source, target, SCHEMA))
    make(CopyRows(source, target, CopyOptions(workers=2, chunk_bytes=1 << 16)))
    turned = "select count(*) from (select id < lag(id) over (order by ctid) as back from a) x"
    assert run_sql(target, f"{turned} where back") == [(0,)]


def test_indexes_are_built_while_other_tables_still_copy(moved: tuple[Database, Database]) -> None:
    source, target = moved

    class Waiting(Notes):
        """Before the last chunks: the larger table's key must come without them."""

        def safe_point(self) -> None:
            super().safe_point()
            left = "select count(*) from orchestra_migration.chunk where xid is null"
            copies = threading.current_thread().name.startswith("copy")
            if not copies or self.safe_points < 20 or run_sql(target, left)[0][0] > 2:
                return
            deadline = time.monotonic() + 20
            while not run_sql(target, "select 1 from pg_class where relname = 'numbers_pkey'"):
                assert time.monotonic() < deadline

    options = CopyOptions(workers=1, chunk_bytes=1 << 16)
    notes = Waiting()
    make(CopyRows(source, target, options, post_data=PostDataSchema(source, target, SCHEMA)), notes)
    assert notes.safe_points > 20
    assert planned(PostDataSchema(source, target, SCHEMA)) is ChangeKind.NONE
    statistics = "select count(*) from pg_class where relkind = 'r' and reltuples > 5000"
    assert run_sql(target, statistics) == [(2,)]
    assert_equal(source, target)


def test_an_index_that_a_killed_run_still_builds_is_waited_for(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    run_sql(source, "create index by_filler on numbers (filler)")
    post_data = PostDataSchema(source, target, SCHEMA)
    make(CopyRows(source, target, SMALL))
    with ThreadPoolExecutor(1) as pool, psycopg.connect(target.url) as other:
        for statement in (
            "create index by_filler on public.numbers (filler)",
            "alter table public.numbers add constraint numbers_pkey primary key (id)",
        ):
            other.execute(statement.encode())
        waiting = pool.submit(make, post_data)
        deadline = time.monotonic() + 30
        while not run_sql(target, "select 1 from pg_locks where not granted"):
            assert time.monotonic() < deadline
        other.commit()
        waiting.result()
    assert planned(post_data) is ChangeKind.NONE


def test_rows_that_moved_between_chunks_meet_no_old_self_in_an_index(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    post_data = PostDataSchema(source, target, SCHEMA)
    make(CopyRows(source, target, SMALL, post_data=post_data))
    run_sql(source, "delete from numbers where id < 1000")
    run_sql(source, "vacuum numbers")
    run_sql(source, "update numbers set filler = 'moved to the front' where id > 11000")
    again = CopyOptions(chunk_bytes=1 << 16, refresh=True)
    make(CopyRows(source, target, again, post_data=post_data))
    assert_equal(source, target)


@pytest.mark.parametrize("bring", [1, 4096])
def test_a_chunk_is_brought_by_several_copies_of_whole_rows(
    moved: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch, bring: int
) -> None:
    source, target = moved
    for database in moved:  # one with text as its form, one without rows, one without columns
        run_sql(database, "create table texts (c regclass, n int); create table nothing (n int)")
        run_sql(database, "create table bare ()")
    run_sql(source, "insert into texts select 'texts'::regclass, generate_series(1, 5000)")
    run_sql(source, "insert into bare select from generate_series(1, 900)")
    monkeypatch.setattr(portions, "PORTION_BYTES", bring)
    run_sql(target, COPIES)
    make(CopyRows(source, target))
    copies = run_sql(target, "select max(n) from (select count(*) n from copies group by at) x")
    assert copies[0][0] > 1, "a chunk of several portions is one transaction"
    run_sql(target, "drop trigger copied on numbers; drop table copies")
    assert_equal(source, target)
    assert run_sql(target, "select count(*) from texts where c = 'texts'::regclass") == [(5000,)]


def test_lost_connections_resume_the_chunk(moved: tuple[Database, Database]) -> None:
    source, target = moved

    class Cutting(Notes):
        def safe_point(self) -> None:
            super().safe_point()
            if self.safe_points == 9:
                run_sql(
                    target,
                    "select pg_terminate_backend(pid) from pg_stat_activity where query"
                    " ~ 'COPY' and datname = current_database() and pid <> pg_backend_pid()",
                )

    action = CopyRows(source, target, SMALL)
    action.apply(action.plan(None), Cutting())
    assert_equal(source, target)


def test_rows_that_the_migration_did_not_write_are_refused(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    run_sql(target, "insert into numbers values (1)")
    with pytest.raises(ForeignRows, match="numbers"):
        make(CopyRows(source, target, SMALL))
    run_sql(target, "truncate numbers")
    make(CopyRows(source, target, SMALL))
    run_sql(target, "insert into numbers values (1)")
    with pytest.raises(VerificationError, match="numbers has 12001 rows"):
        CopyRows(source, target, SMALL).verify()
    with pytest.raises(ForeignRows, match="1 rows"):
        make(CopyRows(source, target, CopyOptions(refresh=True)))


def test_a_target_of_another_source_is_refused(
    moved: tuple[Database, Database], make_database: Callable[[], str]
) -> None:
    source, target = moved
    make(CopyRows(source, target, SMALL))
    other = Database.from_url(make_database())
    run_sql(other, TABLES)
    with pytest.raises(Obstacle, match="another source"):
        planned(CopyRows(other, target, SMALL))


def test_a_column_that_came_later_is_found_in_the_plan(moved: tuple[Database, Database]) -> None:
    source, target = moved
    run_sql(source, "alter table numbers add later int")
    with pytest.raises(Obstacle, match="other columns on the target: later"):
        planned(CopyRows(source, target, SMALL))


def test_a_value_that_the_target_refuses_is_one_clear_failure(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    run_sql(target, "alter table numbers add check (id <> 5000)")
    with pytest.raises(CopyFailed, match=r"numbers \[.*violates check constraint"):
        make(CopyRows(source, target, SMALL))
    run_sql(target, "alter table numbers drop constraint numbers_id_check")
    make(CopyRows(source, target, SMALL))
    assert_equal(source, target)


def test_one_corrupt_value_is_named_by_row_and_column(moved: tuple[Database, Database]) -> None:
    source, target = moved
    make(CopyRows(source, target, SMALL))
    run_sql(target, "update numbers set x = x + 1e-12 where id = 4711")
    run_sql(target, "delete from numbers where id = 42")
    found = compare(source, target, CompareOptions(chunk_bytes=1 << 16))
    assert not found.equal
    by_kind = {each.kind: each for each in found.differences}
    assert by_kind["changed"].key == {"id": "4711"}
    assert list(by_kind["changed"].columns) == ["x"]
    assert by_kind["missing"].key == {"id": "42"}
    assert len(found.differences) == 2


def test_doubled_rows_of_a_table_without_a_key_are_seen(moved: tuple[Database, Database]) -> None:
    source, target = moved
    make(CopyRows(source, target, SMALL))
    run_sql(target, 'insert into "No ""Key"" x" select * from "No ""Key"" x" limit 1')
    (found,) = compare(source, target).differences
    assert (found.kind, found.key["what"]) == ("extra", "same")


def test_undo_empties_the_tables(moved: tuple[Database, Database]) -> None:
    source, target = moved
    action = CopyRows(source, target, SMALL)
    action.undo(make(action), Notes())
    assert run_sql(target, "select count(*) from numbers") == [(0,)]
    assert action.observe() is None
