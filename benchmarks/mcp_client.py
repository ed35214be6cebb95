"""Latency and throughput of MCP calls: the pool, one raw SDK session, and a session per call.

Starts the tests' MCP server on loopback, calls its ``add`` tool, prints a Markdown table.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mcp import Client

from lib.mcp_client import MCPClient
from tests.mcp_client.conftest import RunningServer

ARGUMENTS = {"one": 1, "two": 2}
Call = Callable[[], Awaitable[Any]]


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
            "a session per call": (session_per_call, max(number // 10, 10)),
        }
        for call, _ in ways.values():
            await latencies(call, 10)
        seen: dict[str, list[float]] = {name: [] for name in ways}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):  # in turns, so that the machine's moods touch all alike
            for name, (call, count) in ways.items():
                seen[name] += await latencies(call, count)
                rates[name].append(await throughput(call, count, callers))
    print(f"| way | p50, ms | p99, ms | calls/s with {callers} callers |")
    print("| --- | --- | --- | --- |")
    for name in ways:
        p99 = quantiles(seen[name], n=100)[98]
        print(f"| {name} | {median(seen[name]):.2f} | {p99:.2f} | {median(rates[name]):.0f} |")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--number", type=int, default=500, help="calls in a round")
    options.add_argument("--callers", type=int, default=8, help="concurrent callers")
    options.add_argument("--rounds", type=int, default=5, help="rounds in turns")
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
