"""The rows of every table, copied under one snapshot, resumable after a kill at any moment."""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError
from lib.postgres import (
    bookkeeping,
    catalog,
    copied_tables,
    followable,
    replication,
    subscription,
    sync_record,
)
from lib.postgres.beam import Beam
from lib.postgres.beam_copy import BeamWorkers
from lib.postgres.bookkeeping import Copied, Moved
from lib.postgres.catalog import Table
from lib.postgres.chunks import CHUNK_BYTES, chunk_size, cut
from lib.postgres.comparison import CompareOptions, compare
from lib.postgres.database import Connection, Database, connect, version
from lib.postgres.errors import ForeignRows
from lib.postgres.online import Online
from lib.postgres.overlap import Finisher, analyze_parents
from lib.postgres.reconcile import adopt_unchanged
from lib.postgres.relay import Rate
from lib.postgres.schema import PostDataSchema
from lib.postgres.selection import ALL, Selection, selected
from lib.postgres.slot_snapshot import SlotSnapshot
from lib.postgres.snapshot import Snapshot
from lib.postgres.tally import Tally
from lib.postgres.workers import Workers
from lib.postgres.writes import read_only


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """How rows are copied.

    ``workers`` is the number of session pairs; ``chunk_bytes`` the most that one carries at a time;
    ``rate`` bounds bytes per second (0: unbounded);
    ``cores`` are the target's, where they are known;
    ``refresh`` brings a copy that is complete up to date with the source once more; with ``beam``
    the chunks are copied by a pipeline's workers, at most ``workers`` at a time.
    """

    workers: int = 2
    chunk_bytes: int = CHUNK_BYTES
    rate: int = 0
    cores: int | None = None
    selection: Selection = ALL
    refresh: bool = False
    beam: Beam | None = None


@dataclass(frozen=True, slots=True)
class CopyState:
    """How far the copy is: tables, chunks and rows that the bookkeeping counts.

    ``moved`` tells of each table what was copied, the largest first.
    """

    complete: bool
    tables: int
    chunks: int
    copied: int
    rows: int
    snapshot: str | None
    moved: tuple[Moved, ...] = ()


@dataclass(frozen=True, slots=True)
class CopyRows:
    """Copy the rows of every table that is not excluded; see docs/data-movement.md.

    With ``online`` the snapshot is that of a replication slot, which keeps what changes later.
    With ``post_data`` the indexes of a table are built as soon as its rows are in.
    """

    source: Database
    target: Database
    options: CopyOptions = CopyOptions()
    online: Online | None = None
    post_data: PostDataSchema | None = None

    @property
    def subject(self) -> str:
        """What is copied where."""
        return f"rows of {self.source.name} into {self.target.name}"

    def observe(self) -> CopyState | None:
        """What the target's bookkeeping says; None where nothing was copied yet."""
        with connect(self.target) as target:
            if not bookkeeping.exists(target):
                return None
            state, chunks = bookkeeping.copy(target), bookkeeping.chunks(target)
            kept = self._changes_are_kept(target, state)
            moved = bookkeeping.moved(target)
        done = [each for each in chunks if each.xid is not None]
        return CopyState(
            complete=bool(state and state.complete) and len(done) == len(chunks) and kept,
            tables=len({each.chunk.table for each in chunks}),
            chunks=len(chunks),
            copied=len(done),
            rows=sum(each.rows for each in done),
            snapshot=state.snapshot if state else None,
            moved=moved,
        )

    def plan(self, observed: CopyState | None) -> Change:
        """Tables, rows (the source's estimate) and bytes; NONE when the copy is complete.

        Rows that are there without bookkeeping (cleanup removes it) are compared with the
        source.  Raises ``Obstacle`` for tables that the target lacks or has otherwise,
        ``ForeignRows`` for a target table that holds other rows, ``BeamUnavailable`` for a
        pipeline that could not be started.
        """
        with connect(self.source) as source, connect(self.target) as target:
            tables = selected(source, self.options.selection)
            there = copied_tables.by_identity(target)
            copied: tuple[Copied, ...] = ()
            if observed is not None:
                bookkeeping.refuse_other(target, catalog.source_identity(source))
                copied = bookkeeping.chunks(target)
            known = {each.chunk.table for each in copied}
            new = [table for table in tables if table.identity not in known]
            if observed is not None and observed.complete and not new and not self.options.refresh:
                return Change(ChangeKind.NONE, self.subject, reason="the copy is complete")
            copied_tables.refuse_unlike(tables, there)
            try:
                copied_tables.refuse_filled(target, new)
            except ForeignRows:
                if observed is None and self._agrees():
                    reason = "source and target hold the same rows"
                    return Change(ChangeKind.NONE, self.subject, reason=reason)
                raise
        if self.options.beam is not None:
            self.options.beam.check(self.source, self.target, self.options.workers)
        quantities = {
            "tables": len(tables),
            "rows": sum(table.rows for table in tables),
            "bytes": sum(table.bytes for table in tables),
        }
        done = sum(each.xid is not None for each in copied)
        reason = f"{done} of {len(copied)} chunks are there" if copied else ""
        return Change(ChangeKind.COPY, self.subject, quantities=quantities, reason=reason)

    def apply(self, change: Change, journal: Journal) -> None:
        """Copy the missing chunks, and those of earlier snapshots that changed since."""
        del change
        self._restart()
        with self._snapshot(journal) as snapshot, connect(self.target) as target:
            tables = selected(snapshot.connection, self.options.selection)
            snapshot.lock(tables)
            self._prepare(snapshot, target, tables)
            if isinstance(snapshot, SlotSnapshot):
                copied_tables.refuse_unpublished(snapshot, snapshot.slot, tables)
                shape = followable.shape(tables)
                sync_record.begin(target, snapshot.slot, snapshot.name, snapshot.position, shape)
            there = copied_tables.by_identity(target)
            copied_tables.refuse_unlike(tables, there)
            bookkeeping.want(target, snapshot.name)
            with self._finisher(journal) as finisher:
                self._adopt(snapshot, target, tables, there)
                self._copy(snapshot, target, tables, journal, finisher)
            analyze_parents(target)
            bookkeeping.complete(target, snapshot.name)

    def again(self, names: Collection[tuple[str, str]], journal: Journal) -> None:
        """Bring these tables alone up to date with the source as it is now.

        By workers of this process: a pipeline would begin after the wait is over.
        """
        with Snapshot(self.source) as snapshot, connect(self.target) as target:
            every = selected(snapshot.connection, self.options.selection)
            tables = tuple(table for table in every if table.identity in names)
            snapshot.lock(tables)
            bookkeeping.create(target)
            bookkeeping.want(target, snapshot.name)
            self._adopt(snapshot, target, tables, copied_tables.by_identity(target))
            with Finisher(self.target, dict, 1, journal.safe_point) as finisher:
                here = replace(self, options=replace(self.options, beam=None))
                here._copy(snapshot, target, tables, journal, finisher)

    def verify(self) -> CopyState:
        """The bookkeeping is complete, and tables have the rows it counts until changes follow."""
        state = self.observe()
        if state is None and self._agrees():
            return CopyState(True, 0, 0, 0, 0, None)
        if state is None or not state.complete:
            raise VerificationError(
                f"The copy of the {self.subject} is not complete.",
                remedy="run the same command again; it goes on where it stopped",
            )
        with connect(self.target) as target:
            sync = sync_record.read(target)
            if sync is not None and sync.followed:
                return state
            for (schema, name), expected in bookkeeping.rows_copied(target).items():
                row = target.execute(
                    sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))
                ).fetchone()
                found = row[0] if row else 0
                if found != expected:
                    raise VerificationError(
                        f"The target's table {schema}.{name} has {found} rows.",
                        expected=f"{expected} rows, as were copied",
                        remedy="find who wrote to the target; then empty it and copy again",
                    )
        return state

    def _agrees(self) -> bool:
        """Whether every table of the source is on the target with the same rows."""
        options = CompareOptions(
            workers=self.options.workers,
            selection=self.options.selection,
            shown=0,
            additions=True,
        )
        return all(each.equal for each in compare(self.source, self.target, options).tables)

    def undo(self, change: Change, journal: Journal) -> None:
        """Empty the tables that were copied into, and forget the copy and its slot."""
        del change, journal
        if self.online is not None:
            with connect(self.source) as source:
                replication.drop_slot(source, self.online.name)
        with connect(self.target) as target:
            if bookkeeping.exists(target):
                _open_and_empty(target)

    # -- online --------------------------------------------------------------------------------

    def _changes_are_kept(self, target: Connection, state: bookkeeping.Copy | None) -> bool:
        """Whether all that changed since the copy is on the target or will come.

        True too offline, and once the target took over.
        """
        if self.online is None:
            return True
        sync = sync_record.read(target)
        if sync is not None and sync.seconds is not None:
            return True
        with connect(self.source) as source:
            if sync is None:
                return read_only(source)
            slot = replication.slot(source, sync.name)
        return slot is not None and not slot.lost and sync.snapshot == (state and state.snapshot)

    def _snapshot(self, journal: Journal) -> Snapshot:
        if self.online is None:
            return Snapshot(self.source)
        with connect(self.source) as source:
            tables = selected(source, self.options.selection)
            followed = followable.divide(source, tables).followed
            replication.publish(source, self.online.name, followed)
        return SlotSnapshot(self.source, self.online.name, journal)

    def _restart(self) -> None:
        """Empty the tables when changes were applied to them that lead nowhere any more."""
        if self.online is None:
            return
        with connect(self.target) as target:
            # One that a killed run left would read the new slot while rows are still on their way.
            subscription.drop(target, self.online.name)
            sync = sync_record.read(target)
            if sync is not None and sync.followed and sync.seconds is None:
                _open_and_empty(target)

    # -- the parts of apply --------------------------------------------------------------------

    def _prepare(self, snapshot: Snapshot, target: Connection, tables: tuple[Table, ...]) -> None:
        source = snapshot.connection
        bookkeeping.create(target)
        listed = hashlib.sha256(repr(sorted(t.identity for t in tables)).encode()).hexdigest()
        bookkeeping.begin(target, catalog.source_identity(source), listed)
        known = {each.chunk.table for each in bookkeeping.chunks(target)}
        new = [table for table in tables if table.identity not in known]
        copied_tables.refuse_filled(target, new)
        total = sum(table.bytes for table in tables)
        size = chunk_size(total, self.options.workers, self.options.chunk_bytes)
        planned = [chunk for t in new for chunk in cut(t, version(source), size)]
        bookkeeping.add(target, planned)

    def _adopt(
        self,
        snapshot: Snapshot,
        target: Connection,
        tables: tuple[Table, ...],
        there: copied_tables.Tables,
    ) -> None:
        by_table: dict[tuple[str, str], list[Copied]] = {}
        for each in bookkeeping.chunks(target):
            by_table.setdefault(each.chunk.table, []).append(each)
        pairs = [
            (table, there[table.identity], by_table[table.identity])
            for table in tables
            if any(each.xid is not None for each in by_table[table.identity])
        ]
        adopt_unchanged(snapshot, self.target, pairs, self.options.workers)

    def _finisher(self, journal: Journal) -> Finisher:
        builds = self.post_data.indexes if self.post_data else dict
        options = self.options
        return Finisher(self.target, builds, options.workers, journal.safe_point, options.cores)

    def _copy(
        self,
        snapshot: Snapshot,
        target: Connection,
        tables: tuple[Table, ...],
        journal: Journal,
        finisher: Finisher,
    ) -> None:
        by_identity = {table.identity: table for table in tables}
        missing = [
            each.chunk
            for each in bookkeeping.chunks(target)
            if each.snapshot != snapshot.name and each.chunk.table in by_identity
        ]
        tally = Tally(journal, by_identity, missing, finisher)
        beam = self.options.beam
        make: Callable[..., Workers | BeamWorkers] = partial(BeamWorkers, beam) if beam else Workers
        workers = make(
            snapshot,
            self.target,
            count=self.options.workers,
            rate=Rate(self.options.rate),
            copied=tally.add,
            safe_point=journal.safe_point,
        )
        workers.run([(by_identity[chunk.table], chunk) for chunk in missing])


def _open_and_empty(target: Connection) -> None:
    """Empty the tables; PUBLIC gets back its way in, which only the record remembers."""
    sync = sync_record.read(target)
    if sync is not None and sync.closed:
        subscription.open_again(target)
    copied_tables.empty(target)
