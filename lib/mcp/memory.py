"""The platform's memory operations as typed calls of its MCP tools."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mcp_types import CallToolResult

from lib.mcp.errors import MCPProtocolError, MCPToolError
from lib.mcp.server import MCPServer


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory; in a search ``score`` or ``distance`` tells how near it is, as the server has it.

    ``key`` is JSON where a server names what it found by several columns; ``details`` is what
    else it said.
    """

    key: str
    value: Any
    score: float | None = None
    distance: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


Memories: TypeAlias = list[Memory]
_FIELDS = ("key", "value", "score", "distance")
_PAGE = 100


class MemoryStore:
    """Memories behind a server's ``memory_*`` tools; ``timeout`` in seconds for every call.

    Reads are repeated after a lost connection; ``set`` and ``delete`` when the server calls
    those tools idempotent.  Raises ``MCPClientError``'s family.
    """

    def __init__(self, server: MCPServer) -> None:
        self._server = server

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl_seconds: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Keep ``value`` (whatever JSON can say) under ``key``, for ``ttl_seconds`` if given."""
        arguments = {"key": key, "value": value}
        if ttl_seconds is not None:
            arguments["ttl_seconds"] = ttl_seconds
        await self._server.call_tool("memory_set", arguments, timeout=timeout)

    async def get(self, key: str, *, timeout: float | None = None) -> Memory | None:
        """Get the memory of this key, or None."""
        try:
            found = await self._read("memory_get", {"key": key}, timeout)
        except MCPToolError as error:
            if (error.result.structured_content or {}).get("code") == "not_found":
                return None
            raise
        if found is None or (isinstance(found, Mapping) and found.get("found") is False):
            return None
        if isinstance(found, Mapping) and "value" in found:
            return _memory({"key": key, **found})
        return Memory(key, found)

    async def delete(self, key: str, *, timeout: float | None = None) -> bool:
        """Delete the memory of this key; say whether there was one, as far as the server tells."""
        result = await self._server.call_tool("memory_delete", {"key": key}, timeout=timeout)
        said = _content(result)
        if isinstance(said, Mapping):
            said = said.get("deleted", True)
        return bool(said)

    async def list(
        self, prefix: str = "", *, limit: int = 100, timeout: float | None = None
    ) -> Memories:
        """List memories whose key begins with ``prefix``, at most ``limit``, page by page.

        ``timeout`` holds for each page.
        """
        found: Memories = []
        cursor = ""
        while True:
            arguments = {"prefix": prefix, "limit": min(limit - len(found), _PAGE)}
            if cursor:
                arguments["cursor"] = cursor
            said = await self._read("memory_list", arguments, timeout)
            more = _memories(said, "memory_list")
            found += more
            cursor = (said.get("next_cursor") or "") if isinstance(said, Mapping) else ""
            if not cursor or not more or len(found) >= limit:
                return found

    async def search(
        self, what: str | Sequence[float], *, k: int = 10, timeout: float | None = None
    ) -> Memories:
        """Find the ``k`` memories nearest to a text or to a vector, nearest first.

        Servers may take one of them only, and refuse the other with ``MCPToolError``: the
        platform's own takes vectors.
        """
        arguments: dict[str, Any] = {"k": k}
        if isinstance(what, str):
            arguments["text"] = what
        else:
            arguments["vector"] = [float(number) for number in what]
        return _memories(await self._read("memory_search", arguments, timeout), "memory_search")

    async def _read(self, tool: str, arguments: Mapping[str, Any], timeout: float | None) -> Any:
        return _content(
            await self._server.call_tool(tool, arguments, timeout=timeout, idempotent=True)
        )


def _content(result: CallToolResult) -> Any:
    said: Any = result.structured_content
    if said is None:
        texts = [part.text for part in result.content if part.type == "text"]
        if not texts:
            return None
        try:
            said = [json.loads(text) for text in texts]
        except ValueError:
            return texts[0]
        return said[0] if len(said) == 1 else said
    return said["result"] if set(said) == {"result"} else said


def _memory(said: Mapping[str, Any]) -> Memory:
    rest = {name: value for name, value in said.items() if name not in _FIELDS}
    key = said["key"] if isinstance(said["key"], str) else json.dumps(said["key"])
    return Memory(key, said.get("value"), said.get("score"), said.get("distance"), rest)


def _memories(said: Any, tool: str) -> Memories:
    if isinstance(said, Mapping):
        lists = [value for value in said.values() if isinstance(value, list)]
        said = lists[0] if len(lists) == 1 else said
    if said is None:
        return []
    if not isinstance(said, list):
        raise MCPProtocolError(f"{tool} answered {type(said).__name__}, not a list of memories.")
    return [_memory(one) if isinstance(one, Mapping) else Memory(str(one), None) for one in said]
