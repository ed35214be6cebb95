"""Indexes and statistics of a table, made as soon as its rows are in, while others still copy."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from types import TracebackType

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.catalog import Table
from lib.postgres.database import Connection, Database, connect
from lib.postgres.keys import Build
from lib.postgres.restore import Builder

Identity = tuple[str, str]


class Finisher:
    """Finishes tables whose rows are in: builds their indexes, then gathers statistics.

    ``builds`` gives, when first needed, the indexes and constraints of each table; ``jobs`` are
    built at a time.  Where the target's ``cores`` are known, a build gets helpers of its own
    (PostgreSQL's parallel workers) only for cores that neither a copy nor another build wants.
    A failure is raised when the context ends, or when ``finish`` is next called.
    """

    def __init__(
        self,
        target: Database,
        builds: Callable[[], dict[Identity, list[Build]]],
        jobs: int,
        safe_point: Callable[[], None],
        cores: int | None = None,
    ) -> None:
        self._target = target
        self._safe_point = safe_point
        self._cores = cores
        self._copying = jobs
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="finish")
        self._sessions = ExitStack()
        self._own = threading.local()
        self._connections: list[Connection] = []
        self._running: list[Future[None]] = []
        self._mutex = threading.Lock()
        self._planned = self._pool.submit(builds)

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

    def rows_are_in(self) -> None:
        """No table copies any more: builds may have the cores that copies had."""
        self._copying = 0

    # -- inside --------------------------------------------------------------------------------

    def _submit(self, work: Callable[[], None]) -> None:
        with self._mutex:
            self._running.append(self._pool.submit(work))

    def _wait(self) -> None:
        self._copying = 0
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
        builds = sorted(self._planned.result().get(table.identity, []), key=_quick)
        left = len(builds)

        def make(build: Build) -> None:
            nonlocal left
            self._safe_point()
            session = self._session()
            self._take_cores(session.connection)
            session.make(build.entry)
            with self._mutex:
                left -= 1
                last = not left
            if last:
                self._end(table, builds)

        for each in builds[1:]:
            self._submit(partial(make, each))
        if builds:
            make(builds[0])
        else:
            self._end(table, builds)

    def _end(self, table: Table, builds: Sequence[Build]) -> None:
        session = self._session()
        for each in builds:
            if each.key:
                session.make(each.key)
        analyze(session.connection, [table])

    def _take_cores(self, connection: Connection) -> None:
        if self._cores is None:
            return
        with self._mutex:
            wanted = self._copying + sum(not each.done() for each in self._running)
        connection.execute(_HELPERS, [max(0, self._cores - wanted)])

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


def _quick(build: Build) -> bool:
    """B-trees take the least time: they come last, so that no long build is left at the end."""
    return " USING btree " in build.entry.statements


def by_table(source: Connection, builds: Iterable[Build]) -> dict[Identity, list[Build]]:
    """What has to be built, by the table that has it."""
    owners = {oid: (schema, name) for oid, schema, name in source.execute(_OWNERS)}
    found: dict[Identity, list[Build]] = {}
    for build in builds:
        if build.entry.oid in owners:
            found.setdefault(owners[build.entry.oid], []).append(build)
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


_HELPERS = """
SELECT set_config(name, least(reset_val::int, %s)::text, false) FROM pg_settings
 WHERE name = 'max_parallel_maintenance_workers'
"""
_OWNERS = """
SELECT i.indexrelid::int8, n.nspname, c.relname FROM pg_index i JOIN pg_class c
    ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'
UNION ALL
SELECT k.oid::int8, n.nspname, c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND k.contype IN ('p', 'u', 'x')
"""
# Partitions that are foreign tables would be asked for on their own server.
_PARENTS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'p' AND pg_has_role(c.relowner, 'USAGE') AND NOT EXISTS (
       SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid
        WHERE l.relkind = 'f')
"""
