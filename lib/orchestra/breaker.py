"""The search path's breaker, proven on the live target: it trips, fails fast, and recovers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from lib.circuit_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    CircuitState,
)
from lib.errors import MigrationError, VerificationError
from lib.postgres.database import Database, connect


@dataclass(frozen=True, slots=True)
class BreakerProof:
    """What was seen: failures until it opened, and seconds of a refusal and of the recovery."""

    failures: int
    refused_seconds: float
    recovered_seconds: float

    def describe(self) -> str:
        """One line for people."""
        return (
            f"opened after {self.failures} failures, refused in "
            f"{1e6 * self.refused_seconds:.0f} µs without asking the target, "
            f"closed again {self.recovered_seconds:.1f} s later"
        )


def config(breaker: Any) -> CircuitBreakerConfig:
    """The breaker's parameters from its settings section."""
    return CircuitBreakerConfig(
        failure_rate_threshold=breaker.failure_rate_threshold,
        sliding_window_size=breaker.sliding_window_size,
        minimum_number_of_calls=breaker.minimum_number_of_calls,
        wait_duration_in_open_state=breaker.wait_seconds_in_open_state,
        permitted_number_of_calls_in_half_open_state=breaker.permitted_calls_in_half_open_state,
    )


def environment(breaker: Any) -> dict[str, str]:
    """The same parameters as the API's environment variables."""
    return {
        "BREAKER_FAILURE_RATE": str(breaker.failure_rate_threshold),
        "BREAKER_WINDOW": str(breaker.sliding_window_size),
        "BREAKER_MINIMUM_CALLS": str(breaker.minimum_number_of_calls),
        "BREAKER_OPEN_SECONDS": str(breaker.wait_seconds_in_open_state),
        "BREAKER_TRIAL_CALLS": str(breaker.permitted_calls_in_half_open_state),
    }


def prove_database(target: Database, wanted: CircuitBreakerConfig) -> BreakerProof:
    """Prove the breaker on the target's database (network).

    The failing call asks for a relation that does not exist, the healthy one asks whether the
    target answers.
    """
    with connect(target) as connection:
        broken = sql.SQL("SELECT FROM {}").format(sql.Identifier("no such vectors"))
        return prove(
            lambda: connection.execute("SELECT 1"), lambda: connection.execute(broken), wanted
        )


def prove(
    healthy: Callable[[], object], broken: Callable[[], object], wanted: CircuitBreakerConfig
) -> BreakerProof:
    """Break the search path of the target for real and watch the breaker (network).

    Raises ``VerificationError`` where the breaker does not do as it should.
    """
    breaker = CircuitBreaker("search", wanted)
    failures = _trip(breaker, broken)
    began = time.perf_counter()
    try:
        breaker.call(healthy)
    except CircuitOpenError:
        refused = time.perf_counter() - began
    else:
        raise VerificationError("The open breaker let a call through to the target.")
    return BreakerProof(failures, refused, _recover(breaker, healthy, wanted))


def _trip(breaker: CircuitBreaker, call: Callable[[], object]) -> int:
    failures = 0
    while breaker.state is CircuitState.CLOSED:
        try:
            breaker.call(call)
        except MigrationError:
            raise
        except Exception:
            failures += 1
        if failures > 10_000:
            raise VerificationError(f"The breaker is closed after {failures} failures.")
    return failures


def _recover(
    breaker: CircuitBreaker, healthy: Callable[[], object], wanted: CircuitBreakerConfig
) -> float:
    """Call until it is closed again; the pause between calls is the breaker's own."""
    began = time.perf_counter()
    longest = wanted.wait_duration_in_open_state + 10
    while breaker.state is not CircuitState.CLOSED:
        try:
            breaker.call(healthy)
        except CircuitOpenError:
            time.sleep(wanted.wait_duration_in_open_state / 50)
        if time.perf_counter() - began > longest:
            raise VerificationError(f"The breaker is still open after {longest:.0f} seconds.")
    return time.perf_counter() - began
