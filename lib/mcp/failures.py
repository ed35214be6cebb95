"""From whatever the SDK or the wire raises to the one family of errors."""

import httpx2
from mcp.client.auth import OAuthFlowError
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    CallToolResult,
)

from lib.mcp.errors import (
    MCPClientError,
    MCPConnectionError,
    MCPPoolExhaustedError,
    MCPProtocolError,
    MCPServerError,
    MCPSettingsError,
    MCPTimeoutError,
    MCPToolError,
    MCPUnauthorizedError,
)
from lib.mcp.pool import Closed, Exhausted
from lib.mcp.session import OpeningFailed, root
from lib.mcp.wire import Attempt

OVERLOADED = (429, 502, 503, 504)
"""HTTP statuses after which the same request may well succeed."""


def explain(error: BaseException, attempt: Attempt, server: str, method: str) -> MCPClientError:
    """Make the error that a caller sees; its cause is the original exception."""
    error = root(error)
    opening = isinstance(error, OpeningFailed)
    arrived = attempt.arrived and not opening
    if isinstance(error, OpeningFailed):
        attempt, error = error.attempt, error.error
    failure = _kind(error, attempt, server)
    failure.server, failure.method = server, method
    failure.request_id = attempt.request_id
    failure.arrived = arrived and not lost_session(error, attempt)
    failure.__cause__ = attempt.error or error
    return failure


def lost_session(error: BaseException, attempt: Attempt) -> bool:
    """Say whether the server answered that it does not know the session (so it did nothing)."""
    return (
        attempt.status == 404
        and isinstance(error, MCPError)
        and error.code not in (METHOD_NOT_FOUND, CONNECTION_CLOSED)
    )


def _kind(error: BaseException, attempt: Attempt, server: str) -> MCPClientError:
    if isinstance(error, Exhausted):
        return MCPPoolExhaustedError(
            f"All sessions of MCP server '{server}' stayed busy.",
            expected="a session within PoolSettings.wait_for_session",
            remedy="raise max_sessions or calls_per_session, or make fewer calls at once",
        )
    if isinstance(error, Closed):
        return MCPSettingsError(f"The client of MCP server '{server}' is closed.")
    if attempt.status in (401, 403) or isinstance(error, OAuthFlowError):
        return MCPUnauthorizedError(
            f"MCP server '{server}' did not accept the credentials ({attempt.status or 'OAuth'}).",
            expected="a valid token with the scopes that the server asks for",
            remedy="give HTTPServer a token or auth, or renew it",
        )
    if isinstance(error, TimeoutError):
        return MCPTimeoutError(f"MCP server '{server}' did not answer in time.")
    if isinstance(error, MCPError):
        return _from_protocol(error, attempt, server)
    if isinstance(error, httpx2.HTTPError | OSError):
        return _unreachable(server, f"{type(error).__name__}: {error}")
    return MCPProtocolError(f"MCP server '{server}' answered what cannot be used: {error}")


def _from_protocol(error: MCPError, attempt: Attempt, server: str) -> MCPClientError:
    if attempt.error is not None or error.code == CONNECTION_CLOSED:
        return _unreachable(server, error.message)
    if lost_session(error, attempt):
        return _unreachable(server, "it does not know the session any more")
    if error.code == REQUEST_TIMEOUT:
        return MCPTimeoutError(f"MCP server '{server}' did not answer in time.")
    status = attempt.status or 0
    if status >= 500 or status == 429 or error.code == INTERNAL_ERROR:
        return _failed(server, error.message, attempt.status)
    refused = MCPProtocolError(
        f"MCP server '{server}' refused the request: {error.message} ({error.code})."
    )
    refused.code, refused.data = error.code, error.data
    return refused


def _unreachable(server: str, why: str) -> MCPConnectionError:
    return MCPConnectionError(
        f"MCP server '{server}' is not reachable: {why}.",
        expected="a server that listens",
        remedy="check its address and that it runs",
    )


def _failed(server: str, why: str, status: int | None) -> MCPServerError:
    failed = MCPServerError(f"MCP server '{server}' failed: {why}.")
    failed.status = status
    failed.transient = status in OVERLOADED
    return failed


def tool_failed(result: CallToolResult, server: str, tool: str) -> MCPToolError:
    """Make the error for a tool that reported a failure."""
    text = " ".join(getattr(part, "text", "") for part in result.content).strip()
    failure = MCPToolError(f"Tool '{tool}' of MCP server '{server}' failed: {text or 'no text'}.")
    failure.result = result
    failure.arrived = True
    return failure
