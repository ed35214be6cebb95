"""A breaker's figures as OpenTelemetry metrics, where opentelemetry-api is installed."""

from collections.abc import Callable, Iterable
from typing import Any

from lib.breaker.breaker import CircuitBreaker
from lib.breaker.errors import CircuitConfigError
from lib.breaker.events import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    CircuitEvent,
    CircuitState,
    StateChanged,
)
from lib.breaker.registry import CircuitBreakerRegistry

KINDS: dict[type[CircuitEvent], str] = {
    CallSucceeded: "successful",
    CallFailed: "failed",
    CallIgnored: "ignored",
    CallRejected: "not_permitted",
}


def observe(breakers: CircuitBreakerRegistry, meter: Any = None) -> None:
    """Report every breaker of a registry, present and future, to an OpenTelemetry meter.

    ``circuit_breaker.calls`` counts calls by kind, ``circuit_breaker.call.duration`` (seconds)
    has their durations, ``circuit_breaker.transitions`` counts changes of state, and the
    gauges ``circuit_breaker.state`` (1 for the present state), ``.failure_rate`` and
    ``.slow_call_rate`` (percent) show the present.  Without ``meter`` the global provider's is
    used; ``CircuitConfigError`` is raised when OpenTelemetry is not installed.
    """
    meter = meter if meter is not None else _global_meter()
    calls = meter.create_counter("circuit_breaker.calls", unit="{call}")
    durations = meter.create_histogram("circuit_breaker.call.duration", unit="s")
    transitions = meter.create_counter("circuit_breaker.transitions", unit="{transition}")

    def count(event: CircuitEvent) -> None:
        about: dict[str, str] = {"name": event.circuit}
        if isinstance(event, StateChanged):
            transitions.add(1, {**about, "from": event.before.value, "to": event.after.value})
            return
        about["kind"] = KINDS[type(event)]
        calls.add(1, about)
        if not isinstance(event, CallRejected):
            durations.record(getattr(event, "duration", 0.0), about)

    breakers.on_new(lambda breaker: _listen(breaker, count))
    _gauges(breakers, meter)


def _listen(breaker: CircuitBreaker, count: Callable[[CircuitEvent], None]) -> None:
    breaker.listen(CircuitEvent, count)


def _gauges(breakers: CircuitBreakerRegistry, meter: Any) -> None:
    from opentelemetry.metrics import CallbackOptions, Observation

    def states(_: CallbackOptions) -> Iterable[Observation]:
        for breaker in breakers:
            present = breaker.state
            for state in CircuitState:
                about = {"name": breaker.name, "state": state.value}
                yield Observation(int(state is present), about)

    def rate(which: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            for breaker in breakers:
                value = getattr(breaker.metrics, which)
                if value is not None:
                    yield Observation(value, {"name": breaker.name})

        return observed

    meter.create_observable_gauge("circuit_breaker.state", [states])
    for which in ("failure_rate", "slow_call_rate"):
        meter.create_observable_gauge(f"circuit_breaker.{which}", [rate(which)], unit="%")


def _global_meter() -> Any:
    try:
        from opentelemetry.metrics import get_meter
    except ImportError as missing:
        raise CircuitConfigError(
            "OpenTelemetry is not installed.",
            expected="the package opentelemetry-api",
            remedy="pip install opentelemetry-api opentelemetry-sdk",
        ) from missing
    return get_meter("lib.circuit_breaker")
