"""The snapshot of a new replication slot: what it shows, and what the slot sends, is everything.

A slot begins at a point of the source's write-ahead log.  The snapshot that the server exports
with it shows exactly the transactions that committed before this point; the slot sends exactly
those that commit after it.  Copied rows and followed changes together miss nothing and double
nothing.
"""

import threading
from typing import Any

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.postgres import failures, replication
from lib.postgres.database import Connection, Database, connect, connect_replication
from lib.postgres.errors import PostgresError
from lib.postgres.snapshot import Snapshot

_LOOK = 0.5


class SlotSnapshot(Snapshot):
    """A snapshot taken with a slot that is made anew; one of that name is dropped before.

    The slot stays when the context ends, and keeps the changes from ``position`` on (bytes of
    the write-ahead log).
    """

    def __init__(self, database: Database, slot: str, journal: Journal) -> None:
        super().__init__(database)
        self.slot = slot
        self.position = 0
        self._journal = journal

    def __enter__(self) -> "SlotSnapshot":
        with connect(self.database) as ours:
            replication.drop_slot(ours, self.slot)
            with connect_replication(self.database) as walsender:
                exported = self._make(walsender, ours)
                # The exported snapshot ends with the walsender's next command: hold it here.
                self.connection = connect(self.database)
                self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                self.connection.execute(
                    sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported))
                )
                row: Any = self.connection.execute("SELECT pg_export_snapshot()").fetchone()
            self.id = row[0]
            self.position = replication.require_slot(ours, self.slot).confirmed
        return self

    def _make(self, walsender: Connection, ours: Connection) -> str:
        """Make the slot; it waits for the transactions that are under way on the source."""
        made: list[Any] = []

        def make() -> None:
            try:
                statement = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT")
                made.append(
                    walsender.execute(statement.format(sql.Identifier(self.slot))).fetchone()
                )
            except BaseException as error:
                made.append(error)

        thread = threading.Thread(target=make, name="slot", daemon=True)
        thread.start()
        while True:
            thread.join(_LOOK)
            if not thread.is_alive():
                break
            try:
                self._wait(ours)
            except BaseException:
                walsender.cancel_safe()
                thread.join()
                replication.drop_slot(ours, self.slot)
                raise
        answer = made[0]
        if isinstance(answer, psycopg.Error):
            what = f"Making slot {self.slot} on {self.database.url}"
            raise failures.working(what, answer, PostgresError) from answer
        if isinstance(answer, BaseException):
            raise answer
        name: str = answer[2]
        return name

    def _wait(self, ours: Connection) -> None:
        self._journal.safe_point()
        row: Any = ours.execute(_UNDER_WAY).fetchone()
        label = f"slot waits for {row[0]} open transactions, the oldest of process {row[1]}"
        self._journal.progress(label, row[2], None, "seconds")


_UNDER_WAY = """
SELECT count(*), (array_agg(pid ORDER BY xact_start))[1],
       coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8
  FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
"""
