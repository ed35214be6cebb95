"""Whether source and target hold the same: every row, not a sample."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from lib.postgres import digest, failures
from lib.postgres.catalog import Table
from lib.postgres.chunks import CHUNK_BYTES, Chunk, cut
from lib.postgres.database import Connection, Database, version
from lib.postgres.differences import RowDifference, narrow
from lib.postgres.digest import Digest
from lib.postgres.large_objects import digests as large_objects
from lib.postgres.selection import ALL, Selection, present, selected
from lib.postgres.sequences import positions
from lib.postgres.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How contents are compared; ``shown`` bounds the differences that are narrowed to rows.

    With ``additions``, tables that only the target has are no difference.
    """

    workers: int = 2
    chunk_bytes: int = CHUNK_BYTES
    selection: Selection = ALL
    shown: int = 20
    additions: bool = False


@dataclass(frozen=True, slots=True)
class TableComparison:
    """One table on both sides; None where it is missing."""

    table: str
    source: Digest | None
    target: Digest | None

    @property
    def equal(self) -> bool:
        """True when both sides hold the same rows."""
        return self.source is not None and self.source == self.target


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared and what differs; ``rows`` counts those of the source."""

    tables: tuple[TableComparison, ...]
    differences: tuple[RowDifference, ...]
    others: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """True when nothing differs."""
        return not self.others and all(table.equal for table in self.tables)

    @property
    def rows(self) -> int:
        """The number of rows of the source that were compared."""
        return sum(table.source.rows for table in self.tables if table.source)

    def describe(self) -> str:
        """The differences, a line each; empty when there is none."""
        lines = [_describe(table) for table in self.tables if not table.equal]
        return "\n".join([*lines, *(each.describe() for each in self.differences), *self.others])


def compare(
    source: Database, target: Database, options: CompareOptions = CompareOptions()
) -> Comparison:
    """Compare every row of every table, the sequences and the large objects.

    Each side is read under one snapshot, in chunks, by ``workers`` sessions.
    """
    with Snapshot(source) as old, Snapshot(target) as new:
        try:
            return _compare(old, new, options)
        except psycopg.Error as error:
            what = f"Comparing {source.url} with {target.url}"
            raise failures.working(what, error) from error


def _compare(old: Snapshot, new: Snapshot, options: CompareOptions) -> Comparison:
    mine = selected(old.connection, options.selection)
    theirs = present(new.connection, options.selection)
    if options.additions:
        known = {table.identity for table in mine}
        theirs = tuple(table for table in theirs if table.identity in known)
    sides = ((old, mine), (new, theirs))
    work = [
        (side, snapshot, table, chunk)
        for side, (snapshot, tables) in enumerate(sides)
        for table in tables
        for chunk in cut(table, version(snapshot.connection), options.chunk_bytes)
    ]
    work.sort(key=lambda each: -each[3].bytes)
    sums: dict[tuple[int, tuple[str, str]], Digest] = {}
    for side, table, part in _digests(work, options.workers):
        key = side, table.identity
        sums[key] = sums.get(key, Digest()) + part
    names = sorted({table.identity for table in (*mine, *theirs)})
    compared = tuple(
        TableComparison(".".join(name), sums.get((0, name)), sums.get((1, name))) for name in names
    )
    there = {table.identity: table for table in theirs}
    differences: list[RowDifference] = []
    for table, result in ((t, c) for t in mine for c in compared if c.table == t.title):
        if not result.equal and result.target and len(differences) < options.shown:
            left = options.shown - len(differences)
            differences += narrow(
                old.connection, new.connection, table, there[table.identity], left
            )
    others = (*_sequences(old.connection, new.connection, options), *_large(old, new))
    return Comparison(compared, tuple(differences), others)


def _digests(
    work: Sequence[tuple[int, Snapshot, Table, Chunk]], workers: int
) -> Iterator[tuple[int, Table, Digest]]:
    """The digest of each chunk; a thread keeps one session on each side."""
    own = threading.local()
    with ExitStack() as sessions:
        mutex = threading.Lock()

        def session(snapshot: Snapshot) -> Connection:
            known: dict[str, Connection] = own.__dict__.setdefault("known", {})
            if snapshot.name not in known:
                known[snapshot.name] = snapshot.reader()
                with mutex:
                    sessions.callback(known[snapshot.name].close)
            return known[snapshot.name]

        def one(each: tuple[int, Snapshot, Table, Chunk]) -> tuple[int, Table, Digest]:
            side, snapshot, table, chunk = each
            row: Any = (
                session(snapshot)
                .execute(digest.query(table, chunk.first, chunk.last, table.columns))
                .fetchone()
            )
            return side, table, Digest(row[0], int(row[1]))

        with ThreadPoolExecutor(workers, thread_name_prefix="compare") as pool:
            yield from pool.map(one, work)


def _sequences(old: Connection, new: Connection, options: CompareOptions) -> list[str]:
    wanted, there = positions(old, options.selection), positions(new)
    return [
        f"sequence {'.'.join(name)}: {position} on the source, {there.get(name)} on the target"
        for name, position in wanted.items()
        if there.get(name) != position
    ]


def _large(old: Snapshot, new: Snapshot) -> list[str]:
    wanted, there = large_objects(old.connection), large_objects(new.connection)
    return [
        f"large object {oid} differs on the target or is missing on one side"
        for oid in sorted(wanted.keys() | there.keys())
        if wanted.get(oid) != there.get(oid)
    ]


def _describe(table: TableComparison) -> str:
    if table.source is None:
        return f"{table.table}: not on the source"
    if table.target is None:
        return f"{table.table}: not on the target"
    counts = f"{table.source.rows:,} rows on the source, {table.target.rows:,} on the target"
    return f"{table.table}: {counts}, contents differ"
