"""Databases and the bookkeeping's end on a server."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import NOTHING_TO_REMOVE, Change, ChangeKind
from lib.errors import VerificationError
from lib.postgres import bookkeeping, failures
from lib.postgres.catalog import BOOKKEEPING_SCHEMA
from lib.postgres.database import Database, connect
from lib.postgres.errors import PostgresError


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """A database as the server's catalogue has it."""

    name: str
    encoding: str
    collation: str


@dataclass(frozen=True, slots=True)
class CreateDatabase:
    """A database on a server; ``server`` is any database there that one can connect to."""

    server: Database
    name: str

    @property
    def subject(self) -> str:
        """The database's name."""
        return f"database {self.name}"

    def observe(self) -> DatabaseState | None:
        """The database, or None."""
        with connect(self.server) as connection:
            row = connection.execute(
                "SELECT datname, pg_encoding_to_char(encoding), datcollate FROM pg_database"
                " WHERE datname = %s",
                [self.name],
            ).fetchone()
        return None if row is None else DatabaseState(*row)

    def plan(self, observed: DatabaseState | None) -> Change:
        """CREATE where it is missing."""
        return Change(ChangeKind.CREATE if observed is None else ChangeKind.NONE, self.subject)

    def apply(self, change: Change, journal: Journal) -> None:
        """Create it, in UTF8; one that is there is left alone."""
        del change, journal
        with connect(self.server) as connection:
            try:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(
                        sql.Identifier(self.name)
                    )
                )
            except psycopg.errors.DuplicateDatabase:
                return
            except psycopg.Error as error:
                raise failures.working(f"Creating {self.subject}", error, PostgresError) from error

    def verify(self) -> DatabaseState:
        """The database exists."""
        state = self.observe()
        if state is None:
            raise VerificationError(f"The {self.subject} does not exist after it was created.")
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Drop the database, with the sessions on it."""
        del change, journal
        with connect(self.server) as connection:
            connection.execute(
                sql.SQL(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}"
                ).format(sql.Literal(self.name))
            )
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(self.name))
            )


@dataclass(frozen=True, slots=True)
class RemoveBookkeeping:
    """The target's bookkeeping is gone; after it a copy can't be resumed."""

    target: Database

    @property
    def subject(self) -> str:
        """The schema and its database."""
        return f"schema {BOOKKEEPING_SCHEMA} of {self.target.name}"

    def observe(self) -> bool | None:
        """True while it is there, else None."""
        with connect(self.target) as connection:
            return True if bookkeeping.exists(connection) else None

    def plan(self, observed: bool | None) -> Change:
        """DELETE where it is there."""
        if not observed:
            return Change(ChangeKind.NONE, self.subject, reason=NOTHING_TO_REMOVE)
        return Change(ChangeKind.DELETE, self.subject)

    def apply(self, change: Change, journal: Journal) -> None:
        """Drop it."""
        del change, journal
        with connect(self.target) as connection:
            bookkeeping.remove(connection)

    def verify(self) -> bool:
        """It is gone; gives False, for nothing is left."""
        if self.observe():
            raise VerificationError(f"The {self.subject} is still there.")
        return False

    def undo(self, change: Change, journal: Journal) -> None:
        """Nothing to take back: the schema holds nothing that the target needs."""
        del change, journal
