"""The target follows its source until the cutover: nothing is lost, doubled, or left behind."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lib.engine.changes import ChangeKind
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError
from lib.postgres import writes
from lib.postgres.comparison import compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.cutover import Cutover, leftovers
from lib.postgres.database import Database
from lib.postgres.errors import Obstacle, SchemaChanged, SlotLost
from lib.postgres.following import Followed
from lib.postgres.leftovers import ReplicationRemoved
from lib.postgres.online import Online, replication_name
from lib.postgres.publication import Published
from lib.postgres.roles import Roles
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.views import MaterialisedViews
from lib.postgres.writes import allow
from lib.runtime.binaries import pg_dump_path
from lib.runtime.postgresql import PostgreSQL
from tests.conftest import free_port
from tests.postgres.conftest import Notes, make, planned, run_sql
from tests.postgres.writers import ROLE, ROWS, TABLES, Writers

SCHEMA = SchemaOptions(pg_dump=pg_dump_path())
FULL = bool(os.environ.get("ORCHESTRA_CHAOS"))
KILLS = 50 if FULL else 4
RATE = 300 if FULL else 60


@dataclass(frozen=True)
class Move:
    """Every action of an online move, small chunks, ``rate`` in bytes a second."""

    source: Database
    target: Database
    online: Online
    rate: int = 0

    @property
    def options(self) -> CopyOptions:
        return CopyOptions(workers=2, chunk_bytes=1 << 17, rate=self.rate)

    @property
    def published(self) -> Published:
        return Published(self.source, self.online)

    @property
    def rows(self) -> CopyRows:
        post_data = PostDataSchema(self.source, self.target, SCHEMA)
        return CopyRows(self.source, self.target, self.options, self.online, post_data)

    @property
    def followed(self) -> Followed:
        return Followed(self.source, self.target, self.online)

    @property
    def cutover(self) -> Cutover:
        return Cutover(self.source, self.target, self.online, self.options)

    @property
    def steps(self) -> list[Any]:
        """Everything before the cutover."""
        pair = self.source, self.target
        return [
            Roles(*pair),
            PreDataSchema(*pair, SCHEMA),
            self.published,
            self.rows,
            PostDataSchema(*pair, SCHEMA),
            MaterialisedViews(*pair),
            self.followed,
        ]

    def follow(self) -> None:
        """Everything before the cutover, as the phases do it."""
        for action in self.steps:
            make(action)

    def follow_made(self) -> None:
        """The same into tables that a test made, which is faster."""
        run_sql(self.target, f"create role {ROLE} login")
        run_sql(self.target, TABLES)
        for action in (self.published, self.rows, self.followed):
            make(action)


@pytest.fixture
def move(source: Database, target: Database) -> Iterator[Move]:
    """A source with a ledger, not yet moved; slots go after the test whatever happened."""
    run_sql(source, f"drop role if exists {ROLE}")
    run_sql(source, f"create role {ROLE} login")
    run_sql(source, TABLES)
    run_sql(source, ROWS)
    online = Online(replication_name("test", target.name))
    yield Move(source, target, online)
    allow(source)
    make(ReplicationRemoved(source, target, online.name))
    run_sql(source, f"drop owned by {ROLE}")
    run_sql(source, f"drop role {ROLE}")


def state_of(source: Database) -> list[tuple[Any, ...]]:
    """What an online move could leave on a source."""
    return run_sql(
        source,
        "select slot_name::text from pg_replication_slots where database = current_database()"
        " union all select pubname::text from pg_publication"
        " union all select unnest(setconfig) from pg_db_role_setting where setdatabase ="
        " (select oid from pg_database where datname = current_database())",
    )


def may_write(source: Database) -> bool:
    try:
        run_sql(source, "insert into events (what) values ('probe')")
    except psycopg.errors.ReadOnlySqlTransaction:
        return False
    return True


def test_writers_lose_nothing_through_copy_sync_and_cutover(move: Move) -> None:
    with Writers(move.source, move.target, 4, RATE) as writers:
        writers.wait_for(20)
        move.follow()
        began = time.monotonic()
        writers.wait_for(3000 if FULL else 60)
        rate = (3000 if FULL else 60) / (time.monotonic() - began)
        notes = Notes()
        change = make(move.cutover, notes)
        writers.wait_for(100 if FULL else 30)
    assert change.irreversible
    assert "events (no key)" in change.reason
    writers.require_everything_once(move.target)
    assert all(told.first_on_target for told in writers.told)
    state = move.cutover.observe()
    assert state is not None
    assert state.seconds is not None
    print(
        f"without writes {state.seconds:.2f} s, as clients saw it {writers.without_writes():.2f} s,"
        f" {writers.committed} transactions, {rate:.0f} a second"
    )
    assert any("s behind" in label for label, _ in notes.told)
    assert not may_write(move.source)
    assert leftovers(move.source, move.target, move.online.name) == []
    for action in (move.published, move.rows, move.followed, move.cutover):
        assert planned(action) is ChangeKind.NONE
    assert run_sql(move.target, "select count(*) > 0 from totals") == [(True,)]


CUTOVER = """
import sys
from lib.postgres.database import Database
from lib.postgres.online import Online
from tests.postgres.conftest import make
from tests.postgres.test_online import Move
source, target, name = sys.argv[1:]
make(Move(Database.from_url(source), Database.from_url(target), Online(name)).cutover)
"""
PROGRAM = """
import sys
from lib.postgres.database import Database
from lib.postgres.online import Online
from tests.postgres.conftest import make
from tests.postgres.test_online import Move
source, target, name = sys.argv[1:]
move = Move(Database.from_url(source), Database.from_url(target), Online(name), 2_000_000)
print("begins", flush=True)
for action in move.steps:
    make(action)
"""


def killed_after(move: Move, seconds: float) -> bool:
    """Run the move in another process, kill it so long after it began; False: it ended before."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, move.source.url, move.target.url, move.online.name],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    with closing(child.stdout) as begun, closing(child.stderr) as said:
        begun.readline()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            return True
        assert child.returncode == 0, said.read()
    return False


def test_killed_at_random_moments_ends_as_if_never_killed(move: Move) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    kills = 0
    with Writers(move.source, move.target, 2, RATE / 3) as writers:
        writers.wait_for(5)
        latest = 3.0
        while kills < KILLS:
            began = time.monotonic()
            if killed_after(move, moments.uniform(0, latest)):
                kills += 1
            else:  # once all is in sync a run is short: later moments would never come
                latest = time.monotonic() - began
        move.follow()
        writers.wait_for(20)
        make(move.cutover)
        writers.wait_for(10)
    writers.require_everything_once(move.target)
    assert leftovers(move.source, move.target, move.online.name) == []


@pytest.mark.parametrize("stop", ["_bring_over", "_compare", "_open", "after"])
def test_cutover_that_was_killed_is_finished_by_the_next_run(move: Move, stop: str) -> None:
    move.follow_made()
    program = (
        "import os, signal, lib.postgres.cutover as c\n"
        "def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)\n"
        + ("c.MaterialisedViews = die\n" if stop == "after" else f"c.Cutover.{stop} = die\n")
        + CUTOVER
    )
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            move.source.url,
            move.target.url,
            move.online.name,
        ],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert child.returncode == -signal.SIGKILL
    assert may_write(move.source) is (stop in ("_bring_over", "_compare"))
    make(move.cutover)
    assert leftovers(move.source, move.target, move.online.name) == []
    assert compare(move.source, move.target).describe() == ""
    assert planned(move.cutover) is ChangeKind.NONE


@pytest.mark.parametrize("done", [3, 4, 7])
def test_taken_back_before_the_cutover_the_source_is_as_it_was(move: Move, done: int) -> None:
    before = state_of(move.source)
    steps = move.steps[:done]
    changes = [make(action) for action in steps]
    assert state_of(move.source) != before
    for action, change in reversed(list(zip(steps, changes, strict=True))[2:]):
        if not isinstance(action, PostDataSchema):
            action.undo(change, Notes())
    assert state_of(move.source) == before
    assert may_write(move.source)
    assert run_sql(
        move.target,
        "select count(*) from pg_subscription s join pg_database d"
        " on d.oid = s.subdbid where d.datname = current_database()",
    ) == [(0,)]


def test_foreign_rows_on_the_target_end_the_cutover_and_writers_go_on(move: Move) -> None:
    move.follow_made()
    run_sql(move.target, "update accounts set note = 'mine' where id = 5")
    with Writers(move.source, move.target, 2, 50) as writers:
        writers.wait_for(3)
        with pytest.raises(VerificationError, match=r"public.accounts \(id=5\)"):
            make(move.cutover)
        writers.wait_for(10)
    assert all(told.last_on_source and not told.first_on_target for told in writers.told)
    assert may_write(move.source)


def test_a_cutover_is_taken_back_while_the_target_has_nothing_of_its_own(move: Move) -> None:
    move.follow_made()
    change = make(move.cutover)
    run_sql(move.target, "insert into events (what) values ('new')")
    with pytest.raises(CannotUndo, match=r"public.events"):
        move.cutover.undo(change, Notes())
    assert not may_write(move.source)
    run_sql(move.target, "delete from events where what = 'new'")
    move.cutover.undo(change, Notes())
    assert may_write(move.source)


def test_only_the_migration_gets_into_the_target_before_the_cutover(move: Move) -> None:
    move.follow_made()
    writer = Database(move.target.host, move.target.port, ROLE, name=move.target.name)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        run_sql(writer, "select 1")
    make(move.cutover)
    assert run_sql(writer, "select 1") == [(1,)]


@pytest.mark.parametrize(
    "statement, told",
    [
        ("alter table accounts add colour text", "accounts has other columns (colour text)"),
        ("create table later (id int primary key)", "public.later is new"),
        ("drop table ledger cascade", "public.ledger was dropped or renamed"),
    ],
)
def test_ddl_during_the_sync_is_said(move: Move, statement: str, told: str) -> None:
    move.follow_made()
    run_sql(move.source, statement)
    with pytest.raises(SchemaChanged, match=r"changed after they were copied") as caught:
        planned(move.cutover)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "statement, told",
    [
        (
            "create trigger always before update on accounts for each row execute function"
            " suppress_redundant_updates_trigger(); alter table accounts enable always trigger"
            " always",
            "trigger always of public.accounts",
        ),
        (
            f"alter role {ROLE} set default_transaction_read_only = off",
            f"role {ROLE} has default_transaction_read_only = off",
        ),
    ],
)
def test_what_can_not_be_followed_is_found_in_the_plan(
    move: Move, statement: str, told: str
) -> None:
    run_sql(move.source, statement)
    with pytest.raises(Obstacle) as caught:
        planned(move.published)
    assert told in str(caught.value)


def test_tables_without_a_key_are_refused_where_that_is_asked_for(move: Move) -> None:
    strict = Online(move.online.name, keyless="refuse")
    with pytest.raises(Obstacle, match=r"updates of table public.events can't be followed: no key"):
        planned(Published(move.source, strict))
    run_sql(move.source, "alter table events replica identity full")
    assert planned(Published(move.source, strict)) is ChangeKind.CREATE
    run_sql(move.source, "alter table events add document json")
    with pytest.raises(Obstacle, match="type json has no equality"):
        planned(Published(move.source, strict))


def test_rows_without_a_key_are_followed_with_full_identity(move: Move) -> None:
    run_sql(move.source, "alter table events replica identity full")
    move.follow_made()
    assert "events" not in move.cutover.plan(None).reason
    run_sql(move.source, "insert into events (what) values ('twice'), ('twice')")
    run_sql(move.source, "delete from events where ctid = (select min(ctid) from events)")
    make(move.cutover)
    assert compare(move.source, move.target).describe() == ""


def test_truncate_and_large_objects_arrive(move: Move) -> None:
    run_sql(move.source, "select lo_from_bytea(71001, 'gone later'), lo_from_bytea(71002, 'old')")
    move.follow_made()
    run_sql(
        move.source,
        "truncate ledger; insert into ledger (account, amount, writer, n) values (1, 1, 0, 0)",
    )
    run_sql(move.source, "select lo_unlink(71001), lo_put(71002, 0, 'new')")
    make(move.cutover)
    assert compare(move.source, move.target).describe() == ""


def test_a_subscription_that_was_disabled_is_said(move: Move) -> None:
    move.follow_made()
    run_sql(move.target, f"alter subscription {move.online.name} disable")
    run_sql(move.source, "update accounts set note = 'late' where id = 1")
    make(move.followed)
    make(move.cutover)
    assert compare(move.source, move.target).describe() == ""


@pytest.fixture
def tight(tmp_path: Path) -> Iterator[PostgreSQL]:
    """A server that keeps little for slots and does not decode."""
    tmp_path.chmod(0o755)
    server = PostgreSQL(
        tmp_path / "tight" / "data",
        "127.0.0.1",
        free_port(),
        settings={"fsync": "off", "wal_level": "replica", "max_slot_wal_keep_size": "1MB"},
    )
    server.start()
    yield server
    server.stop(immediate=True)


def test_a_source_that_can_not_decode_or_loses_the_slot_is_said(
    tight: PostgreSQL, target: Database
) -> None:
    source = Database.from_url(tight.url)
    run_sql(source, "create table t (id int primary key); insert into t values (1)")
    move = Move(source, target, Online(replication_name("tight", target.name)))
    with pytest.raises(Obstacle, match="wal_level is replica"):
        planned(move.published)
    tight.stop()
    again = PostgreSQL(
        tight.data,
        tight.host,
        tight.port,
        settings={"fsync": "off", "max_slot_wal_keep_size": "1MB"},
    )
    again.start()
    for action in move.steps[1:4]:
        make(action)
    assert planned(move.rows) is ChangeKind.NONE
    for _ in range(4):
        run_sql(source, "insert into t select coalesce(max(id), 0) + 1 from t")
        run_sql(source, "select pg_switch_wal()")
    run_sql(source, "checkpoint")
    with pytest.raises(SlotLost, match="max_slot_wal_keep_size"):
        planned(move.followed)
    assert planned(move.rows) is ChangeKind.COPY, "the copy begins again, with a new slot"
    make(move.rows)
    make(move.followed)
    make(move.cutover)
    assert compare(source, target).describe() == ""


def test_a_slot_that_waits_for_a_transaction_says_so_and_can_be_stopped(move: Move) -> None:
    run_sql(move.target, f"create role {ROLE} login")
    run_sql(move.target, TABLES)
    make(move.published)

    class Stop(Exception):
        pass

    class Stopping(Notes):
        def safe_point(self) -> None:
            if any("slot waits" in label for label, _ in self.told):
                raise Stop

    notes = Stopping()
    with psycopg.connect(move.source.url) as open_transaction:
        pid = open_transaction.info.backend_pid
        open_transaction.execute("insert into events (what) values ('not yet')")
        with pytest.raises(Stop):
            make(move.rows, notes)
        open_transaction.rollback()
    (label, _), *_ = notes.told
    assert label == f"slot waits for 1 open transactions, the oldest of process {pid}"
    assert replication_slots(move) == []
    make(move.rows)


def replication_slots(move: Move) -> list[tuple[Any, ...]]:
    return run_sql(
        move.source,
        "select slot_name from pg_replication_slots where database = current_database()",
    )


def test_a_subscription_whose_record_is_gone_reads_no_new_slot(move: Move) -> None:
    move.follow_made()
    run_sql(move.target, "drop schema orchestra_migration cascade")
    run_sql(move.target, "truncate accounts, ledger, events")
    run_sql(move.source, "update accounts set note = 'changed meanwhile'")
    for action in (move.rows, move.followed, move.cutover):
        make(action)
    assert compare(move.source, move.target).describe() == ""


def test_a_session_that_keeps_its_locks_is_ended_after_some_patience(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "LOCK_TIMEOUT", "50ms")
    move.follow_made()
    with psycopg.connect(move.source.url) as idle:
        idle.execute("insert into events (what) values ('never committed')")
        make(move.cutover)
        with pytest.raises(psycopg.OperationalError):
            idle.execute("select 1")
    assert run_sql(move.target, "select count(*) from events") == [(500,)]
    assert not may_write(move.source)


def test_names_are_the_same_in_every_run_and_fit() -> None:
    name = replication_name("ai-orchestra-Production", "agent.storage", "x" * 80)
    assert name == replication_name("ai-orchestra-Production", "agent.storage", "x" * 80)
    assert name != replication_name("ai-orchestra-Production", "agent.storage", "x" * 81)
    assert len(name) <= 63
    assert name.startswith("orchestra_ai_orchestra_production_agent_storage")
