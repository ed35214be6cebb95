"""The client against real servers, over Streamable HTTP and stdio, in both protocol eras."""

import asyncio
import concurrent.futures
import os
import sys

import pytest
from mcp_types import ElicitResult, PromptReference

from lib.mcp_client import (
    Callbacks,
    HTTPServer,
    MCPClient,
    MCPConnectionError,
    MCPPoolExhaustedError,
    MCPProtocolError,
    MCPSettingsError,
    MCPTimeoutError,
    MCPToolError,
    MCPUnauthorizedError,
    PoolSettings,
    RetryPolicy,
    ServerOptions,
    StdioServer,
    SyncMCPClient,
)
from tests.mcp_client.conftest import SERVER, RunningServer

ONE_SESSION = PoolSettings(max_sessions=1)


def stdio(folder, **options) -> StdioServer:
    arguments = [str(SERVER), "--journal", str(folder / "journal")]
    return StdioServer(sys.executable, arguments, options=ServerOptions(**options))


@pytest.fixture(params=["http", "http legacy", "stdio"])
def server(request, tmp_path, shared_server):
    if request.param == "stdio":
        return stdio(tmp_path)
    mode = "legacy" if "legacy" in request.param else "auto"
    return HTTPServer(shared_server.url, options=ServerOptions(mode=mode))


async def journal_has(path, line: str) -> None:
    while not path.exists() or line not in path.read_text().splitlines():
        await asyncio.sleep(0.01)


def test_tools_resources_prompts_and_completion(server):
    async def main() -> None:
        async with MCPClient({"all": server}) as client:
            called = await client.call_tool("all__add", {"one": 1, "two": 2})
            assert called.structured_content == {"result": 3}
            assert "all__add" in [tool.name for tool in await client.tools()]
            one = client["all"]
            assert [str(resource.uri) for resource in await one.list_resources()] == [
                "note://first"
            ]
            (template,) = await one.list_resource_templates()
            assert template.uri_template == "note://{name}"
            read = await one.read_resource("note://second")
            assert read.contents[0].text == "note second"
            assert [prompt.name for prompt in await one.list_prompts()] == ["review"]
            prompt = await one.get_prompt("review", {"code": "x = 1"})
            assert prompt.messages[0].content.text == "Review x = 1"
            completion = await one.complete(
                PromptReference(name="review"), {"name": "code", "value": "re"}
            )
            assert completion.values == ["red", "green"]

    asyncio.run(main())


def test_memories_are_typed(server):
    async def main() -> None:
        async with MCPClient(server) as client:
            memory = client.memory()
            name = os.urandom(4).hex()
            await memory.set(f"{name}/1", {"text": name}, ttl_seconds=60)
            await memory.set(f"{name}/2", "other")
            found = await memory.get(f"{name}/1")
            assert (found.key, found.value) == (f"{name}/1", {"text": name})
            assert [one.key for one in await memory.list(f"{name}/")] == [
                f"{name}/1",
                f"{name}/2",
            ]
            assert [one.key for one in await memory.list(f"{name}/", limit=1)] == [f"{name}/1"]
            (near,) = await memory.search(name, k=3)
            assert near.score == 1.0
            assert await memory.delete(f"{name}/1") is True
            assert await memory.delete(f"{name}/1") is False
            assert await memory.get(f"{name}/1") is None

    asyncio.run(main())


def test_the_sync_face_serves_threads(server):
    with SyncMCPClient({"one": server}) as client:

        def work(number: int) -> int:
            called = client["one"].call_tool("add", {"one": number, "two": 1})
            return called.structured_content["result"]

        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            assert list(threads.map(work, range(40))) == list(range(1, 41))
        client.memory().set("sync", 1)
        assert client.memory("one").get("sync").value == 1
    with pytest.raises(MCPSettingsError):
        client.tools()


def test_a_failed_tool_says_which_and_why(server):
    async def main() -> None:
        async with MCPClient({"some": server}) as client:
            with pytest.raises(MCPToolError, match="it is broken") as failed:
                await client.call_tool("some__broken")
            error = failed.value
            assert (error.server, error.method) == ("some", "tools/call broken")
            assert error.result.is_error
            with pytest.raises(MCPProtocolError) as refused:
                await client["some"].read_resource("other://nothing")
            assert refused.value.request_id is not None
            assert refused.value.elapsed > 0
            assert refused.value.code is not None
            assert refused.value.__cause__ is not None

    asyncio.run(main())


def test_a_deadline_cancels_the_call_on_the_server(server, shared_server, tmp_path):
    journal = tmp_path / "journal" if isinstance(server, StdioServer) else shared_server.journal
    name = os.urandom(4).hex()

    async def main() -> None:
        async with MCPClient(server) as client:
            await client.tools()
            with pytest.raises(MCPTimeoutError) as late:
                await client.call_tool("hang", {"name": name}, timeout=0.5)
            assert late.value.arrived
            await journal_has(journal, f"cancelled {name}")

    asyncio.run(asyncio.wait_for(main(), 20))


def test_cancelling_a_task_cancels_the_call_on_the_server(server, shared_server, tmp_path):
    journal = tmp_path / "journal" if isinstance(server, StdioServer) else shared_server.journal
    name = os.urandom(4).hex()

    async def main() -> None:
        async with MCPClient(server) as client:
            task = asyncio.ensure_future(client.call_tool("hang", {"name": name}))
            await journal_has(journal, f"hang {name}")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await journal_has(journal, f"cancelled {name}")
            assert client["default"].breaker.metrics.calls.calls == 0

    asyncio.run(asyncio.wait_for(main(), 20))


def test_progress_and_questions_reach_the_caller(server):
    async def answer(context, question) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def main() -> None:
        seen: list[tuple[float, str]] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append((done, message))

        async with MCPClient(server, callbacks=Callbacks(elicitation=answer)) as client:
            await client.call_tool("steps", progress=progress)
            assert seen == [(0, "step 0"), (1, "step 1"), (2, "step 2")]

    asyncio.run(main())


def test_questions_in_the_handshake_era(shared_server):
    async def answer(context, question) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def main() -> None:
        server = HTTPServer(shared_server.url, options=ServerOptions(mode="legacy"))
        async with MCPClient(server, callbacks=Callbacks(elicitation=answer)) as client:
            called = await client.call_tool("greet")
            assert called.content[0].text == "hello Ada"

    asyncio.run(main())


def test_several_servers_stand_behind_one_client(shared_server, tmp_path):
    async def main() -> None:
        servers = {"web": HTTPServer(shared_server.url), "local": stdio(tmp_path)}
        async with MCPClient(servers) as client:
            pids = [await client.call_tool(f"{name}__pid") for name in client]
            assert len({called.structured_content["result"] for called in pids}) == 2
            names = [tool.name for tool in await client.tools()]
            assert len(names) == len(set(names)) == 28
            with pytest.raises(MCPSettingsError, match="Which"):
                await client.call_tool("pid")
            with pytest.raises(MCPSettingsError, match="no open MCP server"):
                client["other"]

    asyncio.run(main())


def test_calls_share_a_session_and_the_pool_grows_to_its_bound(shared_server):
    pool = PoolSettings(max_sessions=2, calls_per_session=2, wait_for_session=0.2)
    options = ServerOptions(pool=pool, retry=RetryPolicy(attempts=1))

    async def main() -> None:
        async with MCPClient(HTTPServer(shared_server.url, options=options)) as client:
            server = client["default"]
            assert server.sessions == 0, "none before the first call"
            names = [os.urandom(4).hex() for _ in range(4)]
            hanging = []
            for number, name in enumerate(names):
                hanging.append(asyncio.ensure_future(client.call_tool("hang", {"name": name})))
                await journal_has(shared_server.journal, f"hang {name}")
                assert server.sessions == 1 + number // 2
            with pytest.raises(MCPPoolExhaustedError) as busy:
                await client.call_tool("pid")
            assert not busy.value.arrived
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
            await client.call_tool("pid")
            server._pool._settings = PoolSettings(close_after_idle=-1)
            server._pool.reap()
            assert server.sessions == 0

    asyncio.run(main())


@pytest.mark.parametrize("opened", [True, False], ids=["on a session", "while it opens"])
def test_cancellation_at_any_await_leaves_the_pool_whole(shared_server, opened):
    pool = PoolSettings(max_sessions=1, calls_per_session=1, wait_for_session=20)
    server = HTTPServer(shared_server.url, options=ServerOptions(pool=pool))

    async def cancelled_after(client: MCPClient, steps: int) -> None:
        task = asyncio.ensure_future(client.call_tool("add", {"one": 1, "two": 1}))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        waiting = client.call_tool("add", {"one": 1, "two": 1})
        assert (await waiting).structured_content == {"result": 2}
        assert client["default"]._pool.calls == 0

    async def main() -> None:
        if opened:
            async with MCPClient(server) as client:
                for steps in range(40):
                    await cancelled_after(client, steps)
            return
        for steps in range(0, 40, 4):
            async with MCPClient(server) as client:
                await cancelled_after(client, steps)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_turn_that_is_cancelled_goes_to_the_next(shared_server):
    pool = PoolSettings(max_sessions=1, calls_per_session=1, wait_for_session=20)
    server = HTTPServer(shared_server.url, options=ServerOptions(pool=pool))

    async def main() -> None:
        async with MCPClient(server) as client:
            async with client["default"].session():
                first, second = (asyncio.ensure_future(client.call_tool("pid")) for _ in range(2))
                while len(client["default"]._pool._waiting) < 2:
                    await asyncio.sleep(0)
            first.cancel()  # its turn has come, but it has not run yet
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await second).structured_content

    asyncio.run(asyncio.wait_for(main(), 20))


def test_closing_waits_for_calls_under_way(shared_server):
    async def main() -> None:
        client = await MCPClient(shared_server.url).__aenter__()
        calls = [client.call_tool("add", {"one": n, "two": 0}) for n in range(20)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        while not client["default"]._pool.calls:
            await asyncio.sleep(0)
        await client.__aexit__(None, None, None)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        done = [result for result in results if not isinstance(result, Exception)]
        refused = [result for result in results if isinstance(result, MCPSettingsError)]
        assert len(done) + len(refused) == 20
        assert done

    asyncio.run(main())


def test_tokens_are_sent_renewed_and_never_shown(tmp_path, caplog):
    secret = "very-secret-" + os.urandom(4).hex()
    running = RunningServer(tmp_path, token=secret)
    running.start()
    given: list[str] = ["stale"]
    caplog.set_level("DEBUG")

    async def main() -> None:
        wrong = HTTPServer(running.url, token="wrong")
        async with MCPClient(wrong) as client:
            with pytest.raises(MCPUnauthorizedError):
                await client.call_tool("pid")
        right = HTTPServer(running.url, token=secret)
        assert secret not in repr(right)
        async with MCPClient(right) as client:
            await client.call_tool("pid")

        async def renewed() -> str:
            return given.pop() if given else secret

        async with MCPClient(HTTPServer(running.url, token=renewed)) as client:
            await client.call_tool("pid")

    try:
        asyncio.run(main())
    finally:
        running.kill()
    assert secret not in caplog.text


def test_an_unreachable_server_is_one_clear_error(tmp_path):
    closed = RunningServer(tmp_path)
    options = ServerOptions(retry=RetryPolicy(attempts=2, first_wait=0.01))

    async def main() -> None:
        servers = {
            "http": HTTPServer(closed.url, options=options),
            "command": StdioServer("/no/such/command", options=options),
        }
        async with MCPClient(servers) as client:
            for name in client:
                with pytest.raises(MCPConnectionError) as failed:
                    await client.call_tool(f"{name}__add")
                assert not failed.value.arrived
                assert failed.value.transient
                assert isinstance(failed.value.__cause__, Exception)

    asyncio.run(main())
