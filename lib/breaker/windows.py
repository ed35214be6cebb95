"""Sliding windows: how many of the last calls, or of the last seconds' calls, went wrong."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls in a window; a slow failure is counted in ``failed`` and in ``slow``."""

    calls: int = 0
    failed: int = 0
    slow: int = 0
    slow_failed: int = 0


class Window(Protocol):
    """Outcomes of calls, of which old ones are forgotten."""

    calls: int

    def record(self, failed: bool, slow: bool, now: float) -> int:
        """Add one outcome; return how many of the window's calls failed or were slow."""
        ...

    def record_success(self, now: float) -> int:
        """Add one quick success, as ``record(False, False, now)`` would."""
        ...

    def tally(self, now: float) -> Tally:
        """Count what the window holds."""
        ...

    @property
    def spotless(self) -> bool:
        """Say whether one more quick success would leave the window as it is."""
        ...


class CountWindow:
    """The last ``size`` calls, as one byte each in a ring."""

    __slots__ = ("_bad", "_counts", "_next", "_ring", "_size", "calls")

    def __init__(self, size: int) -> None:
        self._size = size
        self._ring = bytearray(size)  # bit 0: failed, bit 1: slow
        self._counts = [0, 0, 0, 0]  # of the outcomes that are bad
        self._bad = 0
        self.calls = 0
        self._next = 0

    def record(self, failed: bool, slow: bool, now: float) -> int:
        """Add one outcome in the place of the oldest; return the count of bad ones."""
        at = self._next
        self.record_success(now)
        outcome = failed | slow << 1
        if outcome:
            self._ring[at] = outcome
            self._counts[outcome] += 1
            self._bad += 1
        return self._bad

    def record_success(self, now: float) -> int:  # noqa: ARG002
        """Add one quick success in the place of the oldest outcome; return the bad ones."""
        at, size = self._next, self._size
        self._next = at + 1 if at + 1 < size else 0
        if self.calls < size:
            self.calls += 1
        elif replaced := self._ring[at]:
            self._ring[at] = 0
            self._counts[replaced] -= 1
            self._bad -= 1
        return self._bad

    def tally(self, now: float) -> Tally:  # noqa: ARG002
        """Count the calls that the ring holds."""
        _, failed, slow, both = self._counts
        return Tally(self.calls, failed + both, slow + both, both)

    @property
    def spotless(self) -> bool:
        """Say whether the ring is full of quick successes."""
        return not self._bad and self.calls == self._size


class TimeWindow:
    """The calls of the last ``size`` seconds, one bucket of counts a second."""

    __slots__ = ("_bad", "_bucket", "_buckets", "_next", "_second", "_total", "calls")

    spotless = False  # every call counts, so none can be left out

    def __init__(self, size: int, now: float) -> None:
        self._buckets = [[0, 0, 0, 0] for _ in range(size)]
        self._total = [0, 0, 0, 0]  # of the outcomes that are bad
        self._bad = 0
        self.calls = 0
        self._turn_to(int(now // 1))

    def record(self, failed: bool, slow: bool, now: float) -> int:
        """Add one outcome to the bucket of its second; return the count of bad ones."""
        outcome = failed | slow << 1
        if not outcome:
            return self.record_success(now)
        if now >= self._next:
            self._forget(now)
        self._bucket[outcome] += 1
        self._total[outcome] += 1
        self._bad += 1
        self.calls += 1
        return self._bad

    def record_success(self, now: float) -> int:
        """Add one quick success to the bucket of its second; return the count of bad ones."""
        if now >= self._next:
            self._forget(now)
        self._bucket[0] += 1
        self.calls += 1
        return self._bad

    def tally(self, now: float) -> Tally:
        """Count the calls whose second is still within the window."""
        self._forget(now)
        _, failed, slow, both = self._total
        return Tally(self.calls, failed + both, slow + both, both)

    def _forget(self, now: float) -> None:
        second = int(now // 1)
        for passed in range(min(second - self._second, len(self._buckets))):
            bucket = self._buckets[(second - passed) % len(self._buckets)]
            self.calls -= sum(bucket)
            self._bad -= sum(bucket[1:])
            for outcome in (1, 2, 3):
                self._total[outcome] -= bucket[outcome]
            bucket[:] = (0, 0, 0, 0)
        self._turn_to(max(second, self._second))

    def _turn_to(self, second: int) -> None:
        self._second = second
        self._next = second + 1
        self._bucket = self._buckets[second % len(self._buckets)]
