"""The family of errors of the MCP client: what failed, where, and whether it may have happened."""

from typing import Any

from lib.errors import MigrationError


class MCPClientError(MigrationError):
    """A call to an MCP server failed.

    ``server`` and ``method`` say which call, ``request_id`` the JSON-RPC id it last had (None
    when it never got one), ``elapsed`` the seconds since the caller asked, ``arrived`` whether
    the server may have begun it; the original exception is the cause.
    """

    transient = False

    def __init__(
        self,
        what: str,
        *,
        expected: str = "",
        remedy: str = "",
        server: str = "",
        method: str = "",
        request_id: str | int | None = None,
        elapsed: float = 0.0,
        arrived: bool = False,
    ) -> None:
        super().__init__(what, expected=expected, remedy=remedy)
        self.server = server
        self.method = method
        self.request_id = request_id
        self.elapsed = elapsed
        self.arrived = arrived


class MCPConnectionError(MCPClientError):
    """The server could not be reached, or the connection or session was lost."""

    transient = True


class MCPProtocolError(MCPClientError):
    """The server refused the request or answered what the protocol does not allow.

    ``code`` is the JSON-RPC error code, when the server gave one; ``data`` what came with it.
    """

    code: int | None = None
    data: Any = None


class MCPTimeoutError(MCPClientError):
    """The deadline passed; the server was told that nobody waits any more."""

    transient = True


class MCPUnauthorizedError(MCPClientError):
    """The server does not accept the credentials, or they are not enough (401, 403)."""


class MCPToolError(MCPClientError):
    """The tool ran and reported a failure; ``result`` is its whole result."""

    result: Any = None


class MCPServerError(MCPClientError):
    """The server failed (5xx, 429, internal error); ``status`` is the HTTP status, if any.

    It is transient when the status says overload (429, 502, 503, 504).
    """

    status: int | None = None


class MCPPoolExhaustedError(MCPClientError):
    """Every session was busy for longer than a call may wait for one."""

    transient = True


class MCPCircuitOpenError(MCPClientError):
    """The server failed so often that calls are held back; ``retry_after`` is in seconds."""

    transient = True
    retry_after: float | None = None


class MCPSettingsError(MCPClientError):
    """A server's name or a tool's name is unknown or ambiguous, or the client is not open."""
