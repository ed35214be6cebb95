"""The client: several servers under their names, and their tools under names of their own."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CallToolResult, Tool

from lib.mcp.errors import MCPSettingsError
from lib.mcp.memory import MemoryStore
from lib.mcp.server import MCPServer
from lib.mcp.settings import NO_CALLBACKS, Callbacks, HTTPServer, Server

SEPARATOR = "__"
"""Between a server's name and a tool's: what language models' APIs allow in a name."""


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool of one of the client's servers; ``name`` is unique in the client."""

    name: str
    server: str
    tool: Tool


class MCPClient:
    """A client of one or several MCP servers, for asyncio.

    ``servers`` maps names to servers; one server or one URL alone is named ``default``.  Used
    by ``async with``; sessions are opened by the first call that needs them.
    """

    def __init__(
        self,
        servers: Mapping[str, Server] | Server | str,
        *,
        callbacks: Callbacks = NO_CALLBACKS,
    ) -> None:
        if isinstance(servers, str):
            servers = HTTPServer(servers)
        named = dict(servers) if isinstance(servers, Mapping) else {"default": servers}
        for name in named:
            if not name or SEPARATOR in name:
                raise MCPSettingsError(
                    f"'{name}' cannot name an MCP server.",
                    expected=f"a name that is not empty and has no '{SEPARATOR}' in it",
                    remedy="choose another name",
                )
        self._settings: dict[str, Server] = named
        self._callbacks = callbacks
        self._servers: dict[str, MCPServer] = {}

    async def __aenter__(self) -> "MCPClient":
        self._servers = {
            name: MCPServer(name, server, self._callbacks)
            for name, server in self._settings.items()
        }
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(server.close() for server in self._servers.values()))
        self._servers = {}

    def __getitem__(self, name: str) -> MCPServer:
        if name not in self._servers:
            known = ", ".join(self._settings)
            raise MCPSettingsError(
                f"There is no open MCP server '{name}'.",
                expected=f"one of {known}, inside 'async with'",
                remedy="name one of them, or open the client",
            )
        return self._servers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def memory(self, server: str | None = None) -> MemoryStore:
        """The memory operations of a server; without a name, of the only one."""
        return MemoryStore(self._only() if server is None else self[server])

    async def tools(self, *, timeout: float | None = None) -> list[NamedTool]:
        """List the tools of all servers under names that are unique here."""
        listings = await asyncio.gather(
            *(self[name].list_tools(timeout=timeout) for name in self._settings)
        )
        return [
            NamedTool(f"{server}{SEPARATOR}{tool.name}", server, tool)
            for server, tools in zip(self._settings, listings, strict=True)
            for tool in tools
        ]

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        progress: ProgressFnT | None = None,
        idempotent: bool | None = None,
    ) -> CallToolResult:
        """Call a tool by ``server__tool``, or by its bare name where there is one server."""
        prefix, separator, rest = name.partition(SEPARATOR)
        if separator and prefix in self._settings:
            server, tool = self[prefix], rest
        else:
            server, tool = self._only(), name
        return await server.call_tool(
            tool, arguments, timeout=timeout, progress=progress, idempotent=idempotent
        )

    def _only(self) -> MCPServer:
        if len(self._settings) != 1:
            known = ", ".join(self._settings)
            raise MCPSettingsError(
                "Which MCP server is meant?",
                expected=f"one of {known}",
                remedy=f"say server{SEPARATOR}tool, or name the server",
            )
        return self[next(iter(self._settings))]
