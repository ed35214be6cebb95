"""What a circuit breaker is told: thresholds, windows, waits, and which exceptions count."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from lib.breaker.errors import CircuitConfigError

ExceptionRule: TypeAlias = type[BaseException] | Callable[[BaseException], bool]
"""An exception type (subclasses included), or a predicate over the exception."""


class SlidingWindowType(Enum):
    """What a sliding window is measured in: the last calls, or the last seconds."""

    COUNT_BASED = "count-based"
    TIME_BASED = "time-based"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerConfig:
    """Parameters of a circuit breaker, named as resilience4j names them.

    Rates are percentages in (0, 100], durations seconds.  A wrong value raises
    ``CircuitConfigError``.  The defaults are resilience4j's, except that half-open ends after
    60 s, so that a caller that hangs cannot keep it there.
    """

    failure_rate_threshold: float = 50.0
    """Open when at least this share of the window's calls failed."""
    slow_call_rate_threshold: float = 100.0
    """Open when at least this share of the window's calls was slow."""
    slow_call_duration_threshold: float = 60.0
    """A call that took longer is slow, whether it failed or not."""
    sliding_window_type: SlidingWindowType = SlidingWindowType.COUNT_BASED
    sliding_window_size: int = 100
    """Calls of a count-based window, seconds of a time-based one."""
    minimum_number_of_calls: int = 100
    """No rate is computed from fewer calls; a count-based window caps it at its own size."""
    wait_duration_in_open_state: float = 60.0
    wait_duration_multiplier: float = 1.0
    """Each opening that follows without a closed state between waits this much longer."""
    wait_duration_jitter: float = 0.0
    """Share of the wait, in [0, 1), that is added or taken off at random."""
    max_wait_duration_in_open_state: float | None = None
    """No wait is longer, whatever multiplier and jitter say."""
    permitted_number_of_calls_in_half_open_state: int = 10
    max_wait_duration_in_half_open_state: float = 60.0
    """Half-open for longer than this goes back to open; 0 never does."""
    automatic_transition_from_open_to_half_open_enabled: bool = False
    """Go half-open when the wait is over, not with the first call after it."""
    record_exceptions: tuple[ExceptionRule, ...] = (Exception,)
    """What counts as a failure; any other exception counts as a success."""
    ignore_exceptions: tuple[ExceptionRule, ...] = ()
    """What counts as neither, and wins over ``record_exceptions``."""
    record_result: Callable[[Any], bool] | None = None
    """A returned value for which this is true counts as a failure."""
    remembered_failures: int = 3
    """How many of the last failures a ``CircuitOpenError`` carries as its cause."""

    def __post_init__(self) -> None:
        for name in ("failure_rate_threshold", "slow_call_rate_threshold"):
            self._require(name, 0 < getattr(self, name) <= 100, "a percentage in (0, 100]")
        for name in ("sliding_window_size", "minimum_number_of_calls"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        name = "permitted_number_of_calls_in_half_open_state"
        self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("slow_call_duration_threshold", "wait_duration_in_open_state"):
            self._require(name, getattr(self, name) > 0, "seconds, more than 0")
        name = "max_wait_duration_in_half_open_state"
        self._require(name, getattr(self, name) >= 0, "seconds, or 0 for no limit")
        self._require("wait_duration_multiplier", self.wait_duration_multiplier >= 1, "at least 1")
        self._require("wait_duration_jitter", 0 <= self.wait_duration_jitter < 1, "in [0, 1)")
        longest = self.max_wait_duration_in_open_state
        name = "max_wait_duration_in_open_state"
        self._require(name, longest is None or longest > 0, "seconds, more than 0, or None")
        self._require("remembered_failures", self.remembered_failures >= 0, "0 or more")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise CircuitConfigError(
                f"Circuit breaker setting {name} is {getattr(self, name)!r}.",
                expected=expected,
                remedy=f"give {name} such a value",
            )

    def counts_as_failure(self, error: BaseException) -> bool | None:
        """Say whether an exception is a failure, a success (False), or neither (None).

        What is no ``Exception`` (cancellation, interrupt, exit) is neither, unless recorded.
        """
        if _matches(error, self.ignore_exceptions):
            return None
        if _matches(error, self.record_exceptions):
            return True
        return False if isinstance(error, Exception) else None

    def wait_before_trial(self, opening: int, chance: float) -> float:
        """Seconds to stay open the ``opening``-th time in a row; ``chance`` in [0, 1) jitters."""
        longest = self.max_wait_duration_in_open_state or float("inf")
        try:
            growth = self.wait_duration_multiplier ** (opening - 1)
        except OverflowError:
            growth = float("inf")
        wait = min(self.wait_duration_in_open_state * growth, longest)
        return min(wait * (1 + self.wait_duration_jitter * (2 * chance - 1)), longest)


def _matches(error: BaseException, rules: tuple[ExceptionRule, ...]) -> bool:
    return any(isinstance(error, rule) if isinstance(rule, type) else rule(error) for rule in rules)
