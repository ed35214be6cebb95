"""Indexes and statistics of a table, made as soon as its rows are in, while others still copy."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.catalog import Table
from lib.postgres.database import Connection, Database, connect
from lib.postgres.dump import Entry
from lib.postgres.restore import Builder

Identity = tuple[str, str]


class Finisher:
    """Finishes tables whose rows are in: builds their indexes, then gathers statistics.

    ``entries`` gives, when first needed, the indexes and constraints of each table; ``jobs`` are
    built at a time.  A failure is raised when the context ends, or when ``finish`` is next called.
    """

    def __init__(
        self,
        target: Database,
        entries: Callable[[], dict[Identity, list[Entry]]],
        jobs: int,
        safe_point: Callable[[], None],
    ) -> None:
        self._target = target
        self._entries = entries
        self._safe_point = safe_point
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="finish")
        self._sessions = ExitStack()
        self._own = threading.local()
        self._connections: list[Connection] = []
        self._running: list[Future[None]] = []
        self._mutex = threading.Lock()
        self._planned = self._pool.submit(entries)

    def __enter__(self) -> "Finisher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._wait()
            else:
                self._cancel()
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._sessions.close()

    def finish(self, table: Table) -> None:
        """Begin with a table that has all its rows; safe from any thread."""
        with self._mutex:
            for each in self._running:
                if each.done() and (error := each.exception()) is not None:
                    raise error
        self._submit(lambda: self._begin(table))

    # -- inside --------------------------------------------------------------------------------

    def _submit(self, work: Callable[[], None]) -> None:
        with self._mutex:
            self._running.append(self._pool.submit(work))

    def _wait(self) -> None:
        done = 0
        while done < len(self._running):
            self._running[done].result()
            done += 1

    def _cancel(self) -> None:
        """Don't wait for a long build after something else failed."""
        for each in self._running:
            each.cancel()
        with self._mutex:
            for connection in self._connections:
                connection.cancel_safe()

    def _begin(self, table: Table) -> None:
        entries = sorted(self._planned.result().get(table.identity, []), key=_quick)
        left = len(entries)

        def build(entry: Entry) -> None:
            nonlocal left
            self._safe_point()
            self._session().make(entry)
            with self._mutex:
                left -= 1
                last = not left
            if last:
                analyze(self._session().connection, [table])

        for entry in entries[1:]:
            self._submit(lambda entry=entry: build(entry))  # type: ignore[misc]
        if entries:
            build(entries[0])
        else:
            analyze(self._session().connection, [table])

    def _session(self) -> Builder:
        if not hasattr(self._own, "builder"):
            connection = connect(self._target)
            connection.execute("SET synchronous_commit = off")
            with self._mutex:
                self._sessions.callback(connection.close)
                self._connections.append(connection)
            self._own.builder = Builder(connection)
        builder: Builder = self._own.builder
        return builder


def _quick(entry: Entry) -> bool:
    """B-trees take the least time: they come last, so that no long build is left at the end."""
    return entry.type == "CONSTRAINT" or " USING btree " in entry.statements


def by_table(source: Connection, entries: Iterable[Entry]) -> dict[Identity, list[Entry]]:
    """The indexes and constraints among the entries, by the table that has them."""
    owners = {oid: (schema, name) for oid, schema, name in source.execute(_OWNERS)}
    found: dict[Identity, list[Entry]] = {}
    for entry in entries:
        if entry.type in ("INDEX", "CONSTRAINT") and entry.oid in owners:
            found.setdefault(owners[entry.oid], []).append(entry)
    return found


def analyze(connection: Connection, tables: Sequence[Table]) -> None:
    """Gather the tables' statistics."""
    try:
        for table in tables:
            connection.execute(sql.SQL("ANALYZE {}").format(table.identifier))
    except psycopg.Error as error:
        raise failures.working("Gathering statistics on the target", error) from error


def analyze_parents(connection: Connection) -> None:
    """Gather the statistics of partitioned tables, which their partitions' do not give."""
    parents = connection.execute(_PARENTS).fetchall()
    try:
        for parent in parents:
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*parent)))
    except psycopg.Error as error:
        raise failures.working("Gathering statistics on the target", error) from error


_OWNERS = """
SELECT i.indexrelid::int8, n.nspname, c.relname FROM pg_index i JOIN pg_class c
    ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'
UNION ALL
SELECT k.oid::int8, n.nspname, c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND k.contype IN ('p', 'u', 'x')
"""
_PARENTS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'p' AND pg_has_role(c.relowner, 'USAGE')
"""
