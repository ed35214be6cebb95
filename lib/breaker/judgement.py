"""What a configuration says of a window's calls: how many are enough, and which are too many."""

from lib.breaker.config import CircuitBreakerConfig, SlidingWindowType
from lib.breaker.events import CircuitState
from lib.breaker.windows import CountWindow, Tally, TimeWindow, Window


def new_window(config: CircuitBreakerConfig, now: float) -> Window:
    """An empty window of the configured type and size; ``now`` in the clock's seconds."""
    if config.sliding_window_type is SlidingWindowType.COUNT_BASED:
        return CountWindow(config.sliding_window_size)
    return TimeWindow(config.sliding_window_size, now)


def enough(config: CircuitBreakerConfig, state: CircuitState) -> int:
    """How many calls a rate needs in this state."""
    if state is CircuitState.HALF_OPEN:
        return config.permitted_number_of_calls_in_half_open_state
    if config.sliding_window_type is SlidingWindowType.COUNT_BASED:
        return min(config.minimum_number_of_calls, config.sliding_window_size)
    return config.minimum_number_of_calls


def breach(config: CircuitBreakerConfig, tally: Tally) -> str:
    """Which threshold the calls reach, in words; empty when none."""
    for what, count, threshold in (
        ("failed", tally.failed, config.failure_rate_threshold),
        ("were slow", tally.slow, config.slow_call_rate_threshold),
    ):
        if 100 * count >= threshold * tally.calls:
            return f"{count} of {tally.calls} calls {what} (threshold {threshold:g} %)"
    return ""
