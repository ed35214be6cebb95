"""Sources of every version move to this project's PostgreSQL: offline, and online with a cutover.

Skipped where the servers aren't there; ``tox -e source-versions`` fetches them and runs this.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.engine.changes import ChangeKind
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.cutover import Cutover, leftovers
from lib.postgres.database import Database, connect
from lib.postgres.errors import Obstacle, UnsupportedVersion
from lib.postgres.extensions import Extensions
from lib.postgres.following import Followed
from lib.postgres.large_objects import LargeObjects
from lib.postgres.online import Online, replication_name
from lib.postgres.publication import Published
from lib.postgres.roles import Roles
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.sequences import Sequences
from lib.postgres.verified import Verified
from lib.postgres.views import MaterialisedViews
from lib.runtime.binaries import pg_dump_path, psql_path
from lib.runtime.postgresql import PostgreSQL
from tests.postgres import kinds, old_servers
from tests.postgres.conftest import SAMPLE, make, planned, run_sql

SCHEMA = SchemaOptions(pg_dump=pg_dump_path())
SMALL = CopyOptions(workers=2, chunk_bytes=1 << 16)
VERSIONS = ("12", "13", "14", "15", "16", "17")
MORE = """
create table public.numbers (id int primary key, filler text, x float8);
insert into public.numbers select n, repeat(md5(n::text), 4), n / 3.0
    from generate_series(1, 9000) n;
create table public.keyless (at timestamptz, what text);
insert into public.keyless select to_timestamp(n % 7), 'same' from generate_series(1, 900) n;
analyze public.numbers;
"""
CHANGES = """
update public.numbers set filler = filler || 'x', x = -x where id % 3 = 0;
delete from public.numbers where id between 100 and 1000;
insert into public.numbers select n, 'new' from generate_series(20001, 21000) n;
insert into public.keyless values (now(), 'late');
update kind_partitions_of_several_levels.p set l = 'a' where r % 7 = 0;
insert into kind_inheritance.d (id, y) values (70, 80);
update kind_generated_and_identity_columns.t set a = a + 1 where false;
truncate kind_sequences.one;
select nextval('kind_sequences.shared'), lo_from_bytea(70009, 'late'), lo_unlink(70003);
"""


@pytest.fixture(scope="module", params=VERSIONS)
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A source of that version with all it knows, and the sample's hard cases."""
    version: str = request.param
    if why := old_servers.why_not(version):
        pytest.skip(why)
    with old_servers.server(version, tmp_path_factory.mktemp("old") / version) as server:
        for statement in (SAMPLE / "roles.sql").read_text().split(";\n"):
            if "ROLE" in statement:
                run_sql(server, statement)
        run_sql(server, "create database rich")
        rich = server.named("rich")
        kinds.make(rich, int(version))
        script = (SAMPLE / "edge.sql").read_text()
        if int(version) < 14:
            script = script.replace("'-Infinity', 'Infinity', ", "'-Infinity', 'NaN', ")
        before = "create extension btree_gist; create extension citext; create extension hstore;"
        before += " create schema edge authorization orchestra_owner;"
        done = subprocess.run(
            [psql_path(), "-v", "ON_ERROR_STOP=1", "-qX", "-o", "/dev/null", rich.url],
            input=before + script + "reset role;" + MORE,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield rich


def schema(source: Database, target: Database) -> list:
    """What comes before the rows."""
    return [
        Roles(source, target),
        Extensions(source, target),
        PreDataSchema(source, target, SCHEMA),
    ]


def require_equal(source: Database, target: Database) -> None:
    """Definitions, rows, sequences, large objects, and what each kind's probe shows."""
    found = Verified(source, target, pg_dump=SCHEMA.pg_dump).verify()
    assert found.rows > 10_000
    with connect(source) as connection:
        version = connection.info.server_version // 10000
    differ = [
        kind.name
        for kind in kinds.known(version)
        if sorted(kinds.shown(source, kind), key=str) != sorted(kinds.shown(target, kind), key=str)
    ]
    assert not differ, ", ".join(differ)


def test_everything_moves_offline(source: Database, target: Database) -> None:
    post_data = PostDataSchema(source, target, SCHEMA)
    actions = [
        *schema(source, target),
        CopyRows(source, target, SMALL, post_data=post_data),
        LargeObjects(source, target),
        Sequences(source, target),
        post_data,
        MaterialisedViews(source, target),
    ]
    for action in actions:
        make(action)
    require_equal(source, target)
    assert [a.subject for a in actions if planned(a) is not ChangeKind.NONE] == []


def test_everything_moves_online_and_the_cutover_leaves_nothing(
    source: Database, target: Database
) -> None:
    online = Online(replication_name("versions", target.name))
    post_data = PostDataSchema(source, target, SCHEMA)
    cutover = Cutover(source, target, online, SMALL)
    for action in (
        *schema(source, target),
        Published(source, online),
        CopyRows(source, target, SMALL, online, post_data),
        post_data,
        MaterialisedViews(source, target),
        Followed(source, target, online),
    ):
        make(action)
    for statement in CHANGES.strip().split(";\n"):
        run_sql(source, statement)
    change = make(cutover)
    assert "public.keyless (no key)" in change.reason
    require_equal(source, target)
    assert leftovers(source, target, online.name) == []
    state = cutover.observe()
    assert state is not None
    assert state.seconds is not None
    print(f"without writes {state.seconds:.2f} s")


def test_a_target_older_than_its_source_is_refused(source: Database, target: Database) -> None:
    with pytest.raises(Obstacle, match="older than the source's 18"):
        planned(PreDataSchema(target, source, SCHEMA))


def test_a_source_below_12_is_refused(tmp_path: Path, target_server: PostgreSQL) -> None:
    if why := old_servers.why_not("11"):
        pytest.skip(why)
    with (
        old_servers.server("11", tmp_path / "11") as old,
        pytest.raises(UnsupportedVersion, match="runs PostgreSQL 11"),
    ):
        planned(Roles(old, Database.from_url(target_server.url)))


def test_what_the_target_is_built_without_is_told(source: Database, target: Database) -> None:
    other = source.named("features")
    run_sql(source, "drop database if exists features")
    run_sql(source, "create database features")
    run_sql(other, "create collation german (provider = icu, locale = 'de')")
    run_sql(other, "create table papers (page xml, name text collate german)")
    with pytest.raises(Obstacle) as caught:
        planned(PreDataSchema(other, target, SCHEMA))
    assert "built without ICU, which collation german need" in str(caught.value)
    assert "built without XML, which column public.papers.page need" in str(caught.value)
