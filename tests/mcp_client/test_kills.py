"""Servers are killed under load: nothing is lost that may be repeated, nothing else is repeated."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

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


class Load:
    """Callers of a safe and of an unsafe tool, while their server is killed again and again."""

    def __init__(self, client: MCPClient) -> None:
        self._client = client
        self._finished = asyncio.Event()
        self.sums: list[int] = []
        self.unsafe: dict[str, MCPClientError | None] = {}

    async def run(self, kill: Callable[[], Awaitable[None]]) -> None:
        workers = [asyncio.ensure_future(work()) for work in [self._read, self._write] * 4]
        for _ in range(2):
            await self._further()
            await kill()
        await self._further()
        self._finished.set()
        await asyncio.gather(*workers)

    def judge(self, lines: list[str]) -> None:
        """Against the server's own journal: nothing safe was lost, nothing unsafe ran twice."""
        assert set(self.sums) == {2}
        ran = Counter(line.removeprefix("once ") for line in lines)
        assert max(ran.values()) == 1, "nothing unsafe ran twice"
        for name, error in self.unsafe.items():
            if error is None:
                assert ran[name] == 1
            else:
                assert isinstance(error, MCPConnectionError)
                assert error.arrived, "what never arrived would have been repeated"

    async def _further(self) -> None:
        seen = len(self.sums)
        while len(self.sums) < seen + 100:
            await asyncio.sleep(0.005)

    async def _read(self) -> None:
        while not self._finished.is_set():
            called = await self._client.call_tool("add", {"one": 1, "two": 1})
            self.sums.append(called.structured_content["result"])

    async def _write(self) -> None:
        while not self._finished.is_set():
            name = os.urandom(8).hex()
            try:
                await self._client.call_tool("once", {"name": name})
                self.unsafe[name] = None
            except MCPClientError as error:
                self.unsafe[name] = error


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_http_server_killed_and_restarted_under_load(own_server, mode):
    options = ServerOptions(mode=mode, timeout=30, retry=PATIENT, breaker=TOLERANT)

    async def kill() -> None:
        own_server.kill()
        await asyncio.to_thread(own_server.start)

    async def main() -> Load:
        async with MCPClient(HTTPServer(own_server.url, options=options)) as client:
            load = Load(client)
            await load.run(kill)
            return load

    asyncio.run(asyncio.wait_for(main(), 60)).judge(own_server.lines())


def test_stdio_server_killed_under_load(tmp_path):
    journal = tmp_path / "journal"
    options = ServerOptions(timeout=30, retry=PATIENT, breaker=TOLERANT)
    server = StdioServer(sys.executable, [str(SERVER), "--journal", str(journal)], options=options)

    async def main() -> Load:
        async with MCPClient(server) as client:
            load = Load(client)

            async def kill() -> None:
                called = await client.call_tool("pid", idempotent=True)
                os.kill(called.structured_content["result"], signal.SIGKILL)

            await load.run(kill)
            return load

    load = asyncio.run(asyncio.wait_for(main(), 60))
    load.judge(journal.read_text().splitlines())


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
