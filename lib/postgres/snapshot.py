"""One snapshot of the source that many sessions read: all see the same rows."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.catalog import Table
from lib.postgres.database import Connection, Database, connect

LOCK_TIMEOUT = "30s"


@dataclass(frozen=True, slots=True)
class Exported:
    """A snapshot as sessions elsewhere see it: ``id`` imports it, ``name`` tells it from others.

    Plain and picklable; it can be imported as long as the session that exported it lives.
    """

    id: str
    name: str

    def statements(self) -> tuple[str, ...]:
        """What a session executes first to see the snapshot."""
        quoted = sql.Literal(self.id).as_string(None)
        return (
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            f"SET TRANSACTION SNAPSHOT {quoted}",
        )


class Snapshot:
    """An exported snapshot, alive while the context is open.

    ``id`` is what ``SET TRANSACTION SNAPSHOT`` takes; ``name`` is unique among all runs.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.name = uuid.uuid4().hex
        self.id = ""
        self.connection: Connection

    def __enter__(self) -> "Snapshot":
        self.connection = connect(self.database)
        self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row: Any = self.connection.execute("SELECT pg_export_snapshot()").fetchone()
        self.id = row[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()

    def lock(self, tables: Iterable[Table]) -> None:
        """Keep the tables from being dropped, truncated or rewritten while the snapshot lives."""
        try:
            self.connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            for table in tables:
                self.connection.execute(
                    sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(table.identifier)
                )
        except psycopg.Error as error:
            raise failures.working(f"Locking the tables of {self.database.url}", error) from error

    def alive(self) -> bool:
        """True while the session that holds the snapshot answers."""
        try:
            self.connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    def reader(self) -> Connection:
        """Another session that sees the snapshot; close it after use."""
        connection = connect(self.database)
        try:
            for statement in self.exported.statements():
                connection.execute(statement)
        except psycopg.Error as error:
            connection.close()
            raise failures.working(f"Reading {self.database.url}", error) from error
        return connection

    @property
    def exported(self) -> Exported:
        """The snapshot as another process imports it."""
        return Exported(self.id, self.name)
