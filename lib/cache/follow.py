"""Keeps the target as the source is: changed keys are brought over as they are now.

No change is replayed.  A key that changed, whatever happened to it, is read anew and written, or
deleted where the source no longer has it; so order, repetition and what came in between do not
matter, and a sweep that compares everything finds whatever no notification told of.
"""

import time
from collections.abc import Iterable

from lib.cache.comparison import Difference, differences
from lib.cache.keyspace import Expiry, Slice, key_counts, sizes
from lib.cache.notifications import Lag, Notifications
from lib.cache.server import Link, Server
from lib.cache.standing import Standing
from lib.cache.transfer import Mover
from lib.engine.actions import Journal
from lib.errors import VerificationError

CAUGHT_UP_SECONDS = 1.0
_BATCH = 1_000
_MOST_SWEEPS = 5
_CLOCK_MS = 1_000
"""How far apart two readings of one expiry may be where servers know only the time left."""


class Follower:
    """Brings changes of the source to the target, in the thread that calls it.

    Keys that ``standing`` spares are neither written nor deleted.  Raises ``CacheError`` kinds.
    """

    def __init__(
        self,
        source: Server,
        target: Server,
        standing: Standing,
        notifications: Notifications,
        journal: Journal,
    ) -> None:
        self._source, self._target = source, target
        self._standing = standing
        self._notifications = notifications
        self._journal = journal
        self._swept = 0.0

    def lag(self) -> Lag:
        """How far the target is behind; without notifications, since the last sweep began."""
        lag = self._notifications.lag()
        if self._notifications.complete:
            return lag
        return Lag(lag.keys, time.monotonic() - self._swept)

    def sweep(self) -> int:
        """Compare every key in both directions; let those that differ wait; give their number."""
        self._swept = time.monotonic()
        found = 0
        for each in self._differences():
            self._notifications.add(each.database, each.key)
            found += 1
        return found

    def catch_up(self) -> Lag:
        """Follow until the target is at most a second behind, and give how far it then is.

        Without notifications: sweep until another sweep finds no fewer keys.
        """
        if not self._notifications.complete:
            return self._sweep_up()
        while True:
            if self._notifications.gap():
                self.sweep()
            self._bring()
            lag = self._told()
            if lag.seconds <= CAUGHT_UP_SECONDS:
                return lag

    def finish(self) -> None:
        """Bring the last change of a source that changes no more.

        Raises ``VerificationError`` where it still changes.
        """
        self._notifications.settle()
        self._bring_all()
        for _ in range(_MOST_SWEEPS):
            if not self.sweep():
                return
            self._bring_all()
        raise VerificationError(
            f"The Redis server at {self._source.address} still changes.",
            expected="no writes to the source while it is cut over",
            remedy="stop what writes to it, then run again",
        )

    # -- inside ----------------------------------------------------------------------------------

    def _differences(self) -> Iterable[Difference]:
        databases = key_counts(self._source).keys() | key_counts(self._target).keys()
        with Link(self._source) as here, Link(self._target) as there:
            exact = Expiry(here).absolute and Expiry(there).absolute
        for each in differences(
            self._source, self._target, databases, expiry_tolerance_ms=0 if exact else _CLOCK_MS
        ):
            if not self._standing.ignores(each):
                yield each

    def _sweep_up(self) -> Lag:
        before: int | None = None
        while True:
            found = self.sweep()
            self._bring_all()
            if not found or (before is not None and found >= before):
                return self._told()
            before = found

    def _told(self) -> Lag:
        lag = self.lag()
        self._journal.progress("keys behind", lag.keys, None, "keys")
        self._journal.progress("behind", lag.seconds, None, "seconds")
        self._journal.safe_point()
        return lag

    def _bring_all(self) -> None:
        """Bring every key that waits now; what changes meanwhile may go on for ever."""
        left = self._notifications.lag().keys
        while left > 0:
            left -= self._bring()
            self._told()

    def _bring(self) -> int:
        """Bring the keys that wait longest; give how many there were."""
        brought = 0
        for number, keys in self._notifications.take(_BATCH).items():
            self._bring_keys(number, keys)
            brought += len(keys)
        return brought

    def _bring_keys(self, number: int, keys: list[bytes]) -> None:
        with Link(self._source, number) as here, Link(self._target, number) as there:
            known = {
                key: length
                for key, length in zip(keys, sizes(here, keys), strict=True)
                if not self._standing.spares(number, key, on_source=length > 0)
            }
            for answer in there.batch(("UNLINK", key) for key, size in known.items() if not size):
                there.checked(answer)
        with Mover(self._source, self._target, number, "overwrite") as mover:
            list(mover.moved([Slice(list(known), list(known.values()), None)]))
