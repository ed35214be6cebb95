"""The parts of one running API, made from its configuration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from lib.api.agents import Agents
from lib.api.cache import Cache
from lib.api.configuration import Configuration
from lib.api.database import Database
from lib.api.errors import ApiError
from lib.api.memories import Memories
from lib.api.metrics import Metrics
from lib.api.search import Search
from lib.api.vertex import VertexSearch

_EXPIRE_EVERY = 30.0


class Service:
    """Database, cache and what is built on them."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.metrics = Metrics()
        self.database = Database(configuration.database, configuration.breaker)
        # A write must be over before its guard is given up, whatever the database does with it.
        guard = 2 * (
            configuration.database.statement_timeout + configuration.database.connect_timeout
        )
        self.cache = Cache(configuration.redis, guard)
        self.memories = Memories(self.database, self.cache, self.metrics)
        self.vertex = VertexSearch(configuration) if configuration.vertex.enabled else None
        self.search = Search(self.database, self.metrics, self.vertex)
        self.agents = Agents(self.database)
        gauge = self.metrics.gauge
        gauge("api_database_connections", "Open connections.", self.database.size)
        gauge("api_database_breaker_closed", "1 while calls are let through.", self._closed)
        if self.vertex is not None:
            breaker = self.vertex.breaker
            about = "1 while searches go to Vertex AI."
            gauge(
                "api_vertex_breaker_closed", about, lambda: float(breaker.state.value == "closed")
            )
        gauge("api_cache_up", "1 while the cache is used.", lambda: self.cache.state == "up")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open what needs opening, keep the cache right meanwhile, and close it all."""
        await self.database.open()
        tasks = [
            asyncio.create_task(self.database.warm(4)),
            asyncio.create_task(self.cache.watch(self.memories.repair)),
            asyncio.create_task(self._expire()),
        ]
        if self.vertex is not None:
            tasks.append(asyncio.create_task(self.vertex.keep_in_step()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError, Exception):
                    await task
            if self.vertex is not None:
                self.vertex.close()
            await self.cache.close()
            await self.database.close()

    async def database_state(self) -> str:
        """``up`` when the database answers now, else ``down``."""
        try:
            await self.database.fetchval("select 1")
        except ApiError:
            return "down"
        return "up"

    def _closed(self) -> float:
        return float(self.database.breaker.state.value == "closed")

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_EVERY)
            await self.memories.expire()
