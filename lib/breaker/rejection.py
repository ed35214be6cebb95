"""The error of a call that is not permitted: until when, why, and what remains to be done."""

from datetime import UTC, datetime, timedelta

from lib.breaker.errors import CircuitOpenError
from lib.breaker.events import CircuitState
from lib.breaker.phases import Phase


def rejection(
    name: str, phase: Phase, now: float, failures: tuple[BaseException, ...]
) -> CircuitOpenError:
    """The error for circuit ``name`` in ``phase``, with the last ``failures``, newest last."""
    wait = max(phase.until - now, 0.0) if phase.state is CircuitState.OPEN else None
    until = None
    if phase.state is CircuitState.HALF_OPEN:
        when, remedy = "is half-open, its trial calls are under way", "try again shortly"
    elif wait is None or wait > 1e9:
        when = f"is {phase.state.value} until someone closes it"
        remedy = "close it with transition_to(CircuitState.CLOSED)"
        wait = None
    else:
        until = datetime.now(UTC) + timedelta(seconds=wait)
        when = f"is open until {until:%Y-%m-%d %H:%M:%S} UTC ({wait:.1f} s)"
        remedy = "try again then, or mend what it calls"
    return CircuitOpenError(
        f"Circuit '{name}' {when}{phase.reason and ': '}{phase.reason}.",
        expected="a closed circuit",
        remedy=remedy,
        circuit=name,
        retry_after=wait,
        until=until,
        failures=failures,
        transient=phase.state is not CircuitState.FORCED_OPEN,
    )
