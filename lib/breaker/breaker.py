"""The circuit breaker: one object, one state, for threads and for asyncio."""

import random as chance
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from lib.breaker.config import CircuitBreakerConfig
from lib.breaker.events import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    CircuitState,
    E,
    Listeners,
    StateChanged,
)
from lib.breaker.judgement import breach, enough, new_window
from lib.breaker.permit import Permit, entered
from lib.breaker.phases import FOREVER, Phase, Trial
from lib.breaker.rejection import rejection
from lib.breaker.windows import CountWindow, Tally

P = ParamSpec("P")
R = TypeVar("R")

ADMITTING = {CircuitState.CLOSED, CircuitState.DISABLED, CircuitState.METRICS_ONLY}
DEFAULT = CircuitBreakerConfig()


@dataclass(frozen=True, slots=True)
class CircuitMetrics:
    """What a breaker has counted; rates in percent, None below the minimum number of calls."""

    state: CircuitState
    failure_rate: float | None
    slow_call_rate: float | None
    calls: Tally
    """The calls in the window of the present state (while open: those that opened it)."""
    rejected: int
    """Calls that were not permitted, since the breaker was made or reset."""


class CircuitBreaker:
    """Stops calling what keeps failing, and tries again later with a few calls.

    One breaker serves threads and event loops at once.  ``clock`` is monotonic, in seconds;
    ``random`` gives the jitter's chance in [0, 1).  Every way in raises ``CircuitOpenError``
    when the call is not permitted; an exception of the call itself passes unchanged.
    """

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig = DEFAULT,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.name = name
        self.config = config
        self._clock = clock
        self._random = random
        self._slow_after = config.slow_call_duration_threshold
        self._lock = threading.Lock()
        self._listeners = Listeners()
        self._failures: deque[BaseException] = deque(maxlen=config.remembered_failures)
        self._abandoned: deque[Phase] = deque()
        self._timer: threading.Timer | None = None
        self._openings = 0
        self._rejected = 0
        self._refuses = config.record_result
        self._watched = config.record_result is not None  # every result must be looked at
        self._lowest = min(config.failure_rate_threshold, config.slow_call_rate_threshold)
        self._phase = Phase(CircuitState.CLOSED, new_window(config, clock()), admits_all=True)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r}: {self.state.value}>"

    # Ways in ------------------------------------------------------------------------------

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function through the breaker and return its result."""
        phase = self._phase
        ticket = phase if phase.admits_all else self._admit()
        clock = self._clock
        started = clock()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._raised(ticket, started, clock(), error)
            raise
        ended = clock()
        if ended - started > self._slow_after or self._watched:
            self._returned(ticket, started, ended, result)
        elif not ticket.steady:
            self._succeeded(ticket, started, ended)
        return result

    async def acall(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await a function through the breaker; cancellation counts as neither outcome."""
        phase = self._phase
        ticket = phase if phase.admits_all else self._admit()
        clock = self._clock
        started = clock()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            self._raised(ticket, started, clock(), error)
            raise
        ended = clock()
        if ended - started > self._slow_after or self._watched:
            self._returned(ticket, started, ended, result)
        elif not ticket.steady:
            self._succeeded(ticket, started, ended)
        return result

    def permit(self) -> Permit:
        """Take the right to make one call, whose outcome the caller then tells the permit."""
        phase = self._phase
        return Permit(self, phase if phase.admits_all else self._admit(), self._clock)

    def __enter__(self) -> "CircuitBreaker":
        entered.set((*entered.get(), (self, self.permit())))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        inside = entered.get()
        for place in reversed(range(len(inside))):
            owner, permit = inside[place]
            if owner is self:
                entered.set(inside[:place] + inside[place + 1 :])
                permit.__exit__(kind, error, traceback)
                return

    async def __aenter__(self) -> "CircuitBreaker":
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    # What it shows ------------------------------------------------------------------------

    @property
    def state(self) -> CircuitState:
        """The state now, after whatever the passing of time has changed."""
        with self._lock:
            state = self._now(self._clock()).state
        self._listeners.tell()
        return state

    @property
    def metrics(self) -> CircuitMetrics:
        """The state with the counts behind it."""
        with self._lock:
            now = self._clock()
            phase = self._now(now)
            tally = phase.window.tally(now)
            rated = tally.calls >= enough(self.config, phase.state)
            metrics = CircuitMetrics(
                phase.state,
                100 * tally.failed / tally.calls if rated else None,
                100 * tally.slow / tally.calls if rated else None,
                tally,
                self._rejected,
            )
        self._listeners.tell()
        return metrics

    def listen(self, kind: type[E], callback: Callable[[E], None]) -> Callable[[], None]:
        """Call ``callback`` with every event of this kind; what is returned ends that.

        Events are told in order, outside the lock, in the thread that caused them or in one
        that is telling already.  An exception of a listener is logged and goes no further.
        """
        with self._lock:
            forget = self._listeners.add(kind, callback)
            self._watched = self._watched or self._listeners.want(CallSucceeded)
            self._phase.steady = self._steady(self._phase)
        return forget

    # Orders -------------------------------------------------------------------------------

    def transition_to(self, state: CircuitState) -> None:
        """Enter a state by order: with a new window, and a new wait where it has one."""
        with self._lock:
            if state is CircuitState.CLOSED:
                self._failures.clear()
            self._enter(state, self._clock(), "by order")
        self._listeners.tell()

    def reset(self) -> None:
        """Go back to the beginning: closed, with nothing counted."""
        with self._lock:
            self._rejected = 0
            self._failures.clear()
            self._enter(CircuitState.CLOSED, self._clock(), "reset")
        self._listeners.tell()

    # Admission ----------------------------------------------------------------------------

    def _admit(self) -> Phase | Trial:
        """Give a ticket for one call, or raise ``CircuitOpenError``."""
        ticket: Phase | Trial | None = None
        with self._lock:
            now = self._clock()
            phase = self._now(now, calling=True)
            self._take_back()
            if phase.admits_all:
                ticket = phase
            elif phase.free:
                ticket = Trial(phase, self._abandoned)
                phase.free -= 1
            else:
                self._rejected += 1
                self._listeners.put(CallRejected(self.name, phase.state))
                failures = tuple(self._failures)
        self._listeners.tell()
        if ticket is None:
            raise rejection(self.name, phase, now, failures)
        return ticket

    def _take_back(self) -> None:
        while self._abandoned:
            self._abandoned.popleft().free += 1

    # Outcomes -----------------------------------------------------------------------------

    def _returned(
        self, ticket: Phase | Trial, started: float, ended: float, result: object
    ) -> None:
        failed = self._refuses is not None and self._refuses(result)
        self._record(ticket, started, ended, failed, None)

    def _succeeded(self, ticket: Phase | Trial, started: float, ended: float) -> None:
        """Record a quick success that nobody watches: the shorter way, for the commonest end."""
        with self._lock:
            if mine := ticket is self._phase:
                window = self._phase.window
                bad = window.record_success(ended)
                if not bad:
                    self._phase.steady = window.spotless
                    return
                if 100 * bad < self._lowest * window.calls:
                    return
                self._judge(self._phase, ended)
        if mine:
            self._listeners.tell()
        else:
            self._record(ticket, started, ended, False, None)

    def _raised(
        self, ticket: Phase | Trial, started: float, ended: float, error: BaseException
    ) -> None:
        failed = self.config.counts_as_failure(error)
        if failed is None:
            self._give_back(ticket, ended - started, error)
        else:
            self._record(ticket, started, ended, failed, error if failed else None)

    def _record(
        self,
        ticket: Phase | Trial,
        started: float,
        ended: float,
        failed: bool,
        error: BaseException | None,
    ) -> None:
        with self._lock:
            phase = self._phase
            if ticket is not phase:
                if isinstance(ticket, Trial):
                    ticket.settled = True
                phase = self._now(ended)
            if phase.counts:
                if failed or self._watched:
                    self._tell_of_call(ended - started, failed, error)
                if ticket.phase is phase:
                    self._count(phase, failed, ended - started > self._slow_after, ended)
        if self._listeners.waiting:
            self._listeners.tell()

    def _count(self, phase: Phase, failed: bool, slow: bool, now: float) -> None:
        window = phase.window
        bad = window.record(failed, slow, now)
        if 100 * bad >= self._lowest * window.calls or not phase.admits_all:
            self._judge(phase, now)
        else:
            phase.steady = not bad and window.spotless and not self._watched

    def _tell_of_call(self, duration: float, failed: bool, error: BaseException | None) -> None:
        if failed:
            if error is not None:
                self._failures.append(error)
            self._listeners.put(CallFailed(self.name, duration, error))
        elif self._watched:
            self._listeners.put(CallSucceeded(self.name, duration))

    def _give_back(
        self, ticket: Phase | Trial, elapsed: float, error: BaseException | None
    ) -> None:
        with self._lock:
            if isinstance(ticket, Trial) and not ticket.settled:
                ticket.settled = True
                ticket.phase.free += 1
            if self._phase.counts:
                self._listeners.put(CallIgnored(self.name, elapsed, error))
        self._listeners.tell()

    # The state machine; all of it under the lock --------------------------------------------

    def _judge(self, phase: Phase, now: float) -> None:
        """Leave the state when the window says so."""
        phase.steady = False
        if phase.state is CircuitState.METRICS_ONLY:
            return
        tally = phase.window.tally(now)
        if tally.calls < enough(self.config, phase.state):
            return
        reason = breach(self.config, tally)
        if reason:
            self._enter(CircuitState.OPEN, now, reason)
        elif phase.state is CircuitState.HALF_OPEN:
            self._failures.clear()
            self._enter(CircuitState.CLOSED, now, f"{tally.calls} trial calls went well")

    def _now(self, now: float, *, calling: bool = False) -> Phase:
        """Bring the state to the present moment."""
        phase = self._phase
        if phase.state is CircuitState.HALF_OPEN and now >= phase.until:
            phase = self._enter(CircuitState.OPEN, phase.until, "its trial calls took too long")
        automatic = self.config.automatic_transition_from_open_to_half_open_enabled
        if phase.state is CircuitState.OPEN and now >= phase.until and (calling or automatic):
            phase = self._enter(CircuitState.HALF_OPEN, now, "its wait is over")
        return phase

    def _enter(self, state: CircuitState, at: float, reason: str) -> Phase:
        before = self._phase
        phase = Phase(
            state, new_window(self.config, at), admits_all=state in ADMITTING, reason=reason
        )
        phase.counts = state is not CircuitState.DISABLED
        if state is CircuitState.OPEN:
            self._openings += 1
            phase.window = before.window
            phase.until = at + self.config.wait_before_trial(self._openings, self._random())
        elif state is CircuitState.HALF_OPEN:
            phase.free = self.config.permitted_number_of_calls_in_half_open_state
            phase.window = CountWindow(phase.free)
            phase.until = at + (self.config.max_wait_duration_in_half_open_state or FOREVER)
        else:
            self._openings = 0
        phase.steady = self._steady(phase)
        self._phase = phase
        self._listeners.put(StateChanged(self.name, before.state, state, reason))
        self._set_timer(phase, at)
        return phase

    def _steady(self, phase: Phase) -> bool:
        if self._watched:
            return False
        return phase.state is CircuitState.DISABLED or (phase.admits_all and phase.window.spotless)

    def _set_timer(self, phase: Phase, now: float) -> None:
        """Let the wait end on time, for listeners, where that is wanted and time is real."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        automatic = self.config.automatic_transition_from_open_to_half_open_enabled
        if automatic and self._clock is time.monotonic and phase.until - now < 1e6:
            self._timer = threading.Timer(phase.until - now, _look_at, (weakref.ref(self),))
            self._timer.daemon = True
            self._timer.start()


def _look_at(reference: "weakref.ref[CircuitBreaker]") -> Any:
    breaker = reference()
    return breaker and breaker.state
