"""What the client is told about servers: where they are, and how patient to be with them."""

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from lib.breaker.config import CircuitBreakerConfig

if TYPE_CHECKING:
    import httpx2
    from mcp.client.session import (
        ElicitationFnT,
        ListRootsFnT,
        LoggingFnT,
        MessageHandlerFnT,
        SamplingFnT,
    )

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A bearer token, or a function (sync or async) that gives the present one."""

LogLevel: TypeAlias = Literal[
    "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a safe call is tried, and how long to wait in between (seconds).

    The wait before try n is random between half and all of ``first_wait * multiplier**(n-2)``,
    at most ``longest_wait``; the call's deadline ends it all.
    """

    attempts: int = 5
    first_wait: float = 0.1
    multiplier: float = 2.0
    longest_wait: float = 2.0

    def wait(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures; ``chance`` in [0, 1)."""
        longest = min(self.first_wait * self.multiplier ** (failures - 1), self.longest_wait)
        return longest * (0.5 + chance / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many sessions a server gets; times in seconds.

    A further session is opened when each open one has ``calls_per_session`` calls under way.
    """

    max_sessions: int = 4
    calls_per_session: int = 32
    wait_for_session: float = 5.0
    check_after_idle: float = 30.0
    """A session that was idle for longer is asked for a sign of life before it is used."""
    close_after_idle: float = 300.0
    drain: float = 10.0
    """How long closing waits for the calls under way."""


BREAKER = CircuitBreakerConfig(
    sliding_window_size=50,
    minimum_number_of_calls=20,
    wait_duration_in_open_state=2.0,
    wait_duration_multiplier=2.0,
    wait_duration_jitter=0.1,
    max_wait_duration_in_open_state=30.0,
    permitted_number_of_calls_in_half_open_state=3,
)
"""The breaker that a server has unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server is treated; times in seconds."""

    timeout: float = 30.0
    """The deadline of a call that is given none: everything included, retries too."""
    attempt_timeout: float | None = None
    """The longest that one try of a safe call may take."""
    retry: RetryPolicy = RetryPolicy()
    pool: PoolSettings = PoolSettings()
    breaker: CircuitBreakerConfig = BREAKER
    trust_annotations: bool = True
    """Believe a server that calls a tool read-only or idempotent, and so repeat it."""
    mode: str = "auto"
    """The protocol: "auto", "legacy" (initialize handshake) or a version, as the SDK has it."""


@dataclass(frozen=True, slots=True)
class HTTPServer:
    """An MCP server that is reached by Streamable HTTP at ``url``.

    Credentials are a ``token``, or ``auth`` (the SDK's ``OAuthClientProvider``, say); neither
    they nor ``headers`` are shown or logged.  ``verify`` may be an ``ssl.SSLContext``.
    """

    url: str
    token: Token | None = field(default=None, repr=False, kw_only=True)
    auth: "httpx2.Auth | None" = field(default=None, repr=False, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, kw_only=True)
    verify: ssl.SSLContext | bool = field(default=True, kw_only=True)
    proxy: str | None = field(default=None, repr=False, kw_only=True)
    options: ServerOptions = field(default=ServerOptions(), kw_only=True)


@dataclass(frozen=True, slots=True)
class StdioServer:
    """An MCP server that is a command of this machine, spoken to through its stdin and stdout.

    ``env`` is added to a small safe environment; it is not shown, as it may hold secrets.
    """

    command: str
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False, kw_only=True)
    cwd: Path | None = field(default=None, kw_only=True)
    options: ServerOptions = field(default=ServerOptions(), kw_only=True)


Server: TypeAlias = HTTPServer | StdioServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What a server may ask of the client or tell it, with the SDK's signatures."""

    sampling: "SamplingFnT | None" = None
    elicitation: "ElicitationFnT | None" = None
    roots: "ListRootsFnT | None" = None
    logging: "LoggingFnT | None" = None
    log_level: LogLevel | None = None
    """The least severe log message to be sent; None leaves it to the server."""
    messages: "MessageHandlerFnT | None" = None
    """Every other notification."""


NO_CALLBACKS = Callbacks()
