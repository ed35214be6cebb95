"""One open session, owned by a task of its own, because it must be closed where it was opened."""

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

import httpx2
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from lib.mcp.settings import Callbacks, HTTPServer, Server
from lib.mcp.wire import Attempt, current, http_streams, stdio_streams

CLOSING = 5.0
"""Seconds that the SDK gets to close a session before it is cancelled."""


class OpeningFailed(Exception):
    """A session could not be opened; the wire's notes on that are ``attempt``."""

    def __init__(self, error: BaseException, attempt: Attempt) -> None:
        super().__init__(str(error))
        self.error = error
        self.attempt = attempt


class Session:
    """An SDK client in use by ``calls`` calls at once; ``lost`` when it is good for no more."""

    def __init__(
        self,
        server: Server,
        callbacks: Callbacks,
        http: httpx2.AsyncClient | None,
        on_end: Callable[["Session"], None],
    ) -> None:
        self.calls = 0
        self.last_used = 0.0
        self.lost = False
        self.failure: BaseException | None = None
        self._server = server
        self._callbacks = callbacks
        self._http = http
        self._on_end = on_end
        self._closing = asyncio.Event()
        self._client: Client | None = None
        self._owner: asyncio.Task[None] | None = None

    @property
    def client(self) -> Client:
        """The SDK's client."""
        assert self._client is not None, "the session is open"
        return self._client

    async def open(self) -> None:
        """Connect and negotiate; raises ``OpeningFailed``."""
        opened = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(opened))
        try:
            await asyncio.shield(opened)
        except asyncio.CancelledError:
            opened.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._owner.cancel()
            raise

    async def _own(self, opened: "asyncio.Future[None]") -> None:
        attempt = Attempt()
        current.set(attempt)
        try:
            async with self._sdk_client() as self._client:
                current.set(None)
                self.last_used = asyncio.get_running_loop().time()
                opened.set_result(None)
                await self._closing.wait()
        except BaseException as error:
            self.failure = root(error)
            if not opened.done():
                opened.set_exception(OpeningFailed(self.failure, attempt))
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
                raise
        finally:
            self.lost = True
            self._on_end(self)

    def _sdk_client(self) -> Client:
        server, asked = self._server, self._callbacks
        streams: Any
        if isinstance(server, HTTPServer):
            assert self._http is not None
            streams = http_streams(server, self._http)
        else:
            streams = stdio_streams(server)
        return Client(
            streams,
            mode=server.options.mode,
            sampling_callback=asked.sampling,
            elicitation_callback=asked.elicitation,
            list_roots_callback=asked.roots,
            logging_callback=asked.logging,
            log_level=asked.log_level,
            message_handler=asked.messages,
        )

    async def check(self) -> None:
        """Ask the server for a sign of life; raises whatever the SDK does."""
        if self.client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            await self.client.session.send_discover(self.client.protocol_version)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            await self.client.send_ping()

    async def close(self) -> None:
        """Close it, within ``CLOSING`` seconds."""
        self.lost = True
        self._closing.set()
        if self._owner is None:
            return
        _, running = await asyncio.wait({self._owner}, timeout=CLOSING)
        for task in running:
            task.cancel()
        await asyncio.wait({self._owner}, timeout=CLOSING)


def root(error: BaseException) -> BaseException:
    """Find the first real exception inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
