"""Overhead of a closed circuit breaker, beside pybreaker, purgatory, circuitbreaker, aiobreaker.

Prints a Markdown table: microseconds of processor time of one decorated call, the bare call
included, and how many of 64 threads each breaker lets through half-open.  Peers that are not
installed are named as missing.
"""

import argparse
import asyncio
import importlib.util
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PEERS = ("pybreaker", "circuitbreaker", "purgatory", "aiobreaker")


@dataclass(frozen=True, slots=True)
class Subject:
    """A breaker around an empty function; None where it cannot do that."""

    name: str
    sync: Callable[[], Any] | None = None
    awaiting: Callable[[], Awaitable[Any]] | None = None
    half_open: Callable[[Callable[[], Any]], Callable[[], Any]] | None = None


def nothing() -> None:
    pass


async def anothing() -> None:
    pass


def fail() -> None:
    raise OSError


def ours() -> Iterator[Subject]:
    from lib.circuit_breaker import (
        CircuitBreaker,
        CircuitBreakerConfig,
        SlidingWindowType,
        circuit_break,
    )

    def filled(name: str, failures: int, config: CircuitBreakerConfig) -> CircuitBreaker:
        breaker = CircuitBreaker(name, config)
        for number in range(200):
            with suppress(OSError):
                breaker.call(fail if number < failures else nothing)
        return breaker

    def rush(work: Callable[[], Any]) -> Callable[[], Any]:
        config = CircuitBreakerConfig(
            sliding_window_size=1,
            wait_duration_in_open_state=0.05,
            permitted_number_of_calls_in_half_open_state=1,
        )
        breaker = CircuitBreaker("rush", config)
        expect_failure(lambda: breaker.call(fail))
        return lambda: breaker.call(work)

    count, timed = SlidingWindowType.COUNT_BASED, SlidingWindowType.TIME_BASED
    for name, failures, kind, half_open in (
        ("ours, window of quick successes", 0, count, rush),
        ("ours, failures in the window", 40, count, None),
        ("ours, time-based window", 0, timed, None),
    ):
        size = 10_000_000 if failures else 100
        breaker = filled(
            name, failures, CircuitBreakerConfig(sliding_window_type=kind, sliding_window_size=size)
        )
        yield Subject(
            name,
            circuit_break(breaker=breaker)(nothing),
            circuit_break(breaker=breaker)(anothing),
            half_open,
        )


def peer_pybreaker() -> Iterator[Subject]:
    import pybreaker

    breaker = pybreaker.CircuitBreaker()

    def rush(work: Callable[[], Any]) -> Callable[[], Any]:
        tripped = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=0.05)
        expect_failure(lambda: tripped.call(fail))
        return lambda: tripped.call(work)

    yield Subject("pybreaker", breaker(nothing), None, rush)


def peer_circuitbreaker() -> Iterator[Subject]:
    import circuitbreaker

    def rush(work: Callable[[], Any]) -> Callable[[], Any]:
        tripped = circuitbreaker.CircuitBreaker(failure_threshold=1, recovery_timeout=0.05)
        expect_failure(lambda: tripped.call(fail))
        return lambda: tripped.call(work)

    breaker = circuitbreaker.CircuitBreaker()
    yield Subject("circuitbreaker", breaker(nothing), breaker(anothing), rush)


def peer_purgatory() -> Iterator[Subject]:
    import purgatory

    factory = purgatory.SyncCircuitBreakerFactory()
    guarded = factory("sync")(nothing)
    afactory = purgatory.AsyncCircuitBreakerFactory()
    aguarded = afactory("async")(anothing)

    def rush(work: Callable[[], Any]) -> Callable[[], Any]:
        tripping = purgatory.SyncCircuitBreakerFactory(default_threshold=1, default_ttl=0.05)
        expect_failure(tripping("rush")(fail))
        return tripping("rush")(work)

    yield Subject("purgatory", guarded, aguarded, rush)


def peer_aiobreaker() -> Iterator[Subject]:
    import aiobreaker

    breaker = aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=60))
    yield Subject("aiobreaker", lambda: breaker.call(nothing), lambda: breaker.call_async(anothing))


def expect_failure(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception:
        return
    raise AssertionError("the call should have failed")


def time_sync(call: Callable[[], Any], number: int, rounds: int) -> float:
    """Median microseconds of processor time of one call."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(number):
            call()
        times.append((time.process_time() - began) / number * 1e6)
    return median(times)


def time_async(call: Callable[[], Awaitable[Any]], number: int, rounds: int) -> float:
    """Median microseconds of processor time of one awaited call."""

    async def main() -> float:
        times = []
        for _ in range(rounds):
            began = time.process_time()
            for _ in range(number):
                await call()
            times.append((time.process_time() - began) / number * 1e6)
        return median(times)

    return asyncio.run(main())


def let_through(prepare: Callable[[Callable[[], Any]], Callable[[], Any]]) -> int:
    """How many of 64 threads that come at once are served, not refused, by one permitted call."""
    inside: list[int] = []
    all_tried = threading.Event()

    def work() -> None:
        inside.append(1)
        all_tried.wait(10)

    call = prepare(work)
    time.sleep(0.1)  # the peers know only the real clock
    tried = threading.Semaphore(0)

    def attempt() -> None:
        try:
            call()
        except Exception:
            tried.release()

    workers = [threading.Thread(target=attempt) for _ in range(64)]
    for worker in workers:
        worker.start()
    end = time.monotonic() + 2
    refused = 0
    while refused + len(inside) < 64 and time.monotonic() < end:
        refused += tried.acquire(timeout=0.01)
    all_tried.set()
    for worker in workers:
        worker.join()
    return len(inside)


@contextmanager
def without_collection() -> Iterator[None]:
    import gc

    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def rows(number: int, rounds: int) -> Iterator[str]:
    subjects = [Subject("bare call", nothing, anothing), *ours()]
    for peer in PEERS:
        if importlib.util.find_spec(peer) is not None:
            subjects += globals()[f"peer_{peer}"]()
    yield "| a closed call | sync, µs | async, µs | of 64 threads served at half-open |"
    yield "| --- | --- | --- | --- |"
    for subject in subjects:
        cells = [subject.name]
        cells.append(f"{time_sync(subject.sync, number, rounds):.2f}" if subject.sync else "")
        awaiting = subject.awaiting
        cells.append(f"{time_async(awaiting, number, rounds):.2f}" if awaiting else "")
        cells.append(f"{let_through(subject.half_open)}" if subject.half_open else "")
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--number", type=int, default=100_000, help="calls in a round")
    options.add_argument("--rounds", type=int, default=5, help="rounds, of which the median counts")
    given = options.parse_args()
    missing = [peer for peer in PEERS if importlib.util.find_spec(peer) is None]
    with without_collection():
        for row in rows(given.number, given.rounds):
            print(row, flush=True)
    if missing:
        print(f"\nNot installed: {', '.join(missing)} (pip install {' '.join(missing)}).")


if __name__ == "__main__":
    main()
