"""The MCP server, through the SDK's own client."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from lib.mcp_client import HTTPServer, MCPClient, MCPToolError
from tests.api.api_process import TOKEN, Api


def talk(api: Api, conversation: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    async def run() -> Any:
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
            transport = streamable_http_client(f"{api.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await conversation(client)

    return asyncio.run(run())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_memories_are_set_read_listed_and_deleted(api: Api, mode: str) -> None:
    async def conversation(client: Client) -> None:
        made = await client.call_tool("memory_set", {"key": "mcp/a", "value": {"n": [1]}})
        assert made.structured_content["value"] == {"n": [1]}
        timed = {"key": "mcp/b", "value": None, "ttl_seconds": 60}
        assert (await client.call_tool("memory_set", timed)).structured_content["expires_at"]
        read = await client.call_tool("memory_get", {"key": "mcp/a"})
        assert json.loads(read.content[0].text) == read.structured_content
        listed = await client.call_tool("memory_list", {"prefix": "mcp/", "limit": 10})
        assert [each["key"] for each in listed.structured_content["items"]] == ["mcp/a", "mcp/b"]
        for key in ("mcp/a", "mcp/b"):
            gone = await client.call_tool("memory_delete", {"key": key})
            assert gone.structured_content == {"deleted": True}
        again = await client.call_tool("memory_get", {"key": "mcp/a"})
        assert again.is_error
        assert again.structured_content["code"] == "not_found"

    talk(api, conversation, mode)


def test_search_prefers_memories_of_these_dimensions(api: Api) -> None:
    async def conversation(client: Client) -> Any:
        return await client.call_tool("memory_search", {"vector": [5.0, 1.0, 0.0], "k": 2})

    found = talk(api, conversation).structured_content
    assert found["collection"] == "public.memories.embedding"
    assert found["matches"][0] == {"key": {"id": 5}, "distance": 0.0}


def test_tools_say_what_they_take_and_which_are_safe(api: Api) -> None:
    async def conversation(client: Client) -> Any:
        return await client.list_tools()

    tools = {each.name: each for each in talk(api, conversation).tools}
    assert set(tools) == {f"memory_{n}" for n in ("set", "get", "list", "delete", "search")}
    assert tools["memory_get"].annotations.read_only_hint
    assert not tools["memory_set"].annotations.read_only_hint
    assert tools["memory_set"].annotations.idempotent_hint
    assert set(tools["memory_set"].input_schema["properties"]) == {"key", "value", "ttl_seconds"}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("memory_set", {"key": "", "value": 1}),
        ("memory_set", {"key": "a\x00", "value": 1}),
        ("memory_set", {"key": "a", "value": "\x00"}),
        ("memory_set", {"key": "a", "value": 2**70}),
        ("memory_set", {"key": "a"}),
        ("memory_get", {}),
        ("memory_list", {"limit": 0}),
        ("memory_search", {"vector": [], "k": 1}),
        ("memory_search", {"vector": [1.0, 2.0, 3.0], "k": 0}),
        ("memory_search", {"vector": [1e300, 2.0, 3.0], "k": 1}),
        ("no_such_tool", {}),
    ],
)
def test_wrong_arguments_are_errors_of_the_tool(api: Api, tool: str, arguments: Any) -> None:
    async def conversation(client: Client) -> Any:
        return await client.call_tool(tool, arguments)

    answer = talk(api, conversation)
    assert answer.is_error
    assert answer.structured_content["code"] in ("invalid_value", "unknown_tool")


def test_what_http_stores_mcp_reads(api: Api, client: httpx.Client) -> None:
    stored = client.put("/v1/memories/both", json={"value": "é"}).json()

    async def conversation(caller: Client) -> Any:
        return await caller.call_tool("memory_get", {"key": "both"})

    assert talk(api, conversation).structured_content == stored


def test_the_typed_calls_of_the_client_fit_these_tools(api: Api) -> None:
    async def conversation() -> None:
        async with MCPClient(HTTPServer(f"{api.url}/mcp", token=TOKEN)) as client:
            memory = client.memory()
            await memory.set("typed/a", {"n": [1]}, ttl_seconds=60)
            await memory.set("typed/none", None)
            listed = [(each.key, each.value) for each in await memory.list("typed/")]
            assert listed == [("typed/a", {"n": [1]}), ("typed/none", None)]
            for key, value in listed:
                found = await memory.get(key)
                assert found is not None
                assert (found.key, found.value) == (key, value)
                assert await memory.delete(key)
                assert not await memory.delete(key)
                assert await memory.get(key) is None
            with pytest.raises(MCPToolError, match="invalid_value"):
                await memory.get("")
            near = await memory.search([5.0, 1.0, 0.0], k=2)
            assert [(each.key, each.distance) for each in near] == [
                ('{"id": 5}', 0.0),
                (near[1].key, 1.0),
            ]
            with pytest.raises(MCPToolError, match="invalid_value"):
                await memory.search("five")
            for number in range(120):
                await memory.set(f"paged/{number:03}", number)
            every = await memory.list("paged/", limit=1000)
            assert [each.value for each in every] == list(range(120))
            assert len(await memory.list("paged/", limit=110)) == 110

    asyncio.run(conversation())
