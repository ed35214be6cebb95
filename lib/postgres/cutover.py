"""The cutover: writes stop, the last change arrives, everything is compared, the target opens."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError
from lib.postgres import followable, replication, subscription, sync_record
from lib.postgres.catalog import Table
from lib.postgres.comparison import CompareOptions, compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Connection, Database, connect
from lib.postgres.following import Followed, refuse_changed, require_sync, taken_over
from lib.postgres.lag import Follower
from lib.postgres.large_objects import LargeObjects
from lib.postgres.online import Online
from lib.postgres.selection import selected
from lib.postgres.sequences import Sequences
from lib.postgres.views import MaterialisedViews
from lib.postgres.writes import StoppedWrites, allow


@dataclass(frozen=True, slots=True)
class CutoverState:
    """The target took over; ``seconds`` without writes, None when that is no longer known."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Cutover:
    """The target has every committed row of the source and takes the writes from now on.

    A failure before the target opens gives the source its writers back; a kill does as well, but
    for the moments in which the source is read-only already: the next run goes on from there, and
    ``undo`` takes that back too.
    """

    source: Database
    target: Database
    online: Online
    copy: CopyOptions = field(default_factory=CopyOptions)

    @property
    def subject(self) -> str:
        """The two databases."""
        return f"cutover from {self.source.name} to {self.target.name}"

    def observe(self) -> CutoverState | None:
        """The time without writes when the target took over; None before."""
        with connect(self.source) as source, connect(self.target) as target:
            if not taken_over(source, target):
                return None
            sync = sync_record.read(target)
        return CutoverState(sync.seconds if sync else None)

    def plan(self, observed: CutoverState | None) -> Change:
        """UPDATE, irreversible; raises ``SlotLost`` and ``SchemaChanged``."""
        if observed is not None:
            left = leftovers(self.source, self.target, self.online.name)
            kind = ChangeKind.UPDATE if left else ChangeKind.NONE
            reason = "; ".join(["the target has taken over", *(f"{each} goes" for each in left)])
            return Change(kind, self.subject, reason=reason)
        with connect(self.source) as source, connect(self.target) as target:
            sync = require_sync(target)
            replication.require_slot(source, sync.name)
            refuse_changed(source, sync, self.copy.selection)
            division = followable.divide(source, self._tables(source))
        reasons = ("the source becomes read-only", division.describe())
        reason = "; ".join(each for each in reasons if each)
        return Change(ChangeKind.UPDATE, self.subject, reason=reason, irreversible=True)

    def apply(self, change: Change, journal: Journal) -> None:
        """Cut over; the longest part, catching up, comes before writes stop."""
        if self.observe() is None:
            Followed(self.source, self.target, self.online, self.copy.selection).apply(
                change, journal
            )
            self._cut_over(journal)
        with connect(self.source) as source:
            replication.drop_slot(source, self.online.name)
            # Views are as old as their last refresh everywhere: users need not wait for this one.
            MaterialisedViews(self.source, self.target, self.copy.selection).apply(change, journal)
            replication.unpublish(source, self.online.name)

    def verify(self) -> CutoverState:
        """The target took over, and nothing of the replication is left."""
        state = self.observe()
        left = leftovers(self.source, self.target, self.online.name)
        if state is None or left:
            raise VerificationError(
                f"The {self.subject} is not complete."
                + (f" There still is {', '.join(left)}." if left else ""),
                remedy="run the same command again",
            )
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Let the source be written again, if the target has no rows that it lacks."""
        del change, journal
        with connect(self.source) as source, connect(self.target) as target:
            over = taken_over(source, target)
        if over and (told := self._differences()):
            raise CannotUndo(
                "The target was written after it took over; going back would lose that:\n" + told,
                remedy=f"bring these rows to {self.source.url} by hand, then, there, SET"
                " default_transaction_read_only = off and ALTER DATABASE ... RESET"
                " default_transaction_read_only",
            )
        allow(self.source)

    # -- the parts of apply --------------------------------------------------------------------

    def _tables(self, source: Connection) -> tuple[Table, ...]:
        return selected(source, self.copy.selection)

    def _cut_over(self, journal: Journal) -> None:
        with connect(self.source) as source, connect(self.target) as target:
            tables = self._tables(source)
            with StoppedWrites(self.source, tables) as stopped:
                _note_stop(target, stopped)
                self._bring_over(source, target, tables, journal)
                self._compare()
                stopped.keep()
                try:
                    self._open(target, stopped)
                except BaseException:
                    # A commit may have succeeded though its answer was lost: never two masters.
                    if self.observe() is None:
                        stopped.give_back()
                    raise

    def _bring_over(
        self,
        source: Connection,
        target: Connection,
        tables: tuple[Table, ...],
        journal: Journal,
    ) -> None:
        """What the source holds now that nobody writes, brought to the target."""
        sync = require_sync(target)
        end = replication.position(source)
        Follower(source, target, self.online.name).reach(
            end, journal, flush=lambda: sync_record.flush(target)
        )
        refuse_changed(source, sync, self.copy.selection)
        again = followable.divide(source, tables).again
        rows = CopyRows(self.source, self.target, replace(self.copy, refresh=True))
        if again:
            rows.again({table.identity for table in again}, journal)
        for action in (
            Sequences(self.source, self.target, self.copy.selection),
            LargeObjects(self.source, self.target, exact=True),
        ):
            planned: Any = action
            step = planned.plan(planned.observe())
            if step.kind is not ChangeKind.NONE:
                planned.apply(step, journal)

    def _compare(self) -> None:
        if told := self._differences():
            raise VerificationError(
                f"{self.source.url} and {self.target.url} do not hold the same:\n{told}",
                expected="equal rows, sequences and large objects; writes on the source go on",
                remedy="find who wrote to the target; then take the move back with --rollback and"
                " start it anew",
            )

    def _differences(self) -> str:
        options = CompareOptions(
            workers=self.copy.workers,
            selection=self.copy.selection,
            additions=True,
        )
        return compare(self.source, self.target, options).describe()

    def _open(self, target: Connection, stopped: StoppedWrites) -> None:
        sync = require_sync(target)
        with target.transaction():
            subscription.drop(target, self.online.name)
            if sync.closed:
                subscription.open_again(target)
            sync_record.opened(target, time.monotonic() - stopped.began)


def _note_stop(target: Connection, stopped: StoppedWrites) -> None:
    """Keep the first stop of a source that a killed run left read-only."""
    if not stopped.resumed:
        sync_record.note(target, stopped_at=None)
    sync_record.stopped(target)


def leftovers(source: Database, target: Database, name: str) -> list[str]:
    """What an online move made and has not yet removed, as people name it."""
    with connect(source) as old, connect(target) as new:
        found = [
            (replication.slot(old, name), "slot", source),
            (replication.published(old, name), "publication", source),
            (subscription.read(new, name), "subscription", target),
        ]
    return [f"{kind} {name} on {where.url}" for there, kind, where in found if there is not None]
