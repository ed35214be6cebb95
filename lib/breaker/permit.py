"""The right to make one call through a breaker, held by hand or in a ``with`` block."""

from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.breaker.breaker import CircuitBreaker
    from lib.breaker.phases import Phase, Trial


class Permit:
    """One permitted call: tell it ``succeeded``, ``failed`` or ``release`` it, once.

    As a ``with`` block it tells itself.  A permit that nobody holds any more is given back.
    """

    __slots__ = ("__weakref__", "_breaker", "_clock", "_started", "_ticket")

    def __init__(
        self, breaker: "CircuitBreaker", ticket: "Phase | Trial", clock: Callable[[], float]
    ) -> None:
        self._breaker = breaker
        self._ticket: Phase | Trial | None = ticket
        self._clock = clock
        self._started = clock()

    def succeeded(self, result: object = None) -> None:
        """The call returned ``result``."""
        if (ticket := self._settle()) is not None:
            self._breaker._returned(ticket, self._started, self._clock(), result)

    def failed(self, error: BaseException) -> None:
        """The call raised ``error``; what that counts as is the configuration's to say."""
        if (ticket := self._settle()) is not None:
            self._breaker._raised(ticket, self._started, self._clock(), error)

    def release(self) -> None:
        """The call was not made, or its outcome says nothing."""
        if (ticket := self._settle()) is not None:
            self._breaker._give_back(ticket, self._clock() - self._started, None)

    def _settle(self) -> "Phase | Trial | None":
        ticket, self._ticket = self._ticket, None
        return ticket

    def __enter__(self) -> "Permit":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.succeeded()
        else:
            self.failed(error)


entered: ContextVar[tuple[tuple["CircuitBreaker", Permit], ...]] = ContextVar(
    "entered circuit breakers", default=()
)
"""The ``with breaker:`` blocks that this thread or task is in, outermost first."""
