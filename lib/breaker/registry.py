"""Circuit breakers by name, so that all who call one service share its breaker."""

import time
from collections.abc import Callable, Iterator
from threading import Lock

from lib.breaker.breaker import DEFAULT, CircuitBreaker
from lib.breaker.config import CircuitBreakerConfig
from lib.breaker.errors import CircuitConfigError


class CircuitBreakerRegistry:
    """Makes a breaker the first time its name is asked for, and gives the same one after.

    ``config`` is for breakers that are asked for without one of their own.
    """

    def __init__(
        self,
        config: CircuitBreakerConfig = DEFAULT,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._clock = clock
        self._lock = Lock()
        self._breakers: dict[str, CircuitBreaker] = {}
        self._on_new: list[Callable[[CircuitBreaker], None]] = []

    def breaker(self, name: str, config: CircuitBreakerConfig | None = None) -> CircuitBreaker:
        """Give the breaker of this name; raises ``CircuitConfigError`` if its config is another."""
        with self._lock:
            known = self._breakers.get(name)
            if known is None:
                known = CircuitBreaker(name, config or self.config, clock=self._clock)
                self._breakers[name] = known
                new = tuple(self._on_new)
            else:
                new = ()
        if config is not None and known.config != config:
            raise CircuitConfigError(
                f"Circuit breaker '{name}' exists with another configuration.",
                expected=f"{known.config}",
                remedy="use one configuration for one name, or another name",
            )
        for callback in new:
            callback(known)
        return known

    def on_new(self, callback: Callable[[CircuitBreaker], None]) -> None:
        """Call ``callback`` with every breaker that is there, and with each new one."""
        with self._lock:
            self._on_new.append(callback)
            present = tuple(self._breakers.values())
        for breaker in present:
            callback(breaker)

    def remove(self, name: str) -> None:
        """Forget a breaker; whoever holds it keeps it."""
        with self._lock:
            self._breakers.pop(name, None)

    def __iter__(self) -> Iterator[CircuitBreaker]:
        with self._lock:
            return iter(tuple(self._breakers.values()))

    def __contains__(self, name: str) -> bool:
        return name in self._breakers

    def __len__(self) -> int:
        return len(self._breakers)


registry = CircuitBreakerRegistry()
"""The registry that ``circuit_break(name=...)`` uses."""
