"""Writes on the source, stopped for as long as it takes, and given back after any failure.

First the gentle way: one session locks every table against writers, who finish what they have
begun and then wait.  If all goes well the database becomes read-only for new sessions and the old
ones end, the lock goes, and the source stays as it is.  If anything fails the lock goes, and the
writers that waited go on as if nothing had been.  A source whose writers hold locks crosswise, so
that the lock is never had, is made read-only first.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.catalog import Table
from lib.postgres.database import SESSION, Connection, Database, connect
from lib.postgres.errors import PostgresError, WritesNotStopped

GENTLE_ATTEMPTS = 5
LOCK_TIMEOUT = "3s"
FIRM_LOCK_TIMEOUT = "30s"
END_SECONDS = 15.0


def read_only(connection: Connection) -> bool:
    """Whether new sessions of the database begin read-only."""
    return _setting(connection) == "on"


class StoppedWrites:
    """While the context is open nobody writes to the tables.

    ``keep`` leaves the database read-only after the context, unless ``give_back`` follows; without
    it everybody writes again.  ``began`` is when the writers were stopped (monotonic), ``resumed``
    whether the database was read-only already.
    """

    def __init__(self, source: Database, tables: Sequence[Table]) -> None:
        self._source = source
        self._tables = sorted(tables, key=lambda table: table.oid)
        self._kept = False
        self._firm = False
        self.resumed = False
        self.began = 0.0
        self._lock: Connection

    def __enter__(self) -> "StoppedWrites":
        self._lock = connect(self._source)
        try:
            with connect(self._source) as connection:
                self.resumed = read_only(connection)
            self._stop()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()

    def keep(self) -> None:
        """Make the database read-only and end every session that began before."""
        self._forbid()
        self._kept = True

    def give_back(self) -> None:
        """Take ``keep`` back: everybody writes again after the context."""
        self._kept = False

    # -- inside --------------------------------------------------------------------------------

    def _stop(self) -> None:
        attempts = 0 if self.resumed else GENTLE_ATTEMPTS
        for _ in range(attempts):
            self.began = time.monotonic()
            if self._locked(LOCK_TIMEOUT):
                return
        self.began = time.monotonic()
        self._forbid()
        if not self._locked(FIRM_LOCK_TIMEOUT):
            raise WritesNotStopped(
                "The tables of the source could not be locked against writers.",
                expected="no session or prepared transaction that holds locks for long",
                remedy="look at pg_locks and pg_prepared_xacts on the source, end what holds"
                " them, and run the same command again; writes go on meanwhile",
            )

    def _locked(self, timeout: str) -> bool:
        """Hold every table against writers; False when that took too long or crossed others."""
        try:
            self._lock.execute("BEGIN")
            self._lock.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(timeout)))
            self._notice_deadlocks_soon()
            names = sql.SQL(", ").join(
                sql.SQL("ONLY {}").format(t.identifier) for t in self._tables
            )
            if self._tables:
                self._lock.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(names))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            self._lock.execute("ROLLBACK")
            return False
        except psycopg.Error as error:
            raise failures.working("Stopping writes on the source", error) from error
        return True

    def _notice_deadlocks_soon(self) -> None:
        try:
            with self._lock.transaction():
                self._lock.execute("SET LOCAL deadlock_timeout = '100ms'")
        except psycopg.errors.InsufficientPrivilege:
            return

    def _forbid(self) -> None:
        with connect(self._source) as connection:
            self._firm = True
            _set(connection, "SET default_transaction_read_only = on")
            _end_sessions(connection)

    def _release(self) -> None:
        """Give the lock back; and the right to write, unless it is to stay taken."""
        try:
            if self._firm and not self._kept:
                allow(self._source)
        finally:
            self._lock.close()


def allow(source: Database) -> None:
    """Let new sessions write again, and end those that can't."""
    with connect(source) as connection:
        if not read_only(connection):
            return
        _set(connection, "RESET default_transaction_read_only")
        _end_sessions(connection)


def _setting(connection: Connection) -> str:
    row: Any = connection.execute(_READ_ONLY).fetchone()
    return row[0] if row else ""


def _set(connection: Connection, what: str) -> None:
    name = sql.Identifier(connection.info.dbname)
    try:
        connection.execute(sql.SQL("ALTER DATABASE {} " + what).format(name))
    except psycopg.Error as error:
        raise failures.working("Stopping writes on the source", error, PostgresError) from error


def _end_sessions(connection: Connection) -> None:
    """End other sessions that began before now, so that all that follow see the new setting."""
    since: Any = connection.execute("SELECT clock_timestamp()").fetchone()
    deadline = time.monotonic() + END_SECONDS
    while True:
        try:
            left = connection.execute(_END, [since[0], SESSION["application_name"]]).fetchall()
        except psycopg.Error as error:
            what = "Ending the sessions of the source"
            raise failures.working(what, error, PostgresError) from error
        if not left:
            return
        if time.monotonic() > deadline:
            pids = ", ".join(str(row[0]) for row in left)
            raise WritesNotStopped(
                f"Sessions of the source do not end: processes {pids}.",
                remedy="end them by hand, then run the same command again; writes go on meanwhile",
            )
        time.sleep(0.02)


_READ_ONLY = """
SELECT substr(s.setting, length('default_transaction_read_only=') + 1)
  FROM (SELECT unnest(setconfig) AS setting FROM pg_db_role_setting
         WHERE setrole = 0 AND setdatabase = (
               SELECT oid FROM pg_database WHERE datname = current_database())) s
 WHERE s.setting LIKE 'default_transaction_read_only=%'
"""
_END = """
SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend'
   AND pid <> pg_backend_pid() AND backend_start <= %s AND application_name <> %s
"""
