"""Every kind of object that a database can hold moves, and is on the target what it was."""

from collections.abc import Iterator

import pytest

from lib.engine.changes import ChangeKind
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database
from lib.postgres.extensions import Extensions
from lib.postgres.roles import Roles
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.schema_comparison import compare_schema
from lib.postgres.sequences import Sequences
from lib.postgres.verified import Verified
from lib.postgres.views import MaterialisedViews
from lib.runtime.binaries import pg_dump_path
from lib.runtime.postgresql import PostgreSQL
from tests.postgres import kinds
from tests.postgres.conftest import make, planned, run_sql
from tests.postgres.kinds import Kind

SCHEMA = SchemaOptions(pg_dump=pg_dump_path())


def actions(source: Database, target: Database) -> list:
    """The move, as the phases do it."""
    return [
        Roles(source, target),
        Extensions(source, target),
        PreDataSchema(source, target, SCHEMA),
        CopyRows(source, target, CopyOptions(), post_data=PostDataSchema(source, target, SCHEMA)),
        Sequences(source, target),
        PostDataSchema(source, target, SCHEMA),
        MaterialisedViews(source, target),
    ]


@pytest.fixture(scope="module")
def both(
    postgresql_server: PostgreSQL, target_server: PostgreSQL
) -> Iterator[tuple[Database, Database]]:
    """A source with every kind, and the target it was moved to."""
    sides = [Database.from_url(each.url) for each in (postgresql_server, target_server)]
    for side in sides:
        run_sql(side, "create database kinds")
    source, target = (side.named("kinds") for side in sides)
    try:
        kinds.make(source, 18)
        for action in actions(source, target):
            make(action)
        yield source, target
    finally:
        for side in sides:
            run_sql(side, "drop database kinds with (force)")
            for role in kinds.ROLES:
                run_sql(side, f"drop role if exists {role}")


@pytest.mark.parametrize("kind", kinds.KINDS, ids=[kind.name for kind in kinds.KINDS])
def test_a_kind_is_on_the_target_what_it_is_on_the_source(
    both: tuple[Database, Database], kind: Kind
) -> None:
    source, target = both
    there = kinds.shown(source, kind)
    assert there
    assert kinds.shown(target, kind) == there


def test_definitions_and_rows_of_all_kinds_agree_and_nothing_is_left_to_do(
    both: tuple[Database, Database],
) -> None:
    source, target = both
    assert compare_schema(source, target, pg_dump=SCHEMA.pg_dump) == ()
    found = Verified(source, target, pg_dump=SCHEMA.pg_dump).verify()
    assert found.rows > 1000
    left = [a.subject for a in actions(source, target) if planned(a) is not ChangeKind.NONE]
    assert left == []
