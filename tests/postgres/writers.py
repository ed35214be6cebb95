"""Clients that write to the source, move over to the target when it opens, and remember it all."""

import contextlib
import threading
import time
from dataclasses import dataclass, field

import psycopg

from lib.postgres.database import Database

ROLE = "app_writer"
TABLES = """
create table accounts (id int primary key, balance bigint not null, note text);
create table ledger (
    id bigserial primary key, account int not null references accounts, amount bigint not null,
    document jsonb not null default '{}', writer int not null, n int not null
);
create index on ledger using gin (document);
create table events (at timestamptz default now(), what text);
create materialized view totals as select account, sum(amount) from ledger group by 1;
grant select, insert, update, delete on all tables in schema public to app_writer;
grant usage on all sequences in schema public to app_writer;
"""
ROWS = """
insert into accounts select n, 0, repeat(md5(n::text), 8) from generate_series(1, 3000) n;
insert into ledger (account, amount, writer, n)
    select 1 + n % 3000, 0, -1, n from generate_series(1, 8000) n;
insert into events select now(), 'before' from generate_series(1, 500) n;
refresh materialized view totals;
"""


@dataclass
class Told:
    """What one writer knows: committed transactions, those of unknown end, and when it wrote."""

    committed: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    last_on_source: float = 0.0
    first_on_target: float = 0.0


class Writers:
    """``count`` clients, together about ``rate`` transactions a second; use as a context."""

    def __init__(self, source: Database, target: Database, count: int, rate: float) -> None:
        self.sides = [
            Database(each.host, each.port, ROLE, name=each.name) for each in (source, target)
        ]
        self.pause = count / rate
        self.told = [Told() for _ in range(count)]
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(w,)) for w in range(count)]

    def __enter__(self) -> "Writers":
        for each in self.threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for each in self.threads:
            each.join()

    @property
    def committed(self) -> int:
        return sum(len(each.committed) for each in self.told)

    def wait_for(self, more: int) -> None:
        """Return when so many further transactions are committed."""
        wanted = self.committed + more
        deadline = time.monotonic() + 60
        while self.committed < wanted:
            assert time.monotonic() < deadline, f"writers stand still: {self.errors}"
            time.sleep(0.01)

    def without_writes(self) -> float:
        """Seconds between the last commit on the source and the first one on the target."""
        last = max(each.last_on_source for each in self.told)
        first = min(each.first_on_target for each in self.told if each.first_on_target)
        return first - last

    def _run(self, writer: int) -> None:
        try:
            n = 0
            while not self.stop.is_set():
                for side, database in enumerate(self.sides):
                    with contextlib.suppress(psycopg.errors.ReadOnlySqlTransaction):
                        n = self._session(writer, n, side, database)
        except BaseException as error:
            self.errors.append(error)

    def _session(self, writer: int, n: int, side: int, database: Database) -> int:
        """Write until the session ends or the database is read-only; gives the next number."""
        told = self.told[writer]
        try:
            connection = psycopg.connect(database.url, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError:
            time.sleep(0.01)
            return n
        with contextlib.closing(connection):
            due = time.monotonic()
            while not self.stop.is_set():
                n += 1
                try:
                    with connection.transaction():
                        _write(connection, writer, n)
                        told.unknown.add(n)
                except psycopg.errors.ReadOnlySqlTransaction:
                    told.unknown.discard(n)
                    raise
                except psycopg.OperationalError:
                    return n
                told.unknown.discard(n)
                told.committed.add(n)
                now = time.monotonic()
                if side:
                    told.first_on_target = told.first_on_target or now
                else:
                    told.last_on_source = now
                due += self.pause
                time.sleep(max(0.0, due - time.monotonic()))
        return n

    def require_everything_once(self, target: Database) -> None:
        """Each committed transaction is on the target once, whole; none that was rolled back."""
        assert self.errors == []
        with psycopg.connect(target.url) as connection:
            rows = connection.execute(
                "select writer, n, count(*) from ledger where writer >= 0 group by 1, 2"
            ).fetchall()
            moved = connection.execute("select sum(balance) from accounts").fetchone()
            booked = connection.execute("select sum(amount) from ledger").fetchone()
            gone = connection.execute("select count(*) from events where what = 'before'")
            assert gone.fetchone() == (500,)
        assert [row for row in rows if row[2] != 1] == []
        there = {(writer, n) for writer, n, _ in rows}
        committed = {(w, n) for w, told in enumerate(self.told) for n in told.committed}
        unknown = {(w, n) for w, told in enumerate(self.told) for n in told.unknown}
        assert committed - there == set(), "committed, but missing on the target"
        assert there - committed - unknown == set(), "on the target, but never committed"
        assert moved == booked, "a transaction's two rows agree"


def _write(connection: psycopg.Connection, writer: int, n: int) -> None:
    """Insert, update across the table, delete what another transaction inserted, keyless insert."""
    account, amount = 1 + (writer * 7919 + n * 31) % 3000, n % 17
    connection.execute(
        "insert into ledger (account, amount, writer, n, document)"
        " values (%s, %s, %s, %s, jsonb_build_object('n', %s::int))",
        [account, amount, writer, n, n],
    )
    connection.execute(
        "update accounts set balance = balance + %s, note = note || 'x' where id = %s",
        [amount, account],
    )
    if n % 5 == 0:
        connection.execute("delete from ledger where writer = -1 and n = %s", [writer + n * 8])
    if n % 7 == 0:
        connection.execute("insert into events (what) values ('later')")
