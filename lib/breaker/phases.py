"""A stay in one state, and the right to make one call during it."""

from collections import deque
from dataclasses import dataclass

from lib.breaker.events import CircuitState
from lib.breaker.windows import Window

FOREVER = float("inf")


@dataclass(slots=True, eq=False)
class Phase:
    """One stay in one state; entering a state again makes another phase.

    A call's outcome counts only in the phase that permitted it.
    """

    state: CircuitState
    window: Window
    admits_all: bool = False
    counts: bool = True
    """Whether outcomes are recorded and told at all."""
    free: int = 0
    """Permits that half-open still has."""
    until: float = FOREVER
    """When it ends by itself, by the breaker's clock."""
    reason: str = ""
    steady: bool = False
    """Whether a quick success would change nothing, so that it need not be recorded."""

    @property
    def phase(self) -> "Phase":
        """The phase itself: where everybody is admitted, it is the ticket too."""
        return self


class Trial:
    """One of the calls that half-open permits; given back when nobody holds it any more."""

    __slots__ = ("_abandoned", "phase", "settled")

    steady = False

    def __init__(self, phase: Phase, abandoned: deque[Phase]) -> None:
        self.phase = phase
        self.settled = False
        self._abandoned = abandoned

    def __del__(self) -> None:
        # Runs at any moment in any thread, so it may take no lock: the next caller takes it back.
        if not self.settled:
            self._abandoned.append(self.phase)
