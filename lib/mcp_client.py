"""MCP client on the official SDK: pooled sessions, deadlines, safe retries, a breaker per server.

``MCPClient`` is for asyncio, ``SyncMCPClient`` for threads.  docs/mcp-client.md tells how they
work and what they do not do.
"""

from lib.mcp.client import MCPClient, NamedTool
from lib.mcp.errors import (
    MCPCircuitOpenError,
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
from lib.mcp.memory import Memory, MemoryStore
from lib.mcp.server import MCPServer
from lib.mcp.settings import (
    Callbacks,
    HTTPServer,
    PoolSettings,
    RetryPolicy,
    Server,
    ServerOptions,
    StdioServer,
)
from lib.mcp.sync import SyncMCPClient, SyncMCPServer, SyncMemoryStore

__all__ = [
    "Callbacks",
    "HTTPServer",
    "MCPCircuitOpenError",
    "MCPClient",
    "MCPClientError",
    "MCPConnectionError",
    "MCPPoolExhaustedError",
    "MCPProtocolError",
    "MCPServer",
    "MCPServerError",
    "MCPSettingsError",
    "MCPTimeoutError",
    "MCPToolError",
    "MCPUnauthorizedError",
    "Memory",
    "MemoryStore",
    "NamedTool",
    "PoolSettings",
    "RetryPolicy",
    "Server",
    "ServerOptions",
    "StdioServer",
    "SyncMCPClient",
    "SyncMCPServer",
    "SyncMemoryStore",
]
