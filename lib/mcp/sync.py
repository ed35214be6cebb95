"""The client for threads: the same calls, made on an event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from mcp.shared.dispatcher import ProgressFnT
from mcp_types import (
    CallToolResult,
    Completion,
    GetPromptResult,
    Prompt,
    PromptReference,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    ResourceTemplateReference,
    Tool,
)

from lib.mcp.client import MCPClient, NamedTool
from lib.mcp.errors import MCPSettingsError
from lib.mcp.memory import Memories, Memory, MemoryStore
from lib.mcp.server import MCPServer
from lib.mcp.settings import NO_CALLBACKS, Callbacks, Server

R = TypeVar("R")


class _Loop:
    """An event loop in a daemon thread, to which other threads give work."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Do it there, wait here; an interrupted wait cancels the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncMemoryStore:
    """``MemoryStore`` for threads."""

    def __init__(self, loop: _Loop, store: MemoryStore) -> None:
        self._run = loop.run
        self._store = store

    def set(
        self,
        key: str,
        value: Any,
        *,
        ttl_seconds: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Keep ``value`` under ``key``, for ``ttl_seconds`` if given."""
        self._run(self._store.set(key, value, ttl_seconds=ttl_seconds, timeout=timeout))

    def get(self, key: str, *, timeout: float | None = None) -> Memory | None:
        """Get the memory of this key, or None."""
        return self._run(self._store.get(key, timeout=timeout))

    def delete(self, key: str, *, timeout: float | None = None) -> bool:
        """Delete the memory of this key; say whether there was one."""
        return self._run(self._store.delete(key, timeout=timeout))

    def list(self, prefix: str = "", *, limit: int = 100, timeout: float | None = None) -> Memories:
        """List memories whose key begins with ``prefix``."""
        return self._run(self._store.list(prefix, limit=limit, timeout=timeout))

    def search(
        self, what: str | Sequence[float], *, k: int = 10, timeout: float | None = None
    ) -> Memories:
        """Find the ``k`` nearest memories."""
        return self._run(self._store.search(what, k=k, timeout=timeout))


class SyncMCPServer:
    """``MCPServer`` for threads."""

    def __init__(self, loop: _Loop, server: MCPServer) -> None:
        self._run = loop.run
        self._server = server
        self.name = server.name
        self.breaker = server.breaker

    def list_tools(self, *, timeout: float | None = None) -> list[Tool]:
        """List all tools."""
        return self._run(self._server.list_tools(timeout=timeout))

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        progress: ProgressFnT | None = None,
        idempotent: bool | None = None,
    ) -> CallToolResult:
        """Call a tool; ``progress`` is awaited on the client's loop."""
        return self._run(
            self._server.call_tool(
                name, arguments, timeout=timeout, progress=progress, idempotent=idempotent
            )
        )

    def list_resources(self, *, timeout: float | None = None) -> list[Resource]:
        """List all resources."""
        return self._run(self._server.list_resources(timeout=timeout))

    def list_resource_templates(self, *, timeout: float | None = None) -> list[ResourceTemplate]:
        """List all resource templates."""
        return self._run(self._server.list_resource_templates(timeout=timeout))

    def read_resource(self, uri: str, *, timeout: float | None = None) -> ReadResourceResult:
        """Read a resource."""
        return self._run(self._server.read_resource(uri, timeout=timeout))

    def list_prompts(self, *, timeout: float | None = None) -> list[Prompt]:
        """List all prompts."""
        return self._run(self._server.list_prompts(timeout=timeout))

    def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> GetPromptResult:
        """Get a prompt with its arguments filled in."""
        return self._run(self._server.get_prompt(name, arguments, timeout=timeout))

    def complete(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: Mapping[str, str],
        context: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Completion:
        """Ask for completions of an argument."""
        return self._run(self._server.complete(ref, argument, context, timeout=timeout))


class SyncMCPClient:
    """``MCPClient`` for threads, any number of them at once; used by ``with``."""

    def __init__(
        self,
        servers: Mapping[str, Server] | Server | str,
        *,
        callbacks: Callbacks = NO_CALLBACKS,
    ) -> None:
        self._client = MCPClient(servers, callbacks=callbacks)
        self._loop: _Loop | None = None

    def __enter__(self) -> "SyncMCPClient":
        self._loop = _Loop()
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        loop, self._loop = self._open(), None
        try:
            loop.run(self._client.__aexit__(None, None, None))
        finally:
            loop.stop()

    def __getitem__(self, name: str) -> SyncMCPServer:
        return SyncMCPServer(self._open(), self._client[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._client)

    def memory(self, server: str | None = None) -> SyncMemoryStore:
        """The memory operations of a server; without a name, of the only one."""
        return SyncMemoryStore(self._open(), self._client.memory(server))

    def tools(self, *, timeout: float | None = None) -> list[NamedTool]:
        """List the tools of all servers under names that are unique here."""
        return self._open().run(self._client.tools(timeout=timeout))

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        progress: ProgressFnT | None = None,
        idempotent: bool | None = None,
    ) -> CallToolResult:
        """Call a tool by ``server__tool``, or by its bare name where there is one server."""
        return self._open().run(
            self._client.call_tool(
                name, arguments, timeout=timeout, progress=progress, idempotent=idempotent
            )
        )

    def _open(self) -> _Loop:
        if self._loop is None:
            raise MCPSettingsError("The client is not open.", remedy="use it inside 'with'")
        return self._loop
