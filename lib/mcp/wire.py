"""What happens to a request on the wire, noted for whoever must decide whether to repeat it."""

import inspect
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import anyio
import httpx2
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, JSONRPCRequest

from lib.mcp.settings import HTTPServer, StdioServer, Token

NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Failures before the first byte of a request."""


@dataclass(slots=True)
class Attempt:
    """One try of a call, as far as the wire has seen it."""

    writes: int = 0
    refused: int = 0
    request_id: str | int | None = None
    status: int | None = None
    error: Exception | None = None

    @property
    def arrived(self) -> bool:
        """Say whether the server may have received anything of it."""
        return self.writes > self.refused


current: ContextVar[Attempt | None] = ContextVar("current MCP attempt", default=None)
"""The attempt that the running task makes; the SDK carries it to the transport."""


class NotingWrites:
    """The SDK's write stream, which also notes ids and whether a request got out."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send(self, item: SessionMessage, /) -> None:
        attempt = current.get()
        if attempt is None or not isinstance(item.message, JSONRPCRequest):
            await self._inner.send(item)
            return
        attempt.writes += 1
        attempt.request_id = item.message.id
        try:
            await self._inner.send(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            attempt.refused += 1
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> "NotingWrites":
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        ended: bool | None = await self._inner.__aexit__(kind, error, traceback)
        return ended


class IsolatingTransport(httpx2.AsyncBaseTransport):
    """Turns a failed POST into a JSON-RPC error of that request alone.

    The SDK ends the whole session, and every call on it, when one POST cannot connect.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, url: str) -> None:
        self._inner = inner
        self._url = httpx2.URL(url)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        attempt = current.get() or Attempt()
        try:
            response = await self._inner.handle_async_request(request)
            if request.method == "POST" and request.url == self._url:
                attempt.status = response.status_code
                if response.headers.get("content-type", "").startswith("application/json"):
                    await response.aread()
        except httpx2.TransportError as error:
            if request.method != "POST":
                raise
            attempt.error = error
            attempt.refused += isinstance(error, NEVER_SENT)
            return _as_response(request, error)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _as_response(request: httpx2.Request, error: httpx2.TransportError) -> httpx2.Response:
    what = f"{type(error).__name__}: {error}"
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": CONNECTION_CLOSED, "message": what}}
    return httpx2.Response(
        503,
        headers={"content-type": "application/json"},
        content=json.dumps(body).encode(),
        request=request,
    )


class BearerAuth(httpx2.Auth):
    """Sends a bearer token; a function is asked again after a 401."""

    def __init__(self, token: Token) -> None:
        self._token = token

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers["Authorization"] = f"Bearer {await self._present()}"
        response = yield request
        if response.status_code == 401 and callable(self._token):
            request.headers["Authorization"] = f"Bearer {await self._present()}"
            yield request

    async def _present(self) -> str:
        if isinstance(self._token, str):
            return self._token
        token = self._token()
        return await token if inspect.isawaitable(token) else token


def http_client(server: HTTPServer) -> httpx2.AsyncClient:
    """Make the HTTP client that all sessions of a server share."""
    pool = server.options.pool
    calls = pool.max_sessions * (pool.calls_per_session + 2)
    transport = httpx2.AsyncHTTPTransport(
        verify=server.verify,
        proxy=server.proxy,
        limits=httpx2.Limits(max_connections=calls, max_keepalive_connections=calls),
    )
    auth = BearerAuth(server.token) if server.token is not None else server.auth
    return httpx2.AsyncClient(
        transport=IsolatingTransport(transport, server.url),
        headers=dict(server.headers),
        auth=auth,
        timeout=httpx2.Timeout(server.options.timeout, connect=5.0, read=None),
    )


@asynccontextmanager
async def http_streams(
    server: HTTPServer, client: httpx2.AsyncClient
) -> AsyncGenerator[tuple[Any, Any], None]:
    """Open the SDK's Streamable HTTP transport with noted writes."""
    async with streamable_http_client(server.url, http_client=client) as (read, write):
        yield read, NotingWrites(write)


@asynccontextmanager
async def stdio_streams(server: StdioServer) -> AsyncGenerator[tuple[Any, Any], None]:
    """Start the command and open the SDK's stdio transport with noted writes."""
    parameters = StdioServerParameters(
        command=server.command,
        args=list(server.args),
        env=dict(server.env) or None,
        cwd=server.cwd,
    )
    async with stdio_client(parameters) as (read, write):
        yield read, NotingWrites(write)
