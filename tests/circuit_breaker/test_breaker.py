"""What users of the breaker see, by its public face."""

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from lib.circuit_breaker import (
    CallFailed,
    CallIgnored,
    CallRejected,
    CallSucceeded,
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitBreakerRegistry,
    CircuitConfigError,
    CircuitEvent,
    CircuitOpenError,
    CircuitState,
    StateChanged,
    WithFallback,
    circuit_break,
    observe,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


QUICK = CircuitBreakerConfig(
    sliding_window_size=4,
    minimum_number_of_calls=2,
    wait_duration_in_open_state=10,
    permitted_number_of_calls_in_half_open_state=2,
    max_wait_duration_in_half_open_state=30,
)


def fail(message: str = "down") -> None:
    raise ConnectionError(message)


def fine() -> str:
    return "fine"


def failing(breaker: CircuitBreaker, times: int = 2) -> None:
    for number in range(times):
        with pytest.raises(ConnectionError):
            breaker.call(fail, f"down {number}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("database", QUICK, clock=clock)


def half_open(breaker: CircuitBreaker, clock: Clock) -> None:
    failing(breaker)
    clock.now += 10


def test_it_opens_and_says_until_when_and_why(breaker, clock):
    failing(breaker)
    clock.now += 4
    with pytest.raises(CircuitOpenError) as refused:
        breaker.call(fine)
    error = refused.value
    assert error.circuit == "database"
    assert error.retry_after == 6
    assert error.until is not None
    assert error.until.tzinfo is not None
    assert error.transient
    assert [str(one) for one in error.failures] == ["down 0", "down 1"]
    assert isinstance(error.__cause__, ExceptionGroup)
    assert error.__cause__.exceptions == error.failures
    assert "2 of 2 calls failed" in str(error)


def test_it_closes_after_good_trials(breaker, clock):
    half_open(breaker, clock)
    assert breaker.state is CircuitState.OPEN, "it waits for a call"
    breaker.call(fine)
    assert breaker.state is CircuitState.HALF_OPEN
    breaker.call(fine)
    assert breaker.state is CircuitState.CLOSED


def test_it_opens_again_after_bad_trials_and_waits_longer(clock):
    config = CircuitBreakerConfig(
        minimum_number_of_calls=1,
        sliding_window_size=1,
        wait_duration_in_open_state=10,
        wait_duration_multiplier=2,
        max_wait_duration_in_open_state=35,
        permitted_number_of_calls_in_half_open_state=1,
    )
    breaker = CircuitBreaker("growing", config, clock=clock)
    waits = []
    for _ in range(4):
        failing(breaker, 1)
        with pytest.raises(CircuitOpenError) as refused:
            breaker.call(fine)
        waits.append(refused.value.retry_after)
        clock.now += refused.value.retry_after
    assert waits == [10, 20, 35, 35]
    breaker.call(fine)
    failing(breaker, 1)
    with pytest.raises(CircuitOpenError) as refused:
        breaker.call(fine)
    assert refused.value.retry_after == 10, "closing forgets the growth"


def test_jitter_stays_within_its_share():
    config = CircuitBreakerConfig(wait_duration_in_open_state=10, wait_duration_jitter=0.2)
    assert config.wait_before_trial(1, 0.0) == pytest.approx(8)
    assert config.wait_before_trial(1, 1.0) == pytest.approx(12)


def test_half_open_permits_exactly_as_many_as_it_says_under_64_threads():
    clock = Clock()
    config = CircuitBreakerConfig(
        minimum_number_of_calls=1,
        sliding_window_size=1,
        wait_duration_in_open_state=1,
        permitted_number_of_calls_in_half_open_state=5,
    )
    breaker = CircuitBreaker("rush", config, clock=clock)
    rounds, threads = 1000, 64
    gate, end = threading.Barrier(threads + 1), threading.Barrier(threads + 1)
    permits: list[object] = []
    refused: list[int] = []

    def rush() -> None:
        for _ in range(rounds):
            gate.wait()
            try:
                permits.append(breaker.permit())
            except CircuitOpenError:
                refused.append(1)
            end.wait()

    workers = [threading.Thread(target=rush) for _ in range(threads)]
    for worker in workers:
        worker.start()
    wrong = []
    for _ in range(rounds):
        failing(breaker, 1)
        clock.now += 1
        gate.wait()
        end.wait()
        if len(permits) != 5 or len(refused) != threads - 5:
            wrong.append((len(permits), len(refused)))
        for permit in permits:
            permit.succeeded()
        permits.clear()
        refused.clear()
    for worker in workers:
        worker.join()
    assert wrong == []
    assert breaker.state is CircuitState.CLOSED


@pytest.mark.parametrize("how", ["ignored", "interrupted", "released", "dropped"])
def test_a_trial_that_tells_nothing_gives_its_permit_back(clock, how):
    config = CircuitBreakerConfig(
        sliding_window_size=1,
        wait_duration_in_open_state=10,
        permitted_number_of_calls_in_half_open_state=1,
        ignore_exceptions=(LookupError,),
    )
    breaker = CircuitBreaker("one trial", config, clock=clock)
    failing(breaker, 1)
    clock.now += 10
    permit = breaker.permit()
    with pytest.raises(CircuitOpenError, match="half-open"):
        breaker.call(fine)
    if how == "ignored":
        permit.failed(KeyError("x"))
    elif how == "interrupted":
        permit.failed(KeyboardInterrupt())
    elif how == "released":
        permit.release()
    del permit
    gc.collect()
    assert breaker.call(fine) == "fine"
    assert breaker.state is CircuitState.CLOSED


def test_half_open_ends_when_a_trial_hangs(breaker, clock):
    half_open(breaker, clock)
    hanging = breaker.permit()
    clock.now += 30
    assert breaker.state is CircuitState.OPEN
    hanging.succeeded()
    assert breaker.state is CircuitState.OPEN, "a late outcome counts no more"


def test_a_late_failure_does_not_spoil_the_trials(breaker, clock):
    late = breaker.permit()
    half_open(breaker, clock)
    breaker.call(fine)
    late.failed(OSError())
    assert breaker.metrics.calls.calls == 1
    breaker.call(fine)
    assert breaker.state is CircuitState.CLOSED


def test_slow_calls_open_it(clock):
    config = CircuitBreakerConfig(
        sliding_window_size=2, slow_call_rate_threshold=100, slow_call_duration_threshold=1
    )
    breaker = CircuitBreaker("slow", config, clock=clock)

    def slowly() -> None:
        clock.now += 1.5

    breaker.call(slowly)
    breaker.call(slowly)
    with pytest.raises(CircuitOpenError, match="2 of 2 calls were slow"):
        breaker.call(fine)


def test_a_spotless_window_still_notices_failures_and_slowness(breaker):
    for _ in range(20):
        breaker.call(fine)
    assert breaker.metrics.calls.calls == 4
    failing(breaker, 2)
    assert breaker.state is CircuitState.OPEN


@pytest.mark.parametrize(
    ("rules", "failures"),
    [
        ({"record_exceptions": (OSError,)}, 1),
        ({"record_exceptions": (ValueError,)}, 0),
        ({"record_exceptions": (lambda error: "down" in str(error),)}, 1),
        ({"ignore_exceptions": (lambda error: "up" in str(error),)}, 1),
    ],
)
def test_what_counts_is_said_by_type_or_predicate(rules, failures):
    breaker = CircuitBreaker("rules", CircuitBreakerConfig(**rules))
    failing(breaker, 1)
    assert breaker.metrics.calls.failed == failures
    assert breaker.metrics.calls.calls == 1


def test_an_ignored_exception_counts_as_nothing():
    breaker = CircuitBreaker("ignore", CircuitBreakerConfig(ignore_exceptions=(OSError,)))
    failing(breaker, 1)
    assert breaker.metrics.calls.calls == 0


def test_a_result_can_be_a_failure():
    config = CircuitBreakerConfig(record_result=lambda status: status >= 500)
    breaker = CircuitBreaker("results", config)
    assert breaker.call(lambda: 503) == 503
    assert breaker.call(lambda: 200) == 200
    assert breaker.metrics.calls.failed == 1


def test_orders_are_kept(breaker, clock):
    breaker.transition_to(CircuitState.FORCED_OPEN)
    clock.now += 1e6
    with pytest.raises(CircuitOpenError) as refused:
        breaker.call(fine)
    assert refused.value.retry_after is None
    assert not refused.value.transient
    breaker.transition_to(CircuitState.DISABLED)
    failing(breaker, 10)
    assert breaker.metrics.calls.calls == 0
    breaker.transition_to(CircuitState.METRICS_ONLY)
    failing(breaker, 10)
    assert breaker.state is CircuitState.METRICS_ONLY
    assert breaker.metrics.failure_rate == 100
    breaker.reset()
    assert breaker.state is CircuitState.CLOSED
    assert breaker.metrics.rejected == 0


def test_automatic_transition_needs_no_call(clock):
    config = CircuitBreakerConfig(
        sliding_window_size=1,
        wait_duration_in_open_state=10,
        automatic_transition_from_open_to_half_open_enabled=True,
    )
    breaker = CircuitBreaker("automatic", config, clock=clock)
    failing(breaker, 1)
    clock.now += 10
    assert breaker.state is CircuitState.HALF_OPEN


def test_automatic_transition_tells_listeners_on_time():
    config = CircuitBreakerConfig(
        sliding_window_size=1,
        wait_duration_in_open_state=0.01,
        automatic_transition_from_open_to_half_open_enabled=True,
    )
    breaker = CircuitBreaker("automatic", config)
    heard = threading.Event()
    breaker.listen(
        StateChanged, lambda event: event.after is CircuitState.HALF_OPEN and heard.set()
    )
    failing(breaker, 1)
    assert heard.wait(10)


def test_listeners_hear_in_order_and_cannot_break_a_call(breaker, clock):
    told: list[CircuitEvent] = []
    breaker.listen(CircuitEvent, told.append)
    breaker.listen(CircuitEvent, lambda event: 1 / 0)
    breaker.call(fine)
    failing(breaker, 1)
    with pytest.raises(CircuitOpenError):
        breaker.call(fine)
    with pytest.raises(KeyboardInterrupt), CircuitBreaker("other", clock=clock) as other:
        other.listen(CallIgnored, told.append)
        raise KeyboardInterrupt
    kinds = [type(event) for event in told]
    assert kinds == [CallSucceeded, CallFailed, StateChanged, CallRejected, CallIgnored]


def test_a_listener_may_use_the_breaker(breaker):
    states = []
    breaker.listen(StateChanged, lambda event: states.append(breaker.state))
    failing(breaker)
    assert states == [CircuitState.OPEN]


def test_a_forgotten_listener_hears_no_more(breaker):
    told: list[CircuitEvent] = []
    forget = breaker.listen(CallFailed, told.append)
    failing(breaker, 1)
    forget()
    failing(breaker, 1)
    assert len(told) == 1


def test_it_is_a_context_manager_that_nests(breaker):
    with breaker, breaker:
        pass
    with pytest.raises(OSError), breaker:
        raise OSError
    assert breaker.metrics.calls.calls == 3
    assert breaker.metrics.calls.failed == 1


def test_decorated_functions_keep_name_and_result():
    breakers = CircuitBreakerRegistry(QUICK)

    @circuit_break(name="decorated", registry=breakers)
    def add(one: int, two: int) -> int:
        """Add."""
        return one + two

    assert add(1, two=2) == 3
    assert add.__name__ == "add"
    assert breakers.breaker("decorated").metrics.calls.calls == 1


def test_a_fallback_sees_the_cause(breaker):
    causes: list[Exception] = []

    @circuit_break(breaker=breaker, fallback=lambda cause: causes.append(cause) or "cached")
    def load() -> str:
        raise ConnectionError("down")

    assert [load(), load(), load()] == ["cached"] * 3
    assert [type(cause) for cause in causes] == [
        ConnectionError,
        ConnectionError,
        CircuitOpenError,
    ]
    only = WithFallback(CircuitBreaker("x"), lambda cause: None, on=CircuitOpenError)
    with pytest.raises(ConnectionError):
        only.call(fail)


def test_generators_are_guarded_up_to_their_first_item(breaker):
    @circuit_break(breaker=breaker)
    def numbers(fails_at: int) -> Iterator[int]:
        got = None
        for number in range(3):
            if number == fails_at:
                raise ConnectionError("broken")
            got = yield number if got is None else got
        return "end"

    assert list(numbers(9)) == [0, 1, 2]
    items = numbers(9)
    assert next(items) == 0
    assert items.send(7) == 7
    with pytest.raises(ConnectionError):
        list(numbers(1))
    assert breaker.metrics.calls.failed == 0, "the second item is the caller's affair"
    for _ in range(4):
        with pytest.raises((ConnectionError, CircuitOpenError)):
            list(numbers(0))
    assert breaker.state is CircuitState.OPEN


def test_async_generators_too(breaker):
    closed = []

    @circuit_break(breaker=breaker)
    async def numbers(fails: bool):
        try:
            if fails:
                raise ConnectionError("broken")
            received = yield 1
            yield received
        finally:
            closed.append(fails)

    async def main() -> None:
        assert [item async for item in numbers(False)] == [1, None]
        items = numbers(False)
        assert await anext(items) == 1
        assert await items.asend(5) == 5
        await items.aclose()
        with pytest.raises(ConnectionError):
            await anext(numbers(True))

    asyncio.run(main())
    assert closed == [False, False, True]
    assert breaker.metrics.calls.failed == 1
    assert breaker.metrics.calls.calls == 3


def test_cancellation_at_any_await_gives_the_permit_back(clock):
    config = CircuitBreakerConfig(
        sliding_window_size=1,
        wait_duration_in_open_state=10,
        permitted_number_of_calls_in_half_open_state=1,
    )
    breaker = CircuitBreaker("tasks", config, clock=clock)

    @circuit_break(breaker=breaker)
    async def decorated(steps: asyncio.Queue) -> None:
        for _ in range(3):
            await steps.get()

    async def inside(steps: asyncio.Queue) -> None:
        async with breaker:
            for _ in range(3):
                await steps.get()

    async def main() -> None:
        for way in (decorated, inside, lambda steps: breaker.acall(decorated.__wrapped__, steps)):
            for step in range(3):
                failing(breaker, 1)
                clock.now += 10
                steps: asyncio.Queue = asyncio.Queue()
                task = asyncio.ensure_future(way(steps))
                for _ in range(step):
                    steps.put_nowait(None)
                for _ in range(5):
                    await asyncio.sleep(0)
                with pytest.raises(CircuitOpenError):
                    breaker.call(fine)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert breaker.call(fine) == "fine"
                assert breaker.state is CircuitState.CLOSED

    asyncio.run(main())


def test_threads_and_tasks_share_one_state(breaker):
    async def afail() -> None:
        raise ConnectionError("down")

    async def main() -> None:
        with pytest.raises(ConnectionError):
            await breaker.acall(afail)
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(breaker.call, fail)
        with pytest.raises(CircuitOpenError):
            async with breaker:
                pass

    asyncio.run(main())


def test_counts_are_exact_under_threads():
    config = CircuitBreakerConfig(sliding_window_size=100_000, failure_rate_threshold=100)
    breaker = CircuitBreaker("busy", config)

    def work() -> None:
        for number in range(2000):
            breaker.call(fine)
            if number % 4 == 0:
                with pytest.raises(ConnectionError):
                    breaker.call(fail)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert breaker.metrics.calls.calls == 20_000
    assert breaker.metrics.calls.failed == 4_000


def test_the_registry_gives_one_breaker_for_a_name():
    breakers = CircuitBreakerRegistry(QUICK)
    assert breakers.breaker("a") is breakers.breaker("a")
    with pytest.raises(CircuitConfigError, match="another configuration"):
        breakers.breaker("a", CircuitBreakerConfig())
    assert [breaker.name for breaker in breakers] == ["a"]
    breakers.remove("a")
    assert "a" not in breakers


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("failure_rate_threshold", 0),
        ("failure_rate_threshold", 101),
        ("sliding_window_size", 0),
        ("wait_duration_in_open_state", 0),
        ("wait_duration_multiplier", 0.5),
        ("wait_duration_jitter", 1),
        ("permitted_number_of_calls_in_half_open_state", 0),
    ],
)
def test_wrong_settings_are_refused_by_name(setting, value):
    with pytest.raises(CircuitConfigError, match=setting):
        CircuitBreakerConfig(**{setting: value})


def test_opentelemetry_gets_counts_and_states(clock):
    metrics = pytest.importorskip("opentelemetry.metrics")
    counted: list[tuple[str, dict]] = []
    gauges = {}

    class Counter:
        def __init__(self, name):
            self.name = name

        def add(self, amount, attributes):
            counted.append((self.name, attributes))

        record = add

    class Meter(metrics.NoOpMeter):
        def create_counter(self, name, **kwargs):
            return Counter(name)

        create_histogram = create_counter

        def create_observable_gauge(self, name, callbacks, **kwargs):
            gauges[name] = callbacks[0]

    breakers = CircuitBreakerRegistry(QUICK, clock=clock)
    observe(breakers, Meter("test"))
    breaker = breakers.breaker("metered")
    breaker.call(fine)
    failing(breaker, 1)
    kinds = [about["kind"] for name, about in counted if name == "circuit_breaker.calls"]
    assert kinds == ["successful", "failed"]
    states = gauges["circuit_breaker.state"](metrics.CallbackOptions())
    assert [one.attributes["state"] for one in states if one.value] == ["open"]
    (rate,) = gauges["circuit_breaker.failure_rate"](metrics.CallbackOptions())
    assert rate.value == 50
