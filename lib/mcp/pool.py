"""The sessions of one server: grown when needed, checked, replaced, and closed when idle."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcp import Client

from lib.mcp.session import OpeningFailed, Session
from lib.mcp.settings import Callbacks, HTTPServer, Server
from lib.mcp.wire import Attempt, current, http_client

CHECKING = 5.0
"""Seconds that a server gets for a sign of life."""


class Exhausted(Exception):
    """No session became free in time."""


class Closed(Exception):
    """The pool is closed."""


class SessionPool:
    """Lends sessions of one server to calls; several calls share a session.

    ``on_open`` is awaited with every new session's client before it is lent.
    """

    def __init__(
        self,
        server: Server,
        callbacks: Callbacks,
        on_open: Callable[[Client], Awaitable[None]],
    ) -> None:
        self._server = server
        self._settings = server.options.pool
        self._callbacks = callbacks
        self._on_open = on_open
        self._http = http_client(server) if isinstance(server, HTTPServer) else None
        self._sessions: list[Session] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._opening = 0
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._reaper = self._start(self._reap_regularly())

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def calls(self) -> int:
        """How many calls are under way."""
        return sum(session.calls for session in self._sessions)

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session, None]:
        """Lend a session; raises ``Exhausted``, ``Closed`` or ``OpeningFailed``."""
        session = await self._healthy()
        session.calls += 1
        try:
            yield session
        finally:
            self._give_back(session)

    def retire(self, session: Session) -> None:
        """Give a session to no more calls; it closes when those under way have ended."""
        session.lost = True
        if session in self._sessions:
            self._sessions.remove(session)
        if not session.calls:
            self._start(session.close())
        self._wake()

    async def close(self) -> None:
        """Refuse new calls, wait for those under way, close all sessions."""
        self._closed = True
        self._reaper.cancel()
        self._fail_waiting(Closed())
        end = self._loop.time() + self._settings.drain
        while self.calls and self._loop.time() < end:
            idle: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(idle)
            with suppress(TimeoutError, Closed):
                async with asyncio.timeout_at(end):
                    await idle
        await asyncio.gather(*(session.close() for session in list(self._sessions)))
        self._sessions.clear()
        pending = self._tasks - {self._reaper}
        if pending:
            await asyncio.wait(pending, timeout=CHECKING)
        if self._http is not None:
            await self._http.aclose()

    def reap(self) -> None:
        """Close the sessions that have been idle for too long."""
        oldest = self._loop.time() - self._settings.close_after_idle
        for session in list(self._sessions):
            if not session.calls and session.last_used < oldest:
                self.retire(session)

    # Lending ------------------------------------------------------------------------------

    async def _healthy(self) -> Session:
        while True:
            session = self._free() or await self._wait()
            idle = self._loop.time() - session.last_used
            if session.calls or idle <= self._settings.check_after_idle:
                return session
            session.last_used = self._loop.time()
            try:
                async with asyncio.timeout(CHECKING):
                    await session.check()
            except Exception:
                self.retire(session)
            else:
                if not session.lost:
                    return session

    def _free(self) -> Session | None:
        if self._closed:
            raise Closed
        best = min(self._sessions, key=lambda session: session.calls, default=None)
        if best is not None and best.calls < self._settings.calls_per_session:
            return best
        return None

    async def _wait(self) -> Session:
        patience = self._settings.wait_for_session
        end = self._loop.time() + patience
        while True:
            if (session := self._free()) is not None:
                return session
            expected = self._opening * self._settings.calls_per_session
            size = len(self._sessions) + self._opening
            if size < self._settings.max_sessions and len(self._waiting) >= expected:
                self._opening += 1
                self._start(self._open())
            woken: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(woken)
            try:
                # A session that is being opened has the call's own deadline, not this one.
                left = None if self._opening else max(end - self._loop.time(), 0)
                # Not wait_for: in Python 3.11 it forgets a cancellation that comes with the turn.
                async with asyncio.timeout(left):
                    await woken
            except TimeoutError:
                if not woken.done() or woken.cancelled():
                    raise Exhausted from None
            except asyncio.CancelledError:
                if woken.done() and not woken.cancelled():
                    self._wake()  # the turn is the next one's
                raise
            finally:
                with suppress(ValueError):
                    self._waiting.remove(woken)

    def _give_back(self, session: Session) -> None:
        session.calls -= 1
        session.last_used = self._loop.time()
        if session.lost and not session.calls:
            self._start(session.close())
        self._wake()

    async def _open(self) -> None:
        session = Session(self._server, self._callbacks, self._http, self._ended)
        attempt = Attempt()
        current.set(attempt)
        try:
            async with asyncio.timeout(self._server.options.timeout):
                await session.open()
                await self._on_open(session.client)
        except Exception as error:
            self._opening -= 1
            await session.close()
            opening = isinstance(error, OpeningFailed)
            self._fail_waiting(error if opening else OpeningFailed(error, attempt))
        except BaseException:
            self._opening -= 1
            raise
        else:
            self._opening -= 1
            if self._closed:
                await session.close()
            else:
                self._sessions.append(session)
                self._wake(self._settings.calls_per_session)

    def _ended(self, session: Session) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
            self._wake()

    def _wake(self, count: int = 1) -> None:
        while self._waiting and count:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_result(None)
                count -= 1

    def _fail_waiting(self, error: Exception) -> None:
        while self._waiting:
            woken = self._waiting.popleft()
            if not woken.done():
                woken.set_exception(error)

    # Housekeeping -------------------------------------------------------------------------

    async def _reap_regularly(self) -> None:
        while True:
            await asyncio.sleep(max(self._settings.close_after_idle / 4, 0.01))
            self.reap()

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
