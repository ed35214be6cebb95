"""Entries of a dump made on the target: all in one transaction, or many at a time."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import psycopg

from lib.errors import MigrationError
from lib.postgres import failures
from lib.postgres.database import Connection, Database, connect
from lib.postgres.dump import Entry
from lib.postgres.errors import RestoreFailed
from lib.postgres.keys import Build

DEADLOCK = "40P01"
TAKEN = "55000"
_THERE = ("42P07", "42710", "42P16")
ATTEMPTS = 8
QUIET = "SET search_path = ''; SET check_function_bodies = false; SET row_security = off"
_LAST = ("COMMENT", "ACL", "DEFAULT ACL", "SECURITY LABEL", "EVENT TRIGGER")


def together(target: Database, entries: Iterable[Entry]) -> None:
    """Make the entries in one transaction: after a failure or a kill none of them is there."""
    with connect(target) as connection:
        connection.execute(QUIET)
        with connection.transaction():
            for entry in sorted(entries, key=_turn):
                _make(connection, entry)


def _turn(entry: Entry) -> int:
    """Schemas and their grants first: an owner to be needs CREATE on the schema."""
    if entry.type == "SCHEMA":
        return 0
    return 1 if entry.type == "ACL" and entry.name.startswith("SCHEMA ") else 2


def apart(
    target: Database,
    entries: Sequence[Entry],
    builds: Sequence[Build],
    jobs: int,
    made: Callable[[Entry], None],
    safe_point: Callable[[], None],
) -> None:
    """Make the entries each in a transaction of its own, ``jobs`` at a time; tells each ``made``.

    ``builds`` are the indexes and constraints among them: they come first, and keys on them; then
    what is cheap, in the order of the dump, then foreign keys, which read whole tables, and at
    last comments, grants and event triggers.
    """

    own = threading.local()

    def one(entry: Entry) -> None:
        safe_point()
        if not hasattr(own, "builder"):
            own.builder = Builder(sessions.enter_context(connect(target)))
        own.builder.make(entry)
        made(entry)

    for stage, parallel in _stages(entries, builds):
        with (
            ExitStack() as sessions,
            ThreadPoolExecutor(jobs if parallel else 1, thread_name_prefix="schema") as pool,
        ):
            running = [pool.submit(one, entry) for entry in stage]
            try:
                for each in running:
                    each.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _stages(entries: Sequence[Entry], builds: Sequence[Build]) -> list[tuple[list[Entry], bool]]:
    indexes = [each.entry for each in builds]
    on_indexes = [each.key for each in builds if each.key]
    keys = [each for each in entries if each.type == "FK CONSTRAINT"]
    last = [each for each in entries if each.type in _LAST]
    taken = {each.id for each in (*indexes, *keys, *last)}
    rest = [each for each in entries if each.id not in taken]
    return [(indexes, True), (on_indexes, True), (rest, False), (keys, True), (last, False)]


class Builder:
    """A session on the target that makes one entry after the other."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.execute(QUIET)
        # From version 14 on, and where the platform can: our own end ends a long build too.
        with suppress(psycopg.Error):
            connection.execute("SET client_connection_check_interval = '1s'")

    def make(self, entry: Entry) -> None:
        """Make an entry; two that lock the same tables crosswise may need another turn.

        The server ends the build of a killed run's session a little later, or has just finished
        it: an index or key that is there by now is there.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return _make(self.connection, entry)
            except MigrationError as error:
                state = getattr(error.__cause__, "sqlstate", None)
                if state in _THERE and entry.type in ("INDEX", "CONSTRAINT"):
                    return None
                if state == TAKEN and self._has_key(entry):
                    return None
                if state != DEADLOCK or attempt == ATTEMPTS:
                    raise
        return None

    def _has_key(self, entry: Entry) -> bool:
        """Whether the index in question serves the key already."""
        found = self.connection.execute(_KEY, [entry.schema, entry.name])
        return entry.type == "CONSTRAINT" and found.fetchone() is not None


def _make(connection: Connection, entry: Entry) -> None:
    if not entry.statements:
        return
    try:
        # The text is pg_dump's own; without parameters it may hold several statements.
        connection.execute(entry.statements.encode())
    except psycopg.Error as error:
        raise failures.working(f"Making {entry.title}", error, RestoreFailed) from error


_KEY = """
SELECT 1 FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype IN ('p', 'u') AND n.nspname = %s AND format('%%s %%s', c.relname, k.conname) = %s
"""
