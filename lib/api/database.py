"""The pool of connections to PostgreSQL behind a circuit breaker."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from lib.api.configuration import BreakerConfiguration, DatabaseConfiguration
from lib.api.errors import DatabaseForbids, DatabaseUnavailable, Refused
from lib.circuit_breaker import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError

log = logging.getLogger(__name__)
T = TypeVar("T")

_OUTAGES = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InternalClientError,
)
_UNPREPARED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidSchemaNameError,
)
_WRONG_VALUES = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)


def _is_outage(error: BaseException) -> bool:
    # asyncpg's client-side DataError is an InterfaceError too, but speaks of the caller's value.
    return isinstance(error, _OUTAGES) and not isinstance(error, _WRONG_VALUES)


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that remembers which search settings it carries.

    Nothing else of a session's state is ever changed here, so the round trip that would reset it
    on return to the pool is left out.
    """

    def __init__(self, *about: Any, **more: Any) -> None:
        super().__init__(*about, **more)
        self._search_settings: dict[str, str] = {}

    async def use_search_setting(self, parameter: str, value: str) -> None:
        """Set a parameter of the session, unless this connection carries it already."""
        if self._search_settings.get(parameter) != value:
            await self.execute("select set_config($1, $2, false)", parameter, value)
            self._search_settings[parameter] = value

    def get_reset_query(self) -> str:
        """No query: see above."""
        return ""


class Database:
    """PostgreSQL as the API sees it: operations on a connection, answered or refused quickly."""

    def __init__(self, configuration: DatabaseConfiguration, breaker: BreakerConfiguration) -> None:
        self._configuration = configuration
        self._pool: Any = None
        self.breaker = CircuitBreaker(
            "database",
            CircuitBreakerConfig(
                failure_rate_threshold=breaker.failure_rate,
                sliding_window_size=breaker.window,
                minimum_number_of_calls=breaker.minimum_calls,
                wait_duration_in_open_state=breaker.open_seconds,
                permitted_number_of_calls_in_half_open_state=breaker.trial_calls,
                max_wait_duration_in_half_open_state=30,
                record_exceptions=(_is_outage,),
            ),
        )

    async def open(self) -> None:
        """Make the pool; connects when first used, so that a database that is down may come."""
        about = self._configuration
        self._pool = await asyncpg.create_pool(
            host=about.host,
            port=about.port,
            database=about.name,
            user=about.user,
            password=about.password or None,
            ssl=about.sslmode,
            min_size=0,
            max_size=about.pool_size,
            timeout=about.connect_timeout,
            command_timeout=about.statement_timeout + 1,
            connection_class=Connection,
            max_inactive_connection_lifetime=300,
            server_settings={
                "application_name": "agent-api",
                "timezone": "UTC",
                "statement_timeout": str(int(about.statement_timeout * 1000)),
            },
        )

    async def close(self) -> None:
        """Close the connections, after the operations under way; forced after two seconds."""
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), 2)
        except TimeoutError:
            self._pool.terminate()

    async def warm(self, connections: int) -> None:
        """Connect this many times at once, so that first callers need not wait."""

        async def connect(ready: asyncio.Barrier) -> None:
            async with self._pool.acquire(timeout=self._configuration.connect_timeout), ready:
                pass

        wanted = min(connections, self._configuration.pool_size)
        together = asyncio.Barrier(wanted)
        tasks = [asyncio.create_task(connect(together)) for _ in range(wanted)]
        await asyncio.wait(tasks, timeout=self._configuration.connect_timeout)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                log.warning("database not reached at start: %s", type(outcome).__name__)
                return

    async def run(self, operation: Callable[[Any], Awaitable[T]]) -> T:
        """Run an operation on a connection of the pool.

        Raises ``DatabaseUnavailable`` when PostgreSQL does not answer or the breaker is open,
        ``DatabaseForbids`` when a permission or table is missing, ``Refused`` when PostgreSQL
        accepts no such value.
        """
        try:
            return await self.breaker.acall(self._on_connection, operation)
        except CircuitOpenError as error:
            raise DatabaseUnavailable(
                "The database has not been answering; calls to it are paused.",
                retry_after=error.retry_after or 1.0,
            ) from error
        except _WRONG_VALUES as error:
            raise Refused(f"The database accepts no such value: {error}") from error
        except _UNPREPARED as error:
            raise DatabaseForbids(f"The database is not prepared for this: {error}") from error
        except _OUTAGES as error:
            log.warning("database unavailable: %s", type(error).__name__)
            raise DatabaseUnavailable(
                f"The database does not answer ({type(error).__name__})."
            ) from error

    async def _on_connection(self, operation: Callable[[Any], Awaitable[T]]) -> T:
        async with self._pool.acquire(timeout=self._configuration.connect_timeout) as connection:
            return await operation(connection)

    async def fetch(self, query: str, *values: object) -> list[Any]:
        """All rows of one query."""
        return await self.run(lambda connection: connection.fetch(query, *values))

    async def fetchrow(self, query: str, *values: object) -> Any:
        """The first row of one query, or None."""
        return await self.run(lambda connection: connection.fetchrow(query, *values))

    async def fetchval(self, query: str, *values: object) -> Any:
        """The first value of the first row, or None."""
        return await self.run(lambda connection: connection.fetchval(query, *values))

    def size(self) -> int:
        """Connections that are open now."""
        return int(self._pool.get_size()) if self._pool is not None else 0
