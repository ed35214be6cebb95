"""Vertex AI as the backend of vector search: asked behind a breaker, and kept in step with writes.

Google's client and the driver that reads the noted changes block, so they work in threads of
their own; both are imported only where this backend is configured.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.api.configuration import Configuration
from lib.circuit_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError
from lib.errors import MigrationError

if TYPE_CHECKING:
    from lib.cloud.clients import Clients
    from lib.cloud.vertex_points import Datapoints

log = logging.getLogger(__name__)
_SEARCHES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a collection is served, and with what effort it is searched."""

    service: str
    endpoint: str
    label: str
    address: str
    approximate: int
    leaf_percent: int


class VertexSearch:
    """Ids of the nearest rows from Vertex AI, or None at once while it does not answer."""

    def __init__(self, configuration: Configuration) -> None:
        about = configuration.breaker
        self._configuration = configuration
        self._threads = ThreadPoolExecutor(_SEARCHES_AT_ONCE, "vertex")
        self._mutex = threading.Lock()
        self._made: Clients | None = None
        self._closing = threading.Event()
        self.breaker = CircuitBreaker(
            "vertex",
            CircuitBreakerConfig(
                failure_rate_threshold=about.failure_rate,
                sliding_window_size=about.window,
                minimum_number_of_calls=about.minimum_calls,
                wait_duration_in_open_state=about.open_seconds,
                permitted_number_of_calls_in_half_open_state=about.trial_calls,
                max_wait_duration_in_half_open_state=30,
                record_exceptions=(MigrationError,),
            ),
        )

    async def find(self, where: Deployment, vector: Sequence[float], k: int) -> list[str] | None:
        """Ids of the ``k`` nearest; None where Vertex AI fails or its breaker is open."""
        try:
            return await self.breaker.acall(self._asked, where, vector, k)
        except CircuitOpenError:
            return None
        except MigrationError as error:
            log.warning("Vertex AI does not answer: %s", error.what)
            return None

    async def keep_in_step(self) -> None:
        """Bring noted changes to Vertex AI for ever; what fails is tried again."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._warm)
        except MigrationError as error:
            log.warning("Vertex AI is not reached at start: %s", error.what)
        while not self._closing.is_set():
            try:
                await loop.run_in_executor(self._threads, self._bring)
            except MigrationError as error:
                log.warning("changes wait for Vertex AI: %s", error.what)
            await asyncio.sleep(self._configuration.vertex.sync_seconds)

    def close(self) -> None:
        """Let go of threads and connections."""
        self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._made is not None:
            self._made.close()

    async def _asked(self, where: Deployment, vector: Sequence[float], k: int) -> list[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, where, vector, k)

    def _ask(self, where: Deployment, vector: Sequence[float], k: int) -> list[str]:
        found = self._points(where, self._configuration.vertex.timeout).find(
            vector, k, approximate=max(where.approximate, k), leaf_percent=where.leaf_percent
        )
        return [id for id, _ in found]

    def _warm(self) -> None:
        """Load the client and connect, so that no first caller waits for it."""
        from lib.vectors.served_settings import every

        with self._database.session() as connection:
            for each in every(connection):
                where = Deployment(each.service, each.endpoint, each.label, each.address, 0, 0)
                self._ask(where, [1.0] * each.dimensions, 1)

    def _bring(self) -> None:
        from lib.vectors.changes import drain, noted
        from lib.vectors.served_settings import every

        with self._database.session() as connection:
            for settings in every(connection):
                where = Deployment(
                    settings.service, settings.endpoint, settings.label, settings.address, 0, 0
                )
                while noted(connection, settings.what) and not self._closing.is_set():
                    if not drain(connection, settings.what, self._points(where), wait=False):
                        break  # another instance brings them

    def _points(self, where: Deployment, seconds: float | None = None) -> "Datapoints":
        from lib.cloud.vertex_points import Datapoints

        return Datapoints(
            self._clients, where.service, where.endpoint, where.label, where.address, seconds
        )

    @property
    def _clients(self) -> "Clients":
        from lib.cloud.clients import Clients
        from lib.cloud.target import Target

        with self._mutex:
            if self._made is None:
                about = self._configuration.vertex
                target = (
                    Target.embedded(about.endpoint, about.ca, about.token, about.project)
                    if about.token
                    else Target.google(about.project, about.region)
                )
                self._made = Clients(target)
            return self._made

    @property
    def _database(self) -> Any:
        from psycopg.conninfo import make_conninfo

        from lib.vectors.database import VectorDatabase

        about = self._configuration.database
        address = make_conninfo(
            host=about.host,
            port=about.port,
            dbname=about.name,
            user=about.user,
            sslmode=about.sslmode,
            application_name="agent-api-vertex",
        )
        return VectorDatabase(address, about.password)
