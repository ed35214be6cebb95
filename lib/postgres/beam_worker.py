"""What a Beam worker does with a chunk; it knows nothing of Beam, and nobody but both servers."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from lib.errors import MigrationError
from lib.postgres import bookkeeping, failures
from lib.postgres.catalog import Table
from lib.postgres.chunks import Chunk
from lib.postgres.database import Database, connect, connect_async
from lib.postgres.reach import Reach
from lib.postgres.relay import Rate
from lib.postgres.snapshot import Exported
from lib.postgres.workers import Courier

_PLACES = 0x0B3A
"""Class of the advisory locks that are places; the target's database has no others of it."""


@dataclass(frozen=True, slots=True)
class CopyChunk:
    """Copies a chunk where it is called; plain and picklable, and without a password.

    At most ``places`` copy at a time, on however many machines; ``rate`` bounds the bytes per
    second of all of them together (0: unbounded).
    """

    tables: Mapping[tuple[str, str], Table]
    source: Reach
    target: Reach
    snapshot: Exported
    places: int
    rate: int = 0

    def __call__(self, chunk: Chunk) -> tuple[int, int]:
        """Rows and bytes copied; called again for the chunk it does nothing and gives 0, 0.

        Raises kinds of ``MigrationError``, after it left their message in the target's
        bookkeeping for the process that launched the pipeline.
        """
        try:
            return asyncio.run(self._copy(chunk))
        except MigrationError as error:
            self._tell(chunk, error)
            raise

    async def _copy(self, chunk: Chunk) -> tuple[int, int]:
        source, target = self.source.resolve(), self.target.resolve()
        rate = Rate(max(1, self.rate // self.places) if self.rate else 0)
        async with _place(target, self.places):
            courier = Courier(source, target, self.snapshot, rate)
            try:
                return await courier.copy(self.tables[chunk.table], chunk)
            finally:
                courier.close()

    def _tell(self, chunk: Chunk, error: MigrationError) -> None:
        told = {
            "kind": type(error).__name__,
            "what": error.what,
            "expected": error.expected,
            "remedy": error.remedy,
        }
        # Where the target can't be reached the runner's own report has to do.
        with suppress(MigrationError, psycopg.Error), connect(self.target.resolve()) as target:
            bookkeeping.fail(target, chunk, self.snapshot.name, told)


@asynccontextmanager
async def _place(target: Database, places: int) -> AsyncIterator[None]:
    """One of so many places, waited for; the server takes it back when the session ends."""
    session: Any = await connect_async(target)
    try:
        for place in random.sample(range(places), places):
            if await session.fetchval("SELECT pg_try_advisory_lock($1, $2)", _PLACES, place):
                break
        else:
            place = random.randrange(places)
            await session.execute("SELECT pg_advisory_lock($1, $2)", _PLACES, place)
        yield
    except Exception as error:
        raise failures.working("Waiting for a place to copy", error) from error
    finally:
        session.terminate()
