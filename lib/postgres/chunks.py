"""How a table is cut into chunks: units of work that are copied or compared on their own."""

from dataclasses import dataclass

from lib.postgres.catalog import Table

CHUNK_BYTES = 64 << 20
_LEAST = 1 << 20
_TURNS = 16
FIRST_WITH_RANGE_SCANS = 14


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows in blocks ``first`` up to, without, ``last`` of a table; the last one is open.

    ``bytes`` estimates its size.  Plain and picklable: whoever can reach both servers can copy it.
    """

    schema: str
    name: str
    first: int
    last: int | None
    bytes: int

    @property
    def table(self) -> tuple[str, str]:
        """Schema and name of the table."""
        return self.schema, self.name

    @property
    def key(self) -> tuple[str, str, int]:
        """What identifies the chunk within a copy."""
        return self.schema, self.name, self.first

    @property
    def title(self) -> str:
        """The chunk as people name it."""
        end = "end" if self.last is None else self.last
        return f"{self.schema}.{self.name} [{self.first}..{end}]"


def chunk_size(total: int, workers: int, most: int) -> int:
    """How large chunks are: each worker has many turns, so that all end at about the same time."""
    return min(most, max(_LEAST, total // (workers * _TURNS)))


def cut(table: Table, version: int, chunk_bytes: int = CHUNK_BYTES) -> tuple[Chunk, ...]:
    """The table's chunks, about ``chunk_bytes`` each, out-of-line values included.

    Servers before version 14 read a whole table for any range of ctid, and tables that are no
    heap have none: those stay whole.
    """
    count = min(-(-table.bytes // chunk_bytes), max(1, table.blocks))
    if count <= 1 or not table.heap or version < FIRST_WITH_RANGE_SCANS:
        return (Chunk(table.schema, table.name, 0, None, table.bytes),)
    step = -(-table.blocks // count)
    firsts = range(0, table.blocks, step)
    share = table.bytes // len(firsts)
    return tuple(
        Chunk(table.schema, table.name, first, first + step if first != firsts[-1] else None, share)
        for first in firsts
    )
