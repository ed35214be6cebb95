"""Circuit breaker for threads and asyncio with the semantics of resilience4j.

``CircuitBreaker`` guards calls, ``circuit_break`` decorates functions, ``registry`` keeps
breakers by name.  How it works and what it does not do: docs/circuit-breaker.md.
"""

from lib.breaker.breaker import CircuitBreaker, CircuitMetrics
from lib.breaker.config import CircuitBreakerConfig, ExceptionRule, SlidingWindowType
from lib.breaker.decorator import WithFallback, circuit_break
from lib.breaker.errors import CircuitConfigError, CircuitOpenError
from lib.breaker.events import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    CircuitEvent,
    CircuitState,
    StateChanged,
)
from lib.breaker.permit import Permit
from lib.breaker.registry import CircuitBreakerRegistry, registry
from lib.breaker.telemetry import observe
from lib.breaker.windows import Tally

__all__ = [
    "CallFailed",
    "CallIgnored",
    "CallRejected",
    "CallSucceeded",
    "CircuitBreaker",
    "CircuitBreakerConfig",
    "CircuitBreakerRegistry",
    "CircuitConfigError",
    "CircuitEvent",
    "CircuitMetrics",
    "CircuitOpenError",
    "CircuitState",
    "ExceptionRule",
    "Permit",
    "SlidingWindowType",
    "StateChanged",
    "Tally",
    "WithFallback",
    "circuit_break",
    "observe",
    "registry",
]
