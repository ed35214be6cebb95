"""Chunks that workers elsewhere copy: each once, whoever is killed, repeated or late."""

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lib.engine.changes import ChangeKind
from lib.postgres import bookkeeping, catalog
from lib.postgres.beam import Beam
from lib.postgres.beam_copy import SOURCE_PASSWORD, TARGET_PASSWORD
from lib.postgres.beam_worker import _PLACES, CopyChunk
from lib.postgres.chunks import Chunk
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database, connect
from lib.postgres.errors import (
    AuthenticationFailed,
    BeamUnavailable,
    ConnectionLost,
    CopyFailed,
    Superseded,
)
from lib.postgres.reach import FromEnvironment, FromFile, Reach
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.snapshot import Snapshot
from lib.runtime.binaries import pg_dump_path
from lib.runtime.postgresql import PostgreSQL
from tests.conftest import free_port
from tests.postgres.conftest import Notes, make, planned, run_sql
from tests.postgres.test_copy import assert_equal, chunks_done

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="apache-beam is not installed: pip install -e '.[beam]', or tox -e beam",
)
SCHEMA = SchemaOptions(pg_dump=pg_dump_path())
TABLES = """
create table numbers (id int primary key, filler text, x float8);
insert into numbers select n, repeat(md5(n::text), 4), n / 3.0 from generate_series(1, 9000) n;
create table "No ""Key"" x" (at timestamptz, what text);
insert into "No ""Key"" x" select to_timestamp(n % 7), 'same' from generate_series(1, 3000) n;
"""
REPEATED = (("direct_runner_bundle_repeat", "2"),)


def by(beam: Beam, **more: Any) -> CopyOptions:
    return CopyOptions(workers=2, chunk_bytes=1 << 16, beam=beam, **more)


@pytest.fixture
def moved(source: Database, target: Database) -> tuple[Database, Database]:
    """A source with two tables of many chunks, and a target with their schema."""
    run_sql(source, TABLES)
    run_sql(source, "analyze")
    make(PreDataSchema(source, target, SCHEMA))
    return source, target


@pytest.fixture
def begun(moved: tuple[Database, Database]) -> Iterator[tuple[CopyChunk, list[Chunk]]]:
    """A copy that was begun: a worker of it, the chunks, and a snapshot that stays."""
    source, target = moved
    with Snapshot(source) as snapshot, connect(target) as session:
        CopyRows(source, target, by(Beam()))._prepare(
            snapshot, session, catalog.tables(snapshot.connection)
        )
        bookkeeping.want(session, snapshot.name)
        tables = {table.identity: table for table in catalog.tables(snapshot.connection)}
        chunks = [each.chunk for each in bookkeeping.chunks(session)]
        yield worker(source, target, snapshot, tables), chunks


def worker(source: Database, target: Database, snapshot: Snapshot, tables: Any) -> CopyChunk:
    password = FromEnvironment("NOT_SET_ANYWHERE")
    return CopyChunk(
        tables, Reach(source, password), Reach(target, password), snapshot.exported, places=2
    )


# -- a worker by itself ----------------------------------------------------------------------------


def test_a_chunk_that_is_copied_again_stays_as_it_is(
    begun: tuple[CopyChunk, list[Chunk]],
) -> None:
    copy, chunks = begun
    rows, size = copy(chunks[0])
    assert rows > 0
    assert size > 0
    assert copy(chunks[0]) == (0, 0)
    sent: CopyChunk = pickle.loads(pickle.dumps(copy))
    assert sent(pickle.loads(pickle.dumps(chunks[0]))) == (0, 0)
    count = f'select count(*) from "{chunks[0].schema}".{catalogued(chunks[0])}'
    assert run_sql(copy.target.database, count) == [(rows,)]


def catalogued(chunk: Chunk) -> str:
    return '"' + chunk.name.replace('"', '""') + '"'


def test_a_worker_of_an_earlier_run_can_write_no_more(
    moved: tuple[Database, Database], begun: tuple[CopyChunk, list[Chunk]]
) -> None:
    source, target = moved
    late, chunks = begun
    late(chunks[0])
    run_sql(source, "update numbers set x = -x where id % 5 = 0")
    make(CopyRows(source, target, CopyOptions(chunk_bytes=1 << 16)))
    for chunk in chunks:
        with pytest.raises(Superseded, match="no longer copied under the snapshot"):
            late(chunk)
    assert_equal(source, target)
    assert planned(CopyRows(source, target)) is ChangeKind.NONE


def test_a_new_run_waits_for_the_chunk_that_an_old_worker_has_under_way(
    moved: tuple[Database, Database], begun: tuple[CopyChunk, list[Chunk]]
) -> None:
    source, target = moved
    slow, chunks = replace(begun[0], rate=60_000), begun[1]
    run_sql(source, "update numbers set x = -x where id % 5 = 0")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(slow, chunks[-1])
        held = "select 1 from pg_locks where relation = 'numbers'::regclass and granted"
        while not run_sql(target, held):
            assert not late.done()
        make(CopyRows(source, target, CopyOptions(chunk_bytes=1 << 16)))
        assert late.done(), "the new run began before the old worker had ended its chunk"
        assert late.result()[0] > 0
    assert_equal(source, target)


def test_no_more_workers_copy_at_a_time_than_there_are_places(
    begun: tuple[CopyChunk, list[Chunk]],
) -> None:
    copy, chunks = begun
    target = copy.target.database
    with psycopg.connect(target.url, autocommit=True) as others, ThreadPoolExecutor(1) as pool:
        for place in range(copy.places):
            others.execute("select pg_advisory_lock(%s, %s)", [_PLACES, place])
        waits = pool.submit(copy, chunks[0])
        while not run_sql(
            target, "select 1 from pg_locks where locktype = 'advisory' and not granted"
        ):
            assert not waits.done()
        assert chunks_done(target) == 0
        others.execute("select pg_advisory_unlock_all()")
        assert waits.result()[0] > 0


def test_a_failure_is_left_where_the_launching_process_finds_it(
    begun: tuple[CopyChunk, list[Chunk]],
) -> None:
    copy, chunks = begun
    target = copy.target.database
    run_sql(target, "alter table numbers add constraint no_more check (id < 0)")
    with pytest.raises(CopyFailed, match="no_more"):
        copy(chunks[-1])
    with connect(target) as session:
        (told,) = bookkeeping.failures(session, copy.snapshot.name)
        assert told["kind"] == "CopyFailed"
        assert "no_more" in told["what"]
        run_sql(target, "alter table numbers drop constraint no_more")
        assert copy(chunks[-1])[0] > 0
        assert bookkeeping.failures(session, copy.snapshot.name) == []


def test_what_travels_to_workers_holds_no_password(tmp_path: Path) -> None:
    secret = Database("127.0.0.1", password="hidden-from-all")
    place = tmp_path / "password"
    reach = Reach(secret, FromFile(str(place)))
    assert b"hidden" not in pickle.dumps(reach)
    with pytest.raises(AuthenticationFailed, match="can't read the password file"):
        reach.resolve()
    place.write_text("hidden-from-all\n")
    assert reach.resolve() == secret


def test_bookkeeping_of_an_earlier_version_is_brought_along(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    make(CopyRows(source, target, CopyOptions(chunk_bytes=1 << 16)))
    run_sql(target, "alter table orchestra_migration.chunk drop wanted, drop failure")
    run_sql(source, "update numbers set x = 7 where id = 7")
    CopyRows(source, target).again({("public", "numbers")}, Notes())
    assert_equal(source, target)


# -- before anything is copied ---------------------------------------------------------------------


def test_without_the_extra_the_plan_says_what_installs_it(
    moved: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    action = CopyRows(*moved, by(Beam()))
    with pytest.raises(BeamUnavailable, match=r"pip install -e '\.\[beam\]'"):
        action.plan(action.observe())
    assert action.observe() is None


@needs_beam
@pytest.mark.parametrize(
    ("beam", "told"),
    [
        (Beam("NoSuchRunner"), "Unexpected pipeline runner: NoSuchRunner"),
        (Beam(options=(("regoin", "x"),)), "unknown options --regoin"),
        (Beam(options=(("direct_num_workers", "many"),)), "direct_num_workers: invalid int"),
        (Beam("DataflowRunner", (("project", "p1"), ("region", "r"))), "temp_location"),
    ],
)
def test_a_pipeline_that_could_not_start_is_refused_in_the_plan(
    moved: tuple[Database, Database], beam: Beam, told: str
) -> None:
    action = CopyRows(*moved, by(beam))
    with pytest.raises(BeamUnavailable, match=told):
        action.plan(action.observe())
    assert action.observe() is None


@needs_beam
def test_workers_elsewhere_need_an_address_and_a_place_for_the_password() -> None:
    here, far = Database("127.0.0.1", password="x"), Database("10.0.0.3", password="x")
    elsewhere = Beam("PortableRunner", (("job_endpoint", "10.0.0.9:8099"),))
    with pytest.raises(BeamUnavailable, match="can't reach the source at 127"):
        elsewhere.check(here, far, 2)
    with pytest.raises(BeamUnavailable, match="don't know the source's password"):
        replace(elsewhere, source=far).check(here, far, 2)
    named = replace(elsewhere, source_password=FromFile("/run/secrets/source"))
    with pytest.raises(BeamUnavailable, match="target_password_from"):
        named.check(far, far, 2)
    replace(named, target_password=FromFile("/run/secrets/target")).check(far, far, 2)


def test_beam_is_imported_only_where_it_is_asked_for() -> None:
    program = "import sys, lib.orchestra.relational; print('apache_beam' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"False"]


# -- pipelines -------------------------------------------------------------------------------------


@needs_beam
def test_every_row_arrives_once_although_every_bundle_runs_three_times(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    run_sql(source, "create index on numbers (x)")
    notes = Notes()
    post = PostDataSchema(source, target, SCHEMA)
    action = CopyRows(source, target, by(Beam(options=REPEATED)), post_data=post)
    make(action, notes)
    assert_equal(source, target)
    state = action.observe()
    assert state is not None
    assert (state.complete, state.rows) == (True, 12_000)
    assert notes.told[-1][1] == max(done for _, done in notes.told) > 0
    assert run_sql(target, "select count(*) from pg_indexes where tablename = 'numbers'") == [(2,)]
    assert planned(action) is ChangeKind.NONE


@needs_beam
@pytest.mark.parametrize("committed", [False, True], ids=["before-commit", "after-commit"])
def test_a_bundle_that_failed_is_repeated_by_beam_and_doubles_nothing(
    moved: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    source, target = moved
    copied = CopyChunk.__call__
    seen: list[Chunk] = []
    mutex = threading.Lock()

    def fails_at_first(self: CopyChunk, chunk: Chunk) -> tuple[int, int]:
        with mutex:
            seen.append(chunk)
            first = len(seen) <= 2
        if first and committed:
            copied(self, chunk)
        if first:
            raise OSError("the machine is taken away")
        return copied(self, chunk)

    monkeypatch.setattr(CopyChunk, "__call__", fails_at_first)
    make(CopyRows(source, target, by(Beam("BundleBasedDirectRunner"))))
    assert len(seen) > len(set(seen)), "Beam repeated what failed"
    assert_equal(source, target)


@needs_beam
def test_a_worker_s_failure_arrives_as_it_was_and_the_next_run_does_only_the_rest(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    run_sql(target, "alter table numbers add constraint no_more check (id < 4500)")
    action = CopyRows(source, target, by(Beam()))
    with pytest.raises(CopyFailed, match=r'Copying public\.numbers .*"no_more"') as caught:
        make(action)
    assert "CopyFailed" in str(caught.value.__cause__), "the runner's own words are the cause"
    run_sql(target, "alter table numbers drop constraint no_more")
    xids = "select xid from orchestra_migration.chunk where xid is not null"
    kept = set(run_sql(target, xids))
    make(action)
    assert kept <= set(run_sql(target, xids))
    assert_equal(source, target)


class Stop(Exception):
    pass


@needs_beam
def test_stopped_no_worker_begins_another_chunk(moved: tuple[Database, Database]) -> None:
    source, target = moved

    class Stopping(Notes):
        def safe_point(self) -> None:
            if chunks_done(target):
                raise Stop

    action = CopyRows(source, target, by(Beam(), rate=1_500_000))
    with pytest.raises(Stop):
        action.apply(action.plan(action.observe()), Stopping())
    done = chunks_done(target)
    assert done < run_sql(target, "select count(*) from orchestra_migration.chunk")[0][0]
    assert not run_sql(
        target, "select 1 from orchestra_migration.chunk where wanted is not null and xid is null"
    )
    make(CopyRows(source, target, by(Beam())))
    assert_equal(source, target)


@needs_beam
def test_a_lost_snapshot_ends_the_pipeline_and_is_worth_a_retry(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved

    class Cutting(Notes):
        def safe_point(self) -> None:
            if chunks_done(target):
                run_sql(
                    source,
                    "select pg_terminate_backend(pid) from pg_stat_activity where"
                    " datname = current_database() and pid <> pg_backend_pid()",
                )

    action = CopyRows(source, target, by(Beam(), rate=1_500_000))
    with pytest.raises(ConnectionLost, match="keeps the source's snapshot") as caught:
        action.apply(action.plan(action.observe()), Cutting())
    assert caught.value.transient
    make(CopyRows(source, target, by(Beam())))
    assert_equal(source, target)


PROGRAM = """
import sys
from lib.postgres.beam import Beam
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database
from tests.postgres.conftest import Notes
source, target = map(Database.from_url, sys.argv[1:])
options = CopyOptions(workers=2, chunk_bytes=1 << 16, rate=1_500_000, beam=Beam())
action = CopyRows(source, target, options)
action.apply(action.plan(action.observe()), Notes())
"""


@needs_beam
def test_the_launcher_killed_and_run_again_holds_every_row_once(
    moved: tuple[Database, Database],
) -> None:
    source, target = moved
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, source.url, target.url],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while chunks_done(target) < 5 and child.poll() is None:
        assert time.monotonic() < deadline
    os.kill(child.pid, signal.SIGKILL)
    _, said = child.communicate()
    assert child.returncode == -signal.SIGKILL, said
    run_sql(source, "update numbers set x = -x where id % 100 = 1")
    make(CopyRows(source, target, by(Beam())))
    assert_equal(source, target)


@needs_beam
def test_workers_read_passwords_where_they_run(
    moved: tuple[Database, Database],
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    password = "sesame-0b3a"
    folder = tmp_path_factory.mktemp("guarded") / "data"
    server = PostgreSQL(folder, "127.0.0.1", free_port(), password=password)
    server.start()
    try:
        guarded = Database.from_url(server.url, password)
        with pytest.raises(AuthenticationFailed):
            connect(replace(guarded, password=""))
        make(PreDataSchema(moved[0], guarded, SCHEMA))
        make(CopyRows(moved[0], guarded, by(Beam())))
        assert_equal(moved[0], guarded)
    finally:
        server.stop(immediate=True)
    assert not {SOURCE_PASSWORD, TARGET_PASSWORD} & set(os.environ)
    assert password not in caplog.text
