"""Latency and throughput of MCP calls: the pool, one raw SDK session, and a session per call.

Starts the tests' MCP server on loopback, calls its ``add`` tool, prints a Markdown table.  Each
round measures all ways in turn; ``beside the session`` compares a way with the raw session of
the same round, and gives the median of these ratios, which a busy machine disturbs least.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mcp import Client

from lib.mcp_client import MCPClient
from tests.mcp_client.conftest import RunningServer

ARGUMENTS = {"one": 1, "two": 2}
Call = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one way: milliseconds of single calls, calls/s at once, CPU ms of a call."""

    times: list[float]
    rate: float
    cpu: float

    @property
    def p50(self) -> float:
        return median(self.times)


async def latencies(call: Call, number: int) -> list[float]:
    """Milliseconds of each call, one after the other."""
    times = []
    for _ in range(number):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1e3)
    return times


async def throughput(call: Call, number: int, callers: int) -> float:
    """Calls a second with so many callers at once."""
    left = number

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(callers)))
    return number / (time.perf_counter() - began)


async def measure(url: str, number: int, callers: int, rounds: int) -> None:
    async def session_per_call() -> None:
        async with Client(url) as client:
            await client.call_tool("add", ARGUMENTS)

    async with Client(url) as raw, MCPClient(url) as pooled:
        ways: dict[str, tuple[Call, int]] = {
            "one open session of the SDK": (lambda: raw.call_tool("add", ARGUMENTS), number),
            "the pool": (lambda: pooled.call_tool("add", ARGUMENTS), number),
            "a session per call": (session_per_call, max(number // 10, 8)),
        }
        for call, _ in ways.values():
            await latencies(call, 10)
        rounds_of: dict[str, list[Round]] = {name: [] for name in ways}
        for turn in range(rounds):  # back and forth, so that the machine's moods touch all alike
            for name, (call, count) in list(ways.items())[:: -1 if turn % 2 else 1]:
                spent = time.process_time()
                rate = await throughput(call, count, callers)
                spent = (time.process_time() - spent) / count * 1e3
                rounds_of[name].append(Round(await latencies(call, count), rate, spent))
    report(rounds_of, callers)


def report(rounds_of: dict[str, list[Round]], callers: int) -> None:
    """Print the table."""
    print(
        f"| way | p50, ms | p99, ms | calls/s with {callers} callers | CPU of the client, ms "
        "| beside the session: p50 | calls/s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    (base, *_) = rounds_of.values()
    for name, rounds in rounds_of.items():
        times = [each for one in rounds for each in one.times]
        slower = median(one.p50 / other.p50 for one, other in zip(rounds, base, strict=True))
        faster = median(one.rate / other.rate for one, other in zip(rounds, base, strict=True))
        print(
            f"| {name} | {median(times):.2f} | {quantiles(times, n=100)[98]:.2f} "
            f"| {median(one.rate for one in rounds):.0f} "
            f"| {median(one.cpu for one in rounds):.2f} | {slower:.2f} | {faster:.2f} |"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--number", type=int, default=40, help="calls in a round")
    options.add_argument("--callers", type=int, default=8, help="concurrent callers")
    options.add_argument("--rounds", type=int, default=30, help="rounds in turns")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RunningServer(Path(folder))
        server.start()
        try:
            asyncio.run(measure(server.url, given.number, given.callers, given.rounds))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
