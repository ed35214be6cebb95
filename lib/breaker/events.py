"""What happens in a circuit breaker, as values that listeners receive."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from logging import getLogger
from threading import Lock
from typing import Any, TypeVar

log = getLogger(__name__)


class CircuitState(Enum):
    """The states of a circuit; the first three are its own, the others are ordered."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    FORCED_OPEN = "forced open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics only"


@dataclass(frozen=True, slots=True)
class CircuitEvent:
    """Something that happened in the circuit of this name."""

    circuit: str


@dataclass(frozen=True, slots=True)
class CallSucceeded(CircuitEvent):
    """A call counted as a success; ``duration`` in seconds."""

    duration: float


@dataclass(frozen=True, slots=True)
class CallFailed(CircuitEvent):
    """A call counted as a failure; ``error`` is None when its result was the failure."""

    duration: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class CallIgnored(CircuitEvent):
    """A call ended in a way that counts as neither success nor failure."""

    duration: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class CallRejected(CircuitEvent):
    """A call was not permitted."""

    state: CircuitState


@dataclass(frozen=True, slots=True)
class StateChanged(CircuitEvent):
    """The circuit went from one state to another; ``reason`` in words."""

    before: CircuitState
    after: CircuitState
    reason: str


E = TypeVar("E", bound=CircuitEvent)


class Listeners:
    """Who wants to hear which events; every event is told once, in order, outside any lock."""

    def __init__(self) -> None:
        self._callbacks: tuple[tuple[type[CircuitEvent], Callable[[Any], None]], ...] = ()
        self.waiting: deque[CircuitEvent] = deque()
        self._telling = Lock()

    def add(self, kind: type[E], callback: Callable[[E], None]) -> Callable[[], None]:
        """Call ``callback`` with every event of this kind; what is returned ends that."""
        entry = (kind, callback)
        self._callbacks = (*self._callbacks, entry)

        def forget() -> None:
            self._callbacks = tuple(known for known in self._callbacks if known is not entry)

        return forget

    def want(self, kind: type[CircuitEvent]) -> bool:
        """Say whether anybody listens to this kind."""
        return any(issubclass(kind, wanted) for wanted, _ in self._callbacks)

    def put(self, event: CircuitEvent) -> None:
        """Keep an event to be told; safe under the breaker's lock."""
        if self._callbacks:
            self.waiting.append(event)

    def tell(self) -> None:
        """Tell what waits; when another thread is telling already, it tells this too."""
        while self.waiting and self._telling.acquire(blocking=False):
            try:
                while self.waiting:
                    self._tell(self.waiting.popleft())
            finally:
                self._telling.release()

    def _tell(self, event: CircuitEvent) -> None:
        for kind, callback in self._callbacks:
            if isinstance(event, kind):
                try:
                    callback(event)
                except Exception:
                    log.exception("A listener of circuit '%s' failed.", event.circuit)
