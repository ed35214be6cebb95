"""Workers that copy chunks: each is a thread with an event loop and two sessions of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from lib.postgres import failures
from lib.postgres.catalog import Table
from lib.postgres.chunks import Chunk
from lib.postgres.database import Database, connect_async
from lib.postgres.relay import Rate, copy_chunk
from lib.postgres.schedule import Schedule
from lib.postgres.snapshot import Exported, Snapshot

ATTEMPTS = 3


class Courier:
    """Two sessions that carry chunks of one snapshot; a lost one is opened anew.

    ``alive`` says whether the snapshot still can be imported.  Used by one event loop.
    """

    def __init__(
        self,
        source: Database,
        target: Database,
        snapshot: Exported,
        rate: Rate,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._source = source
        self._target = target
        self._snapshot = snapshot
        self._rate = rate
        self._alive = alive
        self._sessions: tuple[Any, Any] | None = None

    async def copy(self, table: Table, chunk: Chunk) -> tuple[int, int]:
        """Copy one chunk; gives rows and bytes, raises kinds of ``PostgresError``."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._sessions = self._sessions or await self._open()
                return await copy_chunk(
                    *self._sessions, table, chunk, self._snapshot.name, self._rate
                )
            except Exception as error:
                self.close()
                lost = failures.is_connection_loss(error) or getattr(error, "transient", False)
                if attempt < ATTEMPTS and lost and self._alive():
                    continue
                raise failures.working(f"Copying {chunk.title}", error) from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Let go of the sessions; what was not committed is not there."""
        for each in self._sessions or ():
            each.terminate()
        self._sessions = None

    async def _open(self) -> tuple[Any, Any]:
        source = await connect_async(self._source)
        try:
            for statement in self._snapshot.statements():
                await source.execute(statement)
            target = await connect_async(self._target)
            await target.execute(QUIET)
            # A crash takes rows and their bookkeeping together; the copy's end waits for the disk.
            await target.execute("SET synchronous_commit = off")
        except BaseException:
            source.terminate()
            raise
        return source, target


class Workers:
    """Copies chunks under one snapshot; ``copied`` is told each chunk, its rows and bytes.

    ``safe_point`` is called between chunks and may raise to stop; the first failure stops all
    workers at their next chunk and is raised.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        target: Database,
        *,
        count: int,
        rate: Rate,
        copied: Callable[[Chunk, int, int], None],
        safe_point: Callable[[], None],
    ) -> None:
        self._snapshot = snapshot
        self._target = target
        self._count = count
        self._rate = rate
        self._copied = copied
        self._safe_point = safe_point
        self._failed = threading.Event()

    def run(self, work: Sequence[tuple[Table, Chunk]]) -> None:
        """Copy every chunk, as ``Schedule`` says."""
        count = min(self._count, len(work))
        if not count:
            return
        _keep_memory()
        schedule = Schedule(work, count)
        with ThreadPoolExecutor(count, thread_name_prefix="copy") as pool:
            running = [pool.submit(uvloop.run, self._work(schedule)) for _ in range(count)]
            errors = [error for each in running if (error := each.exception()) is not None]
        if errors:
            raise errors[0]

    async def _work(self, schedule: Schedule) -> None:
        snapshot = self._snapshot
        courier = Courier(
            snapshot.database, self._target, snapshot.exported, self._rate, snapshot.alive
        )
        table = None
        try:
            while not self._failed.is_set() and (following := schedule.take(table)):
                self._safe_point()
                table, chunk = following
                self._copied(chunk, *await courier.copy(table, chunk))
        except BaseException:
            self._failed.set()
            raise
        finally:
            courier.close()


def _keep_memory() -> None:
    """Let buffers that rows pass through be used again.

    glibc hands large blocks back at once, and a new one costs a page fault for every 4 kB: a
    twentieth of a copy's processor time.  Freeing one raises what counts as large, up to 32 MB
    (mallopt(3), M_MMAP_THRESHOLD).
    """
    bytes(31 << 20)


# Triggers and foreign keys rest while rows are copied, where the role may say so.
QUIET = """
DO $$ BEGIN
    SET session_replication_role = replica;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$
"""
