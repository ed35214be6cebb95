"""One server's calls: with a deadline, through the breaker, repeated only where that is safe."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from mcp import Client
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

from lib.breaker.breaker import CircuitBreaker
from lib.breaker.errors import CircuitOpenError
from lib.mcp.errors import (
    MCPCircuitOpenError,
    MCPClientError,
    MCPConnectionError,
    MCPPoolExhaustedError,
    MCPServerError,
    MCPTimeoutError,
)
from lib.mcp.failures import explain, tool_failed
from lib.mcp.pool import SessionPool
from lib.mcp.settings import Callbacks, Server
from lib.mcp.wire import Attempt, current

R = TypeVar("R")
T = TypeVar("T")


def unwell(error: BaseException) -> bool:
    """Say whether an error says that the server is unwell; a refusal or a failed tool does not."""
    kinds = (MCPConnectionError, MCPTimeoutError, MCPServerError)
    return isinstance(error, kinds) and error.transient


class _Page(Protocol):
    next_cursor: str | None


class MCPServer:
    """One server behind an ``MCPClient``: its tools, resources, prompts and completion.

    Every call takes ``timeout`` in seconds (else ``ServerOptions.timeout``) and raises
    ``MCPClientError``'s family.
    """

    def __init__(self, name: str, server: Server, callbacks: Callbacks) -> None:
        self.name = name
        self.options = server.options
        self.breaker = CircuitBreaker(
            f"mcp:{name}", replace(server.options.breaker, record_exceptions=(unwell,))
        )
        self._tools: dict[str, Tool] = {}
        self._pool = SessionPool(server, callbacks, self._learn_tools)

    async def close(self) -> None:
        """Drain and close."""
        await self._pool.close()

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._pool)

    # Tools --------------------------------------------------------------------------------

    async def list_tools(self, *, timeout: float | None = None) -> list[Tool]:
        """List all tools, page after page."""
        tools = await self._list("tools/list", Client.list_tools, "tools", timeout)
        self._tools = {tool.name: tool for tool in tools}
        return tools

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        progress: ProgressFnT | None = None,
        idempotent: bool | None = None,
    ) -> CallToolResult:
        """Call a tool; raises ``MCPToolError`` when it reports a failure.

        It is repeated after it may have arrived only when ``idempotent`` says that it may be
        or, with None, when the server calls it read-only or idempotent.
        """
        method = f"tools/call {name}"

        async def call(client: Client) -> CallToolResult:
            return await client.call_tool(name, dict(arguments or {}), progress_callback=progress)

        def safe() -> bool:
            return self._repeatable(name) if idempotent is None else idempotent

        result = await self._request(method, call, safe=safe, timeout=timeout)
        if result.is_error:
            failure = tool_failed(result, self.name, name)
            failure.server, failure.method = self.name, method
            raise failure
        return result

    # Resources, prompts, completion -------------------------------------------------------

    async def list_resources(self, *, timeout: float | None = None) -> list[Resource]:
        """List all resources, page after page."""
        return await self._list("resources/list", Client.list_resources, "resources", timeout)

    async def list_resource_templates(
        self, *, timeout: float | None = None
    ) -> list[ResourceTemplate]:
        """List all resource templates, page after page."""
        listing = Client.list_resource_templates
        return await self._list("resources/templates/list", listing, "resource_templates", timeout)

    async def read_resource(self, uri: str, *, timeout: float | None = None) -> ReadResourceResult:
        """Read a resource."""
        return await self._request(
            "resources/read", lambda client: client.read_resource(uri), timeout=timeout
        )

    async def list_prompts(self, *, timeout: float | None = None) -> list[Prompt]:
        """List all prompts, page after page."""
        return await self._list("prompts/list", Client.list_prompts, "prompts", timeout)

    async def get_prompt(
        self,
        name: str,
        arguments: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> GetPromptResult:
        """Get a prompt with its arguments filled in."""
        filled = dict(arguments or {})
        return await self._request(
            "prompts/get", lambda client: client.get_prompt(name, filled), timeout=timeout
        )

    async def complete(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: Mapping[str, str],
        context: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Completion:
        """Ask for completions of an argument, given as ``{"name": ..., "value": ...}``."""
        known = dict(context) if context else None
        result = await self._request(
            "completion/complete",
            lambda client: client.complete(ref, dict(argument), known),
            timeout=timeout,
        )
        return result.completion

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Client, None]:
        """Lend a session's SDK client, for what has no method here; without retries."""
        attempt = Attempt()
        try:
            async with self._pool.session() as session:
                yield session.client
        except MCPClientError:
            raise
        except Exception as error:
            raise explain(error, attempt, self.name, "session") from error

    # How a call is made -------------------------------------------------------------------

    async def _request(
        self,
        method: str,
        call: Callable[[Client], Awaitable[R]],
        *,
        timeout: float | None,
        safe: Callable[[], bool] = lambda: True,
    ) -> R:
        clock = asyncio.get_running_loop().time
        started = clock()
        deadline = started + (self.options.timeout if timeout is None else timeout)
        failures = 0
        while True:
            try:
                return await self.breaker.acall(self._attempt, method, call, deadline, safe)
            except CircuitOpenError as refusal:
                failure: MCPClientError = self._held_back(refusal, method)
                wait, again = refusal.retry_after or 0.0, failures > 0
            except MCPClientError as error:
                failure, wait = error, 0.0
                again = not error.arrived or safe()
                again = again and (unwell(error) or isinstance(error, MCPPoolExhaustedError))
            failures += 1
            wait = max(wait, self.options.retry.wait(failures, random.random()))
            out_of_tries = failures >= self.options.retry.attempts
            if not again or out_of_tries or clock() + wait >= deadline:
                failure.elapsed = clock() - started
                raise failure
            await asyncio.sleep(wait)

    async def _attempt(
        self,
        method: str,
        call: Callable[[Client], Awaitable[R]],
        deadline: float,
        safe: Callable[[], bool],
    ) -> R:
        longest = self.options.attempt_timeout
        if longest is not None and safe():
            deadline = min(deadline, asyncio.get_running_loop().time() + longest)
        attempt = Attempt()
        before = current.set(attempt)
        try:
            async with asyncio.timeout_at(deadline), self._pool.session() as session:
                try:
                    return await call(session.client)
                except Exception as error:
                    failure = explain(session.failure or error, attempt, self.name, method)
                    if isinstance(failure, MCPConnectionError):
                        self._pool.retire(session)
                    raise failure from failure.__cause__
        except MCPClientError:
            raise
        except Exception as error:
            failure = explain(error, attempt, self.name, method)
            raise failure from failure.__cause__
        finally:
            current.reset(before)

    def _held_back(self, refusal: CircuitOpenError, method: str) -> MCPCircuitOpenError:
        failure = MCPCircuitOpenError(
            f"MCP server '{self.name}' failed too often: {refusal.what}",
            expected=refusal.expected,
            remedy=refusal.remedy,
            server=self.name,
            method=method,
        )
        failure.retry_after = refusal.retry_after
        failure.__cause__ = refusal
        return failure

    def _repeatable(self, tool: str) -> bool:
        known = self._tools.get(tool)
        if known is None or known.annotations is None or not self.options.trust_annotations:
            return False
        return bool(known.annotations.read_only_hint or known.annotations.idempotent_hint)

    async def _learn_tools(self, client: Client) -> None:
        """Learn before the first call which tools may be repeated: later it may be too late."""
        if client.server_capabilities.tools is None:
            return
        cursor = None
        tools: dict[str, Tool] = {}
        while True:
            page = await client.list_tools(cursor=cursor)
            tools.update((tool.name, tool) for tool in page.tools)
            cursor = page.next_cursor
            if not cursor:
                break
        self._tools = tools

    async def _list(
        self,
        method: str,
        listing: Callable[..., Awaitable[_Page]],
        part: str,
        timeout: float | None,
    ) -> list[Any]:
        found: list[Any] = []

        async def all_pages(client: Client) -> None:
            found.clear()
            cursor = None
            while True:
                page = await listing(client, cursor=cursor)
                found.extend(getattr(page, part))
                cursor = page.next_cursor
                if not cursor:
                    return

        await self._request(method, all_pages, timeout=timeout)
        return found
