"""A step's time limit: told at safe points, and by an alarm where code waits without one."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lib.engine.errors import DeadlineExceeded

GRACE_SECONDS = 2.0
"""What a step gets beyond its deadline to reach a safe point before it is cut off."""


def exceeded(seconds: float) -> DeadlineExceeded:
    """The failure of a step that went past its deadline."""
    return DeadlineExceeded(
        f"The step went past its deadline of {seconds:g} seconds.",
        expected="it ends, or reaches a safe point, in time",
        remedy="look at what it waited for, or raise its deadline mark, and run again",
    )


class Deadline:
    """A moment that a step must not pass; ``seconds`` is None where it may take its time."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; infinite where there is no limit."""
        return math.inf if self._end is None else self._end - time.monotonic()

    def check(self) -> None:
        """Raise ``DeadlineExceeded`` once it is past."""
        if self.seconds is not None and self.left < 0:
            raise exceeded(self.seconds)


@contextmanager
def enforced(*deadlines: Deadline) -> Iterator[None]:
    """Cut off a call that neither returns nor reaches a safe point before the first of these ends.

    Only the main thread can be interrupted (``signal.setitimer``); in any other one a deadline
    holds at safe points alone.
    """
    first = min(deadlines, key=lambda each: each.left)
    if math.isinf(first.left) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def cut(*_: object) -> None:
        raise exceeded(first.seconds or 0.0)

    before = signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, max(first.left + GRACE_SECONDS, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
