"""The sample platform with all its hard cases moves, and compares equal in schema and content."""

from collections.abc import Callable

import pytest

from lib.engine.changes import ChangeKind
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError
from lib.postgres.application_role import ApplicationRole
from lib.postgres.catalog import vector_indexes
from lib.postgres.comparison import compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database, connect
from lib.postgres.databases import CreateDatabase, RemoveBookkeeping
from lib.postgres.errors import Obstacle
from lib.postgres.extensions import Extensions
from lib.postgres.large_objects import LargeObjects
from lib.postgres.roles import Roles
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.schema_comparison import compare_schema
from lib.postgres.selection import Selection
from lib.postgres.sequences import Sequences
from lib.postgres.verified import Verified
from lib.postgres.views import MaterialisedViews
from lib.runtime.binaries import pg_dump_path
from lib.runtime.postgresql import PostgreSQL
from tests.postgres.conftest import Notes, make, planned, run_sql

OPTIONS = SchemaOptions(pg_dump=pg_dump_path())


def actions(source: Database, target: Database) -> list:
    """Every action of the PostgreSQL part, in the order of the phases."""
    return [
        Roles(source, target),
        Extensions(source, target),
        PreDataSchema(source, target, OPTIONS),
        CopyRows(
            source,
            target,
            CopyOptions(chunk_bytes=1 << 16),
            post_data=PostDataSchema(source, target, OPTIONS),
        ),
        LargeObjects(source, target),
        Sequences(source, target),
        PostDataSchema(source, target, OPTIONS),
        MaterialisedViews(source, target),
    ]


def test_everything_moves_and_a_second_run_changes_nothing(
    platform: Database, target: Database
) -> None:
    for action in actions(platform, target):
        assert make(action).kind is not ChangeKind.NONE
    found = Verified(platform, target, pg_dump=OPTIONS.pg_dump).verify()
    assert found.rows > 2500
    assert [a.subject for a in actions(platform, target) if planned(a) is not ChangeKind.NONE] == []
    (index,) = vector_indexes(platform)
    assert (index.table, index.method, index.expression) == ("intents", "hnsw", "embedding")
    there = run_sql(target, "select count(*) from pg_class where relname = 'intents_embedding'")
    assert there == [(0,)], "vector indexes are built by the vector search phase"
    make(RemoveBookkeeping(target))
    assert planned(RemoveBookkeeping(target)) is ChangeKind.NONE


def test_a_target_role_that_is_no_superuser_suffices_and_takes_everything_back(
    platform: Database, target_server: PostgreSQL, new_target: Callable[[], Database]
) -> None:
    target = new_target()
    run_sql(target, "create role plain login createrole")
    run_sql(target, f"alter database {target.name} owner to plain")
    for extension in ("vector", "pg_trgm", "btree_gist", "citext"):
        run_sql(target, f"create extension {extension}")
    plain = Database(target.host, target.port, "plain", name=target.name)
    before = run_sql(target, "select count(*) from pg_class")
    done = [(action, make(action)) for action in actions(platform, plain)]
    assert compare(platform, plain).describe() == ""
    assert compare_schema(platform, plain, pg_dump=OPTIONS.pg_dump) == ()
    for action, change in reversed(done):
        try:
            action.undo(change, Notes())
        except CannotUndo:
            assert isinstance(action, PostDataSchema)
    assert run_sql(target, "select count(*) from pg_class") == before
    assert run_sql(target, "select count(*) from pg_largeobject_metadata") == [(0,)]
    assert run_sql(target, "select count(*) from pg_roles where rolname ~ 'orchestra'") == [(0,)]


def test_schema_that_was_interrupted_is_finished(platform: Database, target: Database) -> None:
    for action in actions(platform, target)[:3]:
        make(action)
    run_sql(
        target,
        "drop view edge.rooms; drop table sync_state; create index agents_tags on"
        " agents using gin (tags)",
    )
    change = make(PreDataSchema(platform, target, OPTIONS))
    assert {field.path for field in change.fields} == {"view edge.rooms", "table public.sync_state"}
    make(PostDataSchema(platform, target, OPTIONS))
    assert compare_schema(platform, target, pg_dump=OPTIONS.pg_dump) == ()


def test_excluded_tables_stay_behind_with_their_keys_and_sequences(
    platform: Database, target: Database
) -> None:
    exclude = Selection(exclude=("public.short_*", "edge.*", "analytics.*", "public.agents"))
    options = SchemaOptions(selection=exclude, pg_dump=OPTIONS.pg_dump)
    for action in (
        Roles(platform, target),
        Extensions(platform, target),
        PreDataSchema(platform, target, options),
        CopyRows(platform, target, CopyOptions(selection=exclude)),
        Sequences(platform, target, exclude),
        PostDataSchema(platform, target, options),
    ):
        make(action)
    assert run_sql(target, "select to_regclass('agents'), to_regclass('agents_id_seq')") == [
        (None, None)
    ]
    assert run_sql(target, "select count(*) from messages") == [(2000,)]


def test_an_extension_that_the_target_lacks_is_found_in_the_plan(
    platform: Database, target: Database
) -> None:
    action = Extensions(platform, target, {"citext": "no_such_extension"})
    with pytest.raises(Obstacle, match="no_such_extension"):
        action.plan(action.observe())


def test_roles_without_readable_passwords_are_said(platform: Database, target: Database) -> None:
    run_sql(platform, "create role reader login")
    try:
        reader = Database(platform.host, platform.port, "reader", name=platform.name)
        action = Roles(reader, target)
        assert "without passwords" in action.plan(action.observe()).reason
    finally:
        run_sql(platform, "drop role reader")


def test_sequences_return_to_where_they_stood(platform: Database, target: Database) -> None:
    for action in actions(platform, target)[:3]:
        make(action)
    change = make(Sequences(platform, target))
    wanted = "select last_value, is_called from edge.countdown"
    assert run_sql(target, wanted) == [(42, False)]
    Sequences(platform, target).undo(change, Notes())
    assert run_sql(target, wanted) == [(1000, False)]


def test_application_role_reads_and_writes_and_makes_nothing(source: Database) -> None:
    run_sql(
        source,
        "create table public.t (id serial primary key); create schema other;"
        " create table other.u (a int)",
    )
    action = ApplicationRole(source, "app_under_test", lambda: "p'ss", ("public",))
    assert "p'ss" not in repr(action)
    change = make(action)
    assert planned(action) is ChangeKind.NONE
    app = Database(source.host, source.port, "app_under_test", "p'ss", source.name)
    with connect(app) as connection:
        connection.execute("insert into public.t default values")
        for refused in ("create table public.x (a int)", "table other.u", "drop table public.t"):
            with pytest.raises(Exception, match=r"permission denied|must be owner"):
                connection.execute(refused)
    run_sql(source, "create table public.later (a int)")
    assert planned(action) is ChangeKind.UPDATE
    action.undo(change, Notes())
    assert run_sql(source, "select from pg_roles where rolname = 'app_under_test'") == []


def test_a_database_is_created_and_dropped(target_server: PostgreSQL) -> None:
    action = CreateDatabase(Database.from_url(target_server.url), 'Odd "Name"')
    change = make(action)
    assert planned(action) is ChangeKind.NONE
    action.undo(change, Notes())
    assert action.observe() is None


def test_verified_says_what_differs(platform: Database, target: Database) -> None:
    for action in actions(platform, target):
        make(action)
    run_sql(target, "update edge.extremes set double_number = '0' where id = 3")
    run_sql(target, "update edge.extremes set real_number = 0 where id = 3")
    run_sql(target, "alter table agents alter name drop not null")
    run_sql(target, "select setval('edge.untouched', 7), lo_put(70003, 0, 'x')")
    with pytest.raises(VerificationError) as caught:
        Verified(platform, target, pg_dump=OPTIONS.pg_dump).verify()
    said = str(caught.value)
    assert "edge.extremes (id=3)" in said
    assert "real_number: '-0' on the source, '0' on the target" in said
    assert "double_number: '1e-307'" in said
    assert "sequence edge.untouched" in said
    assert "large object 70003" in said
    assert "table public.agents is not the same" in said
