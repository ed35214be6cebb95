"""How far the target is behind its source, and waiting until it is not."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lib.engine.actions import Journal
from lib.postgres import replication, subscription
from lib.postgres.database import Connection
from lib.postgres.errors import ApplyFailed

LOOK = 0.05
_STUCK_ERRORS = 3
_STUCK_SECONDS = 60.0
_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Lag:
    """Bytes of the source's log that the target has not applied, and the age of the oldest."""

    bytes: int
    seconds: float

    def describe(self) -> str:
        """Both, for people."""
        return f"{self.bytes / 1e6:,.1f} MB and {self.seconds:,.1f} s behind"


class LagMeter:
    """Measures a slot again and again.

    The age is that of the newest position of the source that the target has applied, among those
    that this meter saw: measured by one clock, and asking nothing that needs a monitor's rights.
    """

    def __init__(self, source: Connection, name: str) -> None:
        self._source = source
        self._name = name
        self._seen: deque[tuple[float, int]] = deque(maxlen=_KEPT)

    def measure(self) -> Lag:
        """The lag now; raises ``SlotLost``."""
        now = time.monotonic()
        place = replication.position(self._source)
        self._seen.append((now, place))
        slot = replication.require_slot(self._source, self._name)
        while len(self._seen) > 1 and self._seen[1][1] <= slot.confirmed:
            self._seen.popleft()
        behind = max(0, place - slot.confirmed)
        return Lag(behind, now - self._seen[0][0] if behind else 0.0)


class Follower:
    """Waits for the target to reach a position; sessions are its caller's."""

    def __init__(self, source: Connection, target: Connection, name: str) -> None:
        self._source = source
        self._target = target
        self._name = name
        self._meter = LagMeter(source, name)

    def reach(
        self,
        position: int,
        journal: Journal,
        *,
        pause: float = LOOK,
        flush: Callable[[], None] | None = None,
    ) -> Lag:
        """Return when everything before ``position`` is applied and safe on the target's disk.

        ``flush`` makes the target write its log out.  Raises ``SlotLost`` and ``ApplyFailed``.
        """
        first: int | None = None
        watch = _Watch(self._target, self._name)
        while True:
            replication.beat(self._source)
            if flush is not None:
                flush()
            slot = replication.require_slot(self._source, self._name)
            lag = self._meter.measure()
            first = slot.confirmed if first is None else first
            done, total = max(0, slot.confirmed - first), max(0, position - first)
            journal.progress(f"changes: {lag.describe()}", min(done, total), total, "bytes")
            if slot.confirmed >= position:
                return lag
            watch.look(slot.confirmed)
            journal.safe_point()
            time.sleep(pause)


class _Watch:
    """Tells a target that is slow from one that can't go on."""

    def __init__(self, target: Connection, name: str) -> None:
        self._target = target
        self._name = name
        self._errors: int | None = None
        self._position = -1
        self._moved_at = time.monotonic()

    def look(self, position: int) -> None:
        found = subscription.read(self._target, self._name)
        if found is None or not found.enabled:
            raise ApplyFailed(
                f"Subscription {self._name} of the target is "
                + ("disabled." if found else "not there."),
                expected="a subscription that applies the source's changes",
                remedy="run the same command again",
            )
        if position > self._position or self._errors is None:
            self._position, self._errors = position, found.errors
            self._moved_at = time.monotonic()
        still = time.monotonic() - self._moved_at
        if found.errors - self._errors >= _STUCK_ERRORS or (
            not found.working and still > _STUCK_SECONDS
        ):
            raise ApplyFailed(
                f"The target can't apply a change of the source, or can't reach it (subscription"
                f" {self._name}: {found.errors} errors, no progress for {still:.0f} s).",
                expected="rows on the target that only this move has written, and a source that"
                " the target's server reaches",
                remedy="read the reason in the target server's log, mend it, and run the same"
                " command again; the source keeps the changes meanwhile",
            )
