"""The memory operations as an MCP server: Streamable HTTP, stateless, in the API's process."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import (
    CallToolResult,
    ListToolsResult,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.api.errors import ApiError, NotHere
from lib.api.models import LARGEST_K, LARGEST_PAGE, Component, MemoryIn
from lib.api.routes import matches_text
from lib.api.service import Service
from lib.api.values import DIMENSIONS, KEY_LENGTH

log = logging.getLogger(__name__)

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Key(_Arguments):
    key: str = Field(min_length=1, max_length=KEY_LENGTH)


class _Set(MemoryIn):
    key: str = Field(min_length=1, max_length=KEY_LENGTH)


class _List(_Arguments):
    prefix: str = Field(default="", max_length=KEY_LENGTH)
    limit: int = Field(default=50, ge=1, le=LARGEST_PAGE, strict=True)
    cursor: str = Field(default="", max_length=4096)


class _Search(_Arguments):
    vector: list[Component] = Field(min_length=1, max_length=DIMENSIONS)
    k: int = Field(default=10, ge=1, le=LARGEST_K, strict=True)
    collection: str = Field(default="", max_length=KEY_LENGTH)


class MemoryTools:
    """The five tools; each answers with a JSON object as text and as structured content."""

    def __init__(self, service: Service) -> None:
        self._service = service
        read = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        write = ToolAnnotations(
            read_only_hint=False, idempotent_hint=True, destructive_hint=True, open_world_hint=False
        )
        self._tools: dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[str]]]] = {}
        self._listed: list[Tool] = []
        self._add("memory_set", "Store a JSON value under a key.", _Set, self._set, write)
        self._add("memory_get", "The memory stored under a key.", _Key, self._get, read)
        self._add("memory_list", "Memories by key prefix.", _List, self._list, read)
        self._add("memory_delete", "Delete a memory.", _Key, self._delete, write)
        self._add(
            "memory_search", "Rows whose embeddings are nearest.", _Search, self._search, read
        )

    async def list(self, _context: Any, _params: Any) -> ListToolsResult:
        """All tools."""
        return ListToolsResult(tools=self._listed)

    async def call(self, _context: Any, params: Any) -> CallToolResult:
        """Run one tool; what went wrong is told in the result, as the protocol wants."""
        if params.name not in self._tools:
            return _failed("unknown_tool", f"There is no tool {params.name!r}.")
        shape, run = self._tools[params.name]
        try:
            text = await run(shape.model_validate(params.arguments or {}))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"]))
            return _failed("invalid_value", f"{place}: {first['msg']}")
        except ApiError as error:
            return _failed(error.code, error.what)
        return _result(text)

    def _add(
        self,
        name: str,
        about: str,
        shape: type[BaseModel],
        run: Callable[[Any], Awaitable[str]],
        annotations: ToolAnnotations,
    ) -> None:
        self._tools[name] = (shape, run)
        schema = shape.model_json_schema()
        self._listed.append(
            Tool(name=name, description=about, input_schema=schema, annotations=annotations)
        )

    async def _set(self, given: _Set) -> str:
        memories = self._service.memories
        return (await memories.set(given.key, given.value, given.ttl_seconds)).decode()

    async def _get(self, given: _Key) -> str:
        document = await self._service.memories.get(given.key)
        if document is None:
            raise NotHere("There is no memory of this key.")
        return document.decode()

    async def _list(self, given: _List) -> str:
        page = await self._service.memories.list(given.prefix, given.limit, given.cursor)
        items = ",".join(page.documents)
        return f'{{"items":[{items}],"next_cursor":{json.dumps(page.next_cursor)}}}'

    async def _delete(self, given: _Key) -> str:
        return json.dumps({"deleted": await self._service.memories.delete(given.key)})

    async def _search(self, given: _Search) -> str:
        search = self._service.search
        where = await search.choose(given.collection, len(given.vector), like="memor")
        return matches_text(where, await search.nearest(where, given.vector, given.k))


def session_manager(service: Service) -> StreamableHTTPSessionManager:
    """The MCP server as an ASGI handler; stateless, so that any instance answers any request.

    Host and Origin are checked on loopback without a token, where a web page that rebinds its
    name could reach it.  A token no such page has; and without one elsewhere, the names that the
    service is reached by are not known here.
    """
    configuration = service.configuration
    loopback = configuration.host in ("127.0.0.1", "::1", "localhost")
    checked = TransportSecuritySettings(
        enable_dns_rebinding_protection=loopback and not configuration.token,
        allowed_hosts=[f"{name}:*" for name in _LOOPBACK],
        allowed_origins=[f"http://{name}:*" for name in _LOOPBACK],
    )
    tools = MemoryTools(service)
    server: Server[Any] = Server(
        "ai-orchestra-memory",
        version="1",
        instructions="Key-value memories and vector search of AI Orchestra.",
        on_list_tools=tools.list,
        on_call_tool=tools.call,
    )
    return StreamableHTTPSessionManager(
        server,
        json_response=True,
        stateless=True,
        security_settings=checked,
        max_request_body_size=configuration.max_body_bytes,
    )


def _result(text: str) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=json.loads(text)
    )


def _failed(code: str, detail: str) -> CallToolResult:
    problem = {"code": code, "detail": detail}
    return CallToolResult(
        content=[TextContent(type="text", text=json.dumps(problem))],
        structured_content=problem,
        is_error=True,
    )
