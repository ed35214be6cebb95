"""Primary and unique keys: their index first, beside the table's other indexes, then the key."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from lib.engine.changes import ChangeKind
from lib.postgres import catalog, dump, keys
from lib.postgres.chunks import cut
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database, connect
from lib.postgres.overlap import Finisher
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.schema_comparison import compare_schema
from lib.postgres.tally import Tally
from lib.runtime.binaries import pg_dump_path
from tests.postgres.conftest import Notes, make, planned, run_sql

OPTIONS = SchemaOptions(pg_dump=pg_dump_path())
KEYS = """
create extension btree_gist;
create schema "S p";
create table plain (id int primary key, a int, b text unique);
create table wide (a int, b int, c text, primary key (b, a) include (c));
create table "S p"."T ""q" ("Id; x" int, k int,
    constraint "Key (1)" primary key ("Id; x") with (fillfactor = 70),
    constraint later unique (k) deferrable initially deferred);
create table lazy (k int unique deferrable, n int, unique nulls not distinct (n));
create table marked (k int not null unique, id int primary key);
alter table marked replica identity using index marked_k_key;
alter table marked cluster on marked_pkey;
comment on constraint marked_pkey on marked is 'of the mark';
create table parted (id int, at date, primary key (id, at)) partition by range (at);
create table parted_1 partition of parted for values from ('2026-01-01') to ('2027-01-01');
create table rooms (room int, during tsrange, exclude using gist (room with =, during with &&));
create table stays (room int, during tsrange, primary key (room, during without overlaps));
create table heir (more text, primary key (id)) inherits (plain);
"""


@pytest.fixture
def moved(source: Database, target: Database) -> tuple[Database, Database]:
    """A source with keys of every kind, a target with the tables and extensions."""
    run_sql(source, KEYS)
    run_sql(target, "create extension btree_gist")
    make(PreDataSchema(source, target, OPTIONS))
    return source, target


def has(target: Database, index: str) -> bool:
    return bool(run_sql(target, f"select 1 from pg_class where relname = '{index}'"))


def tables_of(source: Database) -> tuple[catalog.Table, ...]:
    with connect(source) as connection:
        return catalog.tables(connection)


def test_keys_of_every_kind_come_out_as_they_were(moved: tuple[Database, Database]) -> None:
    source, target = moved
    post_data = PostDataSchema(source, target, OPTIONS)
    make(CopyRows(source, target, CopyOptions(), post_data=post_data))
    make(post_data)
    assert planned(post_data) is ChangeKind.NONE
    assert compare_schema(source, target, pg_dump=pg_dump_path()) == ()
    with connect(source) as connection:
        entries = dump.entries(source, "post-data", pg_dump=pg_dump_path())
        found = keys.builds(connection, entries)
    alone = {each.entry.name for each in found if each.key is None}
    assert alone == {
        'T "q Key (1)',
        "parted parted_pkey",
        "rooms rooms_room_during_excl",
        "stays stays_pkey",
    }


def test_an_index_of_a_table_does_not_wait_for_its_key(moved: tuple[Database, Database]) -> None:
    source, target = moved
    run_sql(source, "create index plain_a on plain (a)")
    post_data = PostDataSchema(source, target, OPTIONS)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(target.url) as another_build:
        another_build.execute("lock table plain in share mode")
        making = pool.submit(make, post_data)
        deadline = time.monotonic() + 30
        while not all(has(target, each) for each in ("plain_pkey", "plain_b_key", "plain_a")):
            assert time.monotonic() < deadline
            assert not making.done()
        another_build.commit()
        making.result()
    assert planned(post_data) is ChangeKind.NONE


def test_a_kill_between_index_and_key_is_gone_on_from(moved: tuple[Database, Database]) -> None:
    source, target = moved
    run_sql(target, "create unique index plain_pkey on plain (id)")
    post_data = PostDataSchema(source, target, OPTIONS)
    make(post_data)
    assert planned(post_data) is ChangeKind.NONE
    assert compare_schema(source, target, pg_dump=pg_dump_path()) == ()


def test_a_kill_between_index_and_key_is_taken_back(moved: tuple[Database, Database]) -> None:
    source, target = moved
    post_data = PostDataSchema(source, target, OPTIONS)
    change = post_data.plan(post_data.observe())
    run_sql(target, "create unique index plain_pkey on plain (id)")
    post_data.undo(change, Notes())
    assert not has(target, "plain_pkey")


@pytest.mark.parametrize(
    ("cores", "helpers"),
    [(None, "2"), (2, "0"), (3, "1"), (16, "2")],
)
def test_a_build_gets_helpers_for_cores_that_nobody_wants(
    moved: tuple[Database, Database], cores: int | None, helpers: str
) -> None:
    source, target = moved
    run_sql(source, "create table noted (id int)")
    run_sql(target, "create table noted (id int); create table seen (helpers text)")
    setting = "current_setting('max_parallel_maintenance_workers')"
    note = dump.Entry(
        1, 0, 0, (), "INDEX", "public", "x", f"insert into public.seen select {setting}"
    )
    table = next(each for each in tables_of(source) if each.name == "noted")
    with Finisher(
        target, lambda: {table.identity: [keys.Build(note)]}, 1, lambda: None, cores
    ) as finisher:
        finisher.finish(table)
        deadline = time.monotonic() + 30
        while not run_sql(target, "select helpers from seen"):
            assert time.monotonic() < deadline
    assert run_sql(target, "select helpers from seen") == [(helpers,)]


def test_the_last_table_s_builds_may_have_the_cores_that_copies_had(
    moved: tuple[Database, Database],
) -> None:
    told: list[str] = []

    class Telling(Finisher):
        def finish(self, table: catalog.Table) -> None:
            told.append(table.name)

        def rows_are_in(self) -> None:
            told.append("rows are in")

    source, target = moved
    tables = {each.identity: each for each in tables_of(source)[:2]}
    chunks = [chunk for table in tables.values() for chunk in cut(table, 18)]
    with Telling(target, dict, 1, lambda: None) as finisher:
        tally = Tally(Notes(), tables, chunks, finisher)
        for chunk in chunks:
            tally.add(chunk, 1, 1)
        assert told == [chunks[0].name, "rows are in", chunks[1].name]
