"""What the target can't take, and what stays behind, is told before anything is changed."""

import psycopg
import pytest

from lib.engine.changes import ChangeKind
from lib.postgres.comparison import compare
from lib.postgres.copying import CopyRows
from lib.postgres.database import Database
from lib.postgres.errors import Obstacle, PostgresError
from lib.postgres.roles import Roles
from lib.postgres.schema import PreDataSchema, SchemaOptions
from lib.runtime.binaries import pg_dump_path
from tests.postgres.conftest import make, run_sql

SCHEMA = SchemaOptions(pg_dump=pg_dump_path())


@pytest.fixture
def plain(target: Database) -> Database:
    """The target as a role that owns it and is no superuser."""
    run_sql(target, "create role plain_owner login")
    run_sql(target, f"alter database {target.name} owner to plain_owner")
    return Database(target.host, target.port, "plain_owner", name=target.name)


def test_what_needs_a_superuser_is_told_all_at_once(source: Database, plain: Database) -> None:
    run_sql(
        source,
        "create type mine; create function mine_in(cstring) returns mine language internal"
        " immutable strict as 'int4in'; create function mine_out(mine) returns cstring language"
        " internal immutable strict as 'int4out'; create type mine (input = mine_in, output ="
        " mine_out, like = int4); create function quiet() returns int leakproof language sql as"
        " 'select 1'; create operator class own for type int using btree as operator 1 <,"
        " operator 3 =, function 1 btint4cmp(int, int); create text search template tmpl (lexize ="
        " dsimple_lexize); create foreign data wrapper bare; create cast (mine as int) without"
        " function; create aggregate first(anynonarray) (sfunc = array_agg_transfn, stype ="
        " internal, finalfunc = array_agg_finalfn, finalfunc_extra);"
        " create extension citext",
    )
    with pytest.raises(Obstacle) as caught:
        PreDataSchema(source, plain, SCHEMA).plan(None)
    told = str(caught.value)
    for what in (
        "function public.mine_in(cstring)",
        "function public.quiet()",
        "operator class public.own",
        "text search template public.tmpl",
        "foreign-data wrapper bare",
        "cast from public.mine to integer",
        "function public.first(anynonarray)",
    ):
        assert what in told, told
    assert "citext" not in told, "an extension's own objects come with it"


def test_rows_that_row_security_hides_are_no_silent_loss(
    source: Database, target: Database
) -> None:
    run_sql(
        source,
        "create table secrets (id int, who text); insert into secrets values (1, 'a'), (2, 'b');"
        " alter table secrets enable row level security; create policy few on secrets using"
        " (who = 'a'); create role half_blind login; grant select on secrets to half_blind",
    )
    try:
        blind = Database(source.host, source.port, "half_blind", name=source.name)
        with pytest.raises(Obstacle, match=r"row security hides rows of public\.secrets"):
            PreDataSchema(blind, target, SCHEMA).plan(None)
        make(Roles(source, target))
        make(PreDataSchema(source, target, SCHEMA))
        with pytest.raises(PostgresError, match="row-level security"):
            make(CopyRows(blind, target))
        make(CopyRows(source, target))
        with pytest.raises(PostgresError, match="row-level security"):
            compare(blind, target)
    finally:
        run_sql(source, "drop owned by half_blind; drop role half_blind")


def test_a_security_label_without_its_provider_is_told(source: Database, target: Database) -> None:
    run_sql(source, "create table t (a int)")
    with psycopg.connect(source.url) as connection:
        connection.execute("set allow_system_table_mods = on")
        connection.execute(
            "insert into pg_seclabel values ('t'::regclass, 'pg_class'::regclass, 0, 'masker', 'x')"
        )
    with pytest.raises(Obstacle, match="security label provider masker is not loaded"):
        PreDataSchema(source, target, SCHEMA).plan(None)


def test_a_target_that_lacks_a_language_or_access_method_is_told(
    source: Database, target: Database
) -> None:
    run_sql(
        source,
        "create language loud handler plpgsql_call_handler; create function f() returns int"
        " language loud as 'begin return 1; end'; create extension bloom; create table t (a int);"
        " create index on t using bloom (a)",
    )
    with pytest.raises(Obstacle) as caught:
        PreDataSchema(source, target, SCHEMA).plan(None)
    assert "access method bloom is not there" in str(caught.value)


def test_what_stays_behind_is_said_in_the_plan(source: Database, target: Database) -> None:
    run_sql(source, "create table t (a int); insert into t values (1), (1)")
    run_sql(source, "create publication theirs for table t")
    run_sql(
        source,
        "create subscription heard connection 'host=nowhere' publication p with (connect = false)",
    )
    run_sql(source, f"alter database {source.name} set work_mem = '5MB'")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run_sql(source, "create unique index concurrently broken on t (a)")
    try:
        change = make(PreDataSchema(source, target, SCHEMA))
    finally:
        run_sql(source, "alter subscription heard set (slot_name = none)")
        run_sql(source, "drop subscription heard")
    assert change.kind is ChangeKind.CREATE
    for what in (
        "publications (theirs)",
        "subscriptions (heard)",
        "not valid (public.broken)",
        "work_mem",
    ):
        assert what in change.reason, change.reason
    there = "select (select count(*) from pg_publication), (select count(*) from pg_class where"
    assert run_sql(target, f"{there} relname = 'broken')") == [(0, 0)]


def test_tablespaces_stay_behind_and_their_tables_come(source: Database, target: Database) -> None:
    with psycopg.connect(source.url, autocommit=True) as connection:
        connection.execute("set allow_in_place_tablespaces = on")
        connection.execute("create tablespace fast location ''")
    try:
        run_sql(source, "create table t (a int primary key using index tablespace fast)")
        run_sql(source, "create table u (a int) tablespace fast")
        run_sql(source, "insert into u values (1)")
        change = make(PreDataSchema(source, target, SCHEMA))
        assert "tablespaces, everything goes to the target's default one (fast)" in change.reason
        make(CopyRows(source, target))
        assert run_sql(target, "select a from u") == [(1,)]
    finally:
        run_sql(source, "drop table if exists t, u")
        run_sql(source, "drop tablespace fast")
