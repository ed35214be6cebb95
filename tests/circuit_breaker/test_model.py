"""The breaker does, whatever happens in whatever order, what the plain model does."""

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lib.circuit_breaker import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitOpenError,
    Permit,
    SlidingWindowType,
)
from tests.circuit_breaker.model import HALF_OPEN, OPEN, Model

SLOW = 4.0


def ended(awaitable: Coroutine[Any, Any, None]) -> None:
    """Run what never waits for anything, without an event loop."""
    with suppress(StopIteration):
        awaitable.send(None)


class BreakerAgainstModel(RuleBasedStateMachine):
    @initialize(
        size=st.integers(1, 8),
        minimum=st.integers(1, 8),
        time_based=st.booleans(),
        failure_rate=st.sampled_from([25, 50, 100]),
        slow_rate=st.sampled_from([30, 100]),
        permitted=st.integers(1, 4),
    )
    def begin(self, size, minimum, time_based, failure_rate, slow_rate, permitted):
        self.now = 1000.0
        kind = SlidingWindowType.TIME_BASED if time_based else SlidingWindowType.COUNT_BASED
        config = CircuitBreakerConfig(
            sliding_window_type=kind,
            sliding_window_size=size,
            minimum_number_of_calls=minimum,
            failure_rate_threshold=failure_rate,
            slow_call_rate_threshold=slow_rate,
            slow_call_duration_threshold=SLOW,
            wait_duration_in_open_state=5,
            permitted_number_of_calls_in_half_open_state=permitted,
            max_wait_duration_in_half_open_state=11,
            ignore_exceptions=(KeyError,),
        )
        self.breaker = CircuitBreaker("modelled", config, clock=lambda: self.now)
        self.model = Model(
            size, minimum, time_based, failure_rate, slow_rate, 5, permitted, 11, entered=self.now
        )
        self.calls: list[tuple[Permit, int, float]] = []

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.0, 6.0, 12.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(times=st.integers(1, 6))
    def calls_start(self, times):
        for _ in range(times):
            visit = self.model.ask(self.now)
            try:
                permit = self.breaker.permit()
            except CircuitOpenError as error:
                self.refused(visit, error)
            else:
                assert visit is not None
                self.calls.append((permit, visit, self.now))

    @rule(
        times=st.integers(1, 9),
        failed=st.booleans(),
        seconds=st.sampled_from([0.0, 0.5, 5.0]),
        awaited=st.booleans(),
    )
    def whole_calls(self, times, failed, seconds, awaited):
        """Calls that begin and end at once, by the shorter ways that these take."""

        def work() -> None:
            self.now += seconds
            if failed:
                raise OSError("no")

        async def awaited_work() -> None:
            work()

        for _ in range(times):
            visit, started = self.model.ask(self.now), self.now
            try:
                if awaited:
                    ended(self.breaker.acall(awaited_work))
                else:
                    self.breaker.call(work)
            except CircuitOpenError as error:
                self.refused(visit, error)
            except OSError:
                assert failed
                self.model.finish(visit, True, self.now - started > SLOW, self.now)
            else:
                assert visit is not None
                assert not failed
                self.model.finish(visit, False, self.now - started > SLOW, self.now)

    def refused(self, visit: int | None, refusal: CircuitOpenError) -> None:
        assert visit is None
        if self.model.state == OPEN:
            left = self.model.entered + self.model.wait - self.now
            assert refusal.retry_after is not None
            assert abs(refusal.retry_after - left) < 1e-6

    def take(self, data) -> tuple[Permit, int, float] | None:
        if not self.calls:
            return None
        return self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))

    @rule(data=st.data(), failed=st.booleans())
    def a_call_ends(self, data, failed):
        if call := self.take(data):
            permit, visit, started = call
            self.model.finish(visit, failed, self.now - started > SLOW, self.now)
            if failed:
                permit.failed(OSError("no"))
            else:
                permit.succeeded()

    @rule(data=st.data(), how=st.sampled_from(["ignored", "cancelled", "released", "abandoned"]))
    def a_call_tells_nothing(self, data, how):
        if call := self.take(data):
            permit, visit, _ = call
            self.model.give_back(visit)
            if how == "ignored":
                permit.failed(KeyError("no"))
            elif how == "cancelled":
                permit.failed(KeyboardInterrupt())
            elif how == "released":
                permit.release()
            del permit, call

    @invariant()
    def they_agree(self):
        if not hasattr(self, "breaker"):
            return
        self.model.pass_time(self.now)
        metrics = self.breaker.metrics
        assert metrics.state.value == self.model.state
        if self.model.state != OPEN:
            window = self.model.window(self.now)
            assert metrics.calls.calls == len(window)
            assert metrics.calls.failed == sum(failed for _, failed, _ in window)
            assert metrics.calls.slow == sum(slow for _, _, slow in window)
        if self.model.state == HALF_OPEN:
            assert self.model.issued <= self.model.permitted


BreakerAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=50)
TestBreakerAgainstModel = BreakerAgainstModel.TestCase
