"""The move of keys while the source is in use: synchronised first, cut over later.

Nothing runs between the two.  The cutover begins by bringing what changed since, with writes
still going, so the time without them does not depend on how long ago the copy was.
"""

import time
from dataclasses import replace

from lib.cache import before as past
from lib.cache import closing, standing
from lib.cache.comparison import Comparison, compare, require_equal
from lib.cache.copy import CopyKeys, KeyCounts
from lib.cache.errors import CacheError
from lib.cache.follow import Follower
from lib.cache.keyspace import key_counts
from lib.cache.notifications import Lag, Notifications
from lib.cache.standing import Standing
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError


class SyncKeys:
    """Makes the target hold the keys of a source that is in use, about as they are now.

    Copies as ``copy`` does, notes what changes meanwhile and brings it over, until the target is
    a second behind.  Applied again it brings what changed since.  Deleted keys go, but those that
    only the target held before stay.  Raises ``CacheError`` kinds.
    """

    def __init__(self, copy: CopyKeys) -> None:
        self._copy = copy
        self.source, self.target = copy.source, copy.target
        self.lag: Lag | None = None

    @property
    def subject(self) -> str:
        """``Redis keys in use from host:port to host:port``."""
        return f"Redis keys in use from {self.source.address} to {self.target.address}"

    def observe(self) -> KeyCounts:
        """Count the keys on both sides."""
        return self._copy.observe()

    def plan(self, observed: KeyCounts | None) -> Change:
        """A copy; none after the cutover, or where nothing changed since."""
        counts = observed or self.observe()
        begun = standing.read(self.target)
        if begun is not None and begun.cut_over:
            return Change(ChangeKind.NONE, self.subject, reason="it was cut over")
        if begun is None or not begun.copied:
            return self._begins(counts, begun)
        differ = compare(self.source, self.target, stop_at_first=True, ignore=begun.ignores)
        if differ.equal:
            return Change(ChangeKind.NONE, self.subject, reason="nothing changed since")
        quantities = {"keys": sum(counts.source.values())}
        reason = "brings what changed since"
        return Change(ChangeKind.COPY, self.subject, reason=reason, quantities=quantities)

    def apply(self, change: Change, journal: Journal) -> None:
        """Copy what isn't there yet, then follow until the target is a second behind."""
        begun = standing.read(self.target)
        fresh = begun is None
        with Notifications(self.source, journal) as notifications:
            if begun is None:
                shared = past.Before.of(change).shared
                begun = standing.begin(self.source, self.target, shared, self._copy.existing)
            if not begun.copied:
                self._copying().bring(change, journal)
                begun = replace(begun, copied=True).keep(self.target)
            past.unmark(self.target, key_counts(self.target))
            follower = Follower(self.source, self.target, begun, notifications, journal)
            if not fresh:
                follower.sweep()
            self.lag = follower.catch_up()

    def verify(self) -> Comparison:
        """Compare every key; what changed since differs, and only the cutover can forbid that.

        Raises ``VerificationError`` where the copy wasn't finished.
        """
        begun = standing.read(self.target)
        if begun is None or not begun.copied:
            raise VerificationError(
                f"The keys of {self.source.address} are not all on {self.target.address}.",
                remedy="run again",
            )
        return compare(self.source, self.target, ignore=begun.ignores)

    def undo(self, change: Change, journal: Journal) -> None:
        """Delete the keys that were brought; what the target held before stays."""
        begun = standing.read(self.target)
        if begun is not None and begun.cut_over:
            raise CannotUndo(
                f"{self.target.address} was cut over, so it may hold newer values than the source.",
                remedy="undo the cutover first",
            )
        if begun is None or not change.fields:
            return
        before = past.Before.of(change).also(begun.protected)
        try:
            self._copy.undo(replace(change, fields=before.fields()), journal)
        finally:
            standing.remove(self.target)

    # -- inside ----------------------------------------------------------------------------------

    def _begins(self, counts: KeyCounts, begun: Standing | None) -> Change:
        """The copy's own plan, but never none: what changes while it runs must follow."""
        change = self._copy.plan(counts)
        if change.kind is ChangeKind.COPY or begun is not None:
            fields = change.fields or past.Before({}).fields()
        else:
            fields = past.find(self.source, self.target, counts.target, "overwrite").fields()
        return Change(
            ChangeKind.COPY,
            self.subject,
            fields=fields,
            reason="; ".join(each for each in (change.reason, "then follows changes") if each),
            quantities=change.quantities or {"keys": sum(counts.source.values())},
        )

    def _copying(self) -> CopyKeys:
        """A copy that lets be what an earlier attempt left: a sweep brings that up to date.

        What may not be overwritten was refused in the plan, or is protected.
        """
        existing = self._copy.existing
        return self._copy.using("overwrite" if existing == "overwrite" else "skip")


class CutOverKeys:
    """Makes the target the one that holds the last value of every key, and closes the source.

    The source, where it lets us, refuses writes from then on.  If anything fails before every key
    was compared, it takes writes again as before.  Raises ``CacheError`` kinds, and
    ``VerificationError`` where writes go on.
    """

    def __init__(self, copy: CopyKeys) -> None:
        self.source, self.target = copy.source, copy.target

    @property
    def subject(self) -> str:
        """``cutover of Redis keys from host:port to host:port``."""
        return f"cutover of Redis keys from {self.source.address} to {self.target.address}"

    def observe(self) -> Standing | None:
        """How far the move came."""
        return standing.read(self.target)

    def plan(self, observed: Standing | None) -> Change:
        """An update that can't be taken back once the target is written to."""
        begun = observed or self.observe()
        if begun is not None and begun.cut_over:
            return Change(ChangeKind.NONE, self.subject, reason="it was cut over")
        return Change(
            ChangeKind.UPDATE,
            self.subject,
            fields=(FieldChange("writes", self.source.address, self.target.address),),
            reason="stops writes to the source",
            irreversible=True,
        )

    def apply(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Catch up, close the source, bring the last change, compare every key."""
        begun = standing.read(self.target)
        if begun is None or not begun.copied:
            raise CacheError(
                f"The keys of {self.source.address} were not synchronised before the cutover.",
                expected="a finished synchronisation of the same two servers",
                remedy="run the step that synchronises them, then this one again",
            )
        try:
            with Notifications(self.source, journal) as notifications:
                follower = Follower(self.source, self.target, begun, notifications, journal)
                follower.sweep()
                follower.catch_up()
                began = time.monotonic()
                closed = closing.close(self.source, journal)
                follower.finish()
                seconds = time.monotonic() - began if closed else None
        except BaseException:
            closing.reopen(self.source, closing.settings_before(journal))
            closing.forget(journal)
            raise
        before = closing.settings_before(journal)
        replace(begun, cut_over=True, seconds_without_writes=seconds, closed=before).keep(
            self.target
        )

    def verify(self) -> Standing:
        """Compare every key in both directions."""
        begun = standing.read(self.target)
        if begun is None or not begun.cut_over:
            raise VerificationError(
                f"{self.target.address} was not cut over.", remedy="run the cutover again"
            )
        require_equal(compare(self.source, self.target, ignore=begun.ignores))
        return begun

    def undo(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Let the source take writes again, as it did before; the target stays synchronised."""
        begun = standing.read(self.target)
        found = compare(self.source, self.target, ignore=(begun or Standing()).ignores)
        before = closing.settings_before(journal) or (begun.closed if begun else {})
        closing.reopen(self.source, before)
        if begun is None or not begun.cut_over:
            return
        replace(begun, cut_over=False, seconds_without_writes=None, closed={}).keep(self.target)
        if before and not found.equal:
            raise CannotUndo(
                f"{self.target.address} was written to since the cutover: {found.describe()}. "
                f"{self.source.address} takes writes again, without those changes.",
                remedy="bring them back by hand; the next synchronisation undoes them",
            )
