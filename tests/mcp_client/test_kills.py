"""Servers are killed under load: nothing is lost that may be repeated, nothing else is repeated."""

import asyncio
import os
import sys
from collections import Counter

import pytest

from lib.circuit_breaker import CircuitBreakerConfig, CircuitState
from lib.mcp_client import (
    HTTPServer,
    MCPCircuitOpenError,
    MCPClient,
    MCPClientError,
    MCPConnectionError,
    PoolSettings,
    RetryPolicy,
    ServerOptions,
    StdioServer,
)
from tests.mcp_client.conftest import SERVER

PATIENT = RetryPolicy(attempts=1000, first_wait=0.02, longest_wait=0.1)
TOLERANT = CircuitBreakerConfig(minimum_number_of_calls=10_000, sliding_window_size=10_000)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_http_server_killed_and_restarted_under_load(own_server, mode):
    options = ServerOptions(mode=mode, timeout=30, retry=PATIENT, breaker=TOLERANT)
    sums: list[int] = []
    unsafe: dict[str, MCPClientError | None] = {}

    async def main() -> None:
        async with MCPClient(HTTPServer(own_server.url, options=options)) as client:
            finished = asyncio.Event()

            async def read() -> None:
                while not finished.is_set():
                    called = await client.call_tool("add", {"one": 1, "two": 1})
                    sums.append(called.structured_content["result"])

            async def write() -> None:
                while not finished.is_set():
                    name = os.urandom(8).hex()
                    try:
                        await client.call_tool("once", {"name": name})
                        unsafe[name] = None
                    except MCPClientError as error:
                        unsafe[name] = error

            workers = [asyncio.ensure_future(work()) for work in [read, write] * 4]
            for round_ in range(1, 3):
                while len(sums) < 100 * round_:
                    await asyncio.sleep(0.005)
                own_server.kill()
                await asyncio.to_thread(own_server.start)
            seen = len(sums)
            while len(sums) < seen + 100:
                await asyncio.sleep(0.005)
            finished.set()
            await asyncio.gather(*workers)

    asyncio.run(asyncio.wait_for(main(), 60))
    assert set(sums) == {2}
    ran = Counter(line.removeprefix("once ") for line in own_server.lines())
    assert max(ran.values()) == 1, "nothing unsafe ran twice"
    for name, error in unsafe.items():
        if error is None:
            assert ran[name] == 1
        else:
            assert isinstance(error, MCPConnectionError)
            assert error.arrived, "what never arrived would have been repeated"


def test_a_tool_that_kills_its_server_runs_once_unless_it_is_safe(tmp_path):
    journal = tmp_path / "journal"
    options = ServerOptions(retry=RetryPolicy(attempts=3, first_wait=0.01), breaker=TOLERANT)
    arguments = [str(SERVER), "--journal", str(journal)]

    async def main() -> None:
        async with MCPClient(StdioServer(sys.executable, arguments, options=options)) as client:
            with pytest.raises(MCPConnectionError) as lost:
                await client.call_tool("die_unsafely", {"name": "unsafe"})
            assert lost.value.arrived
            with pytest.raises(MCPConnectionError):
                await client.call_tool("die", {"name": "safe"})
            assert (await client.call_tool("add", {"one": 1, "two": 1})).structured_content

    asyncio.run(asyncio.wait_for(main(), 60))
    assert Counter(journal.read_text().splitlines()) == {"die unsafe": 1, "die safe": 3}


def test_annotations_are_believed_only_when_trusted(tmp_path):
    journal = tmp_path / "journal"
    options = ServerOptions(
        retry=RetryPolicy(attempts=3, first_wait=0.01), breaker=TOLERANT, trust_annotations=False
    )
    arguments = [str(SERVER), "--journal", str(journal)]

    async def main() -> None:
        async with MCPClient(StdioServer(sys.executable, arguments, options=options)) as client:
            with pytest.raises(MCPConnectionError):
                await client.call_tool("die", {"name": "untrusted"})

    asyncio.run(asyncio.wait_for(main(), 60))
    assert journal.read_text().splitlines() == ["die untrusted"]


def test_a_dead_idle_session_is_replaced_before_it_is_used(own_server):
    pool = PoolSettings(check_after_idle=0)
    options = ServerOptions(mode="legacy", pool=pool, retry=RetryPolicy(attempts=1))

    async def main() -> None:
        async with MCPClient(HTTPServer(own_server.url, options=options)) as client:
            first = await client.call_tool("pid")
            own_server.kill()
            await asyncio.to_thread(own_server.start)
            second = await client.call_tool("pid")
            assert first.structured_content != second.structured_content

    asyncio.run(asyncio.wait_for(main(), 60))


def test_an_unknown_session_was_not_served_so_even_unsafe_calls_go_on(own_server):
    options = ServerOptions(mode="legacy", retry=RetryPolicy(attempts=2, first_wait=0.01))

    async def main() -> None:
        async with MCPClient(HTTPServer(own_server.url, options=options)) as client:
            await client.call_tool("once", {"name": "before"})
            own_server.kill()
            await asyncio.to_thread(own_server.start)
            await client.call_tool("once", {"name": "after"})

    asyncio.run(asyncio.wait_for(main(), 60))
    assert own_server.lines() == ["once before", "once after"]


def test_the_breaker_holds_calls_back_and_lets_them_through_again(own_server):
    breaker = CircuitBreakerConfig(
        sliding_window_size=4,
        minimum_number_of_calls=2,
        wait_duration_in_open_state=0.05,
        permitted_number_of_calls_in_half_open_state=1,
    )
    options = ServerOptions(breaker=breaker, retry=RetryPolicy(attempts=1))

    async def main() -> None:
        async with MCPClient(HTTPServer(own_server.url, options=options)) as client:
            await client.call_tool("pid")
            own_server.kill()
            failures = []
            while not failures or not isinstance(failures[-1], MCPCircuitOpenError):
                try:
                    await client.call_tool("add", {"one": 1, "two": 1})
                except MCPClientError as error:
                    failures.append(error)
            assert failures[-1].retry_after is not None
            await asyncio.to_thread(own_server.start)
            while client["default"].breaker.state is not CircuitState.CLOSED:
                try:
                    await client.call_tool("pid")
                except MCPCircuitOpenError as held:
                    await asyncio.sleep(held.retry_after or 0.01)

    asyncio.run(asyncio.wait_for(main(), 60))
