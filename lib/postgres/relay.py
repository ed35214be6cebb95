"""A chunk on its way: rows stream from source to target and commit with their bookkeeping."""

import asyncio
import time
from typing import Any

from psycopg import sql

from lib.postgres import digest
from lib.postgres.bookkeeping import CHUNK_TABLE
from lib.postgres.catalog import Table
from lib.postgres.chunks import Chunk
from lib.postgres.errors import Superseded
from lib.postgres.portions import Portions


class Rate:
    """A bound on bytes per second, shared by all workers; 0 means none."""

    def __init__(self, bytes_per_second: int = 0) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = time.monotonic()

    async def wait(self, size: int) -> None:
        """Wait until ``size`` more bytes may be sent."""
        if not self.bytes_per_second:
            return
        now = time.monotonic()
        # The bound is soft: two threads may both read the old value once.
        self._free_at = max(self._free_at, now) + size / self.bytes_per_second
        if self._free_at - now > 0.01:
            await asyncio.sleep(self._free_at - now)


async def copy_chunk(
    source: Any, target: Any, table: Table, chunk: Chunk, snapshot: str, rate: Rate
) -> tuple[int, int]:
    """Copy one chunk in one target transaction; gives rows and bytes.

    Rows of the chunk that an earlier snapshot brought are deleted in the same transaction.  The
    lock on the bookkeeping row makes a second writer of the chunk wait for the first, also for
    one whose client was killed and whose commit is still under way.  Copied already under
    ``snapshot``, the chunk stays as it is: copying again is harmless.  Raises ``Superseded`` when
    the target waits for another snapshot.
    """
    mine = [chunk.schema, chunk.name, chunk.first]
    async with target.transaction():
        before = await target.fetchrow(_sql(_CLAIM), *mine)
        if before is None or before["snapshot"] == snapshot:
            return 0, 0
        if before["wanted"] != snapshot:
            raise Superseded(
                f"{chunk.title} is no longer copied under the snapshot of this run.",
                remedy="another run has taken over, or this one was stopped: follow that one,"
                " or run the same command again",
            )
        if before["xid"] is not None:
            await target.execute(_delete(table, before["xid"]))
        rows, size = await _stream(source, target, table, chunk, rate)
        await target.execute(_sql(_DONE), *mine, snapshot, rows)
    return rows, size


async def _stream(
    source: Any, target: Any, table: Table, chunk: Chunk, rate: Rate
) -> tuple[int, int]:
    """Rows and bytes; the target takes them by several COPY statements."""
    form = "binary" if table.binary else "text"
    portions = Portions(binary=table.binary)

    async def put(buffer: bytes) -> None:
        await rate.wait(len(buffer))
        await portions.put(buffer)

    async def read() -> None:
        await source.copy_from_query(_select(table, chunk), output=put, format=form)
        await portions.end()

    async def write() -> int:
        rows = 0
        async for portion in portions.each():
            status = await target.copy_to_table(
                table.name,
                schema_name=table.schema,
                columns=[column.name for column in table.copied] or None,
                source=portion,
                format=form,
            )
            rows += int(status.rpartition(" ")[2])
        return rows

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            writing = group.create_task(write())
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors
    return writing.result(), portions.bytes


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _select(table: Table, chunk: Chunk) -> str:
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.copied)
    return (
        sql.SQL("SELECT {} FROM ONLY {} WHERE {} AND {}")
        .format(
            names,
            table.identifier,
            digest.blocks(chunk.first, chunk.last),
            digest.moving(table),
        )
        .as_string(None)
    )


def _delete(table: Table, xid: int) -> str:
    return (
        sql.SQL("DELETE FROM ONLY {} WHERE xmin::text::int8 = {}")
        .format(table.identifier, sql.Literal(xid))
        .as_string(None)
    )


def _sql(statement: str) -> str:
    return sql.SQL(statement).format(chunk=CHUNK_TABLE).as_string(None)


_CHUNK = "schema_name = $1 AND table_name = $2 AND first_block = $3"
_CLAIM = f"SELECT xid, snapshot, wanted FROM {{chunk}} WHERE {_CHUNK} FOR UPDATE"  # noqa: S608
_DONE = (
    "UPDATE {chunk} SET xid = txid_current() % 4294967296, snapshot = $4, rows = $5,"  # noqa: S608
    " failure = NULL, copied_at = clock_timestamp(),"
    f" seconds = extract(epoch FROM clock_timestamp() - now()) WHERE {_CHUNK}"
)
