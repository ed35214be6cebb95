"""Which chunk is copied next, so that rows and indexes of all tables are ready early."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from lib.postgres.catalog import Table
from lib.postgres.chunks import Chunk


@dataclass(slots=True)
class _Waiting:
    """What waits of one table, and how many copy it."""

    table: Table
    chunks: deque[Chunk] = field(default_factory=deque)
    bytes: int = 0
    workers: int = 0

    @property
    def end(self) -> float:
        """How far its end is for one worker more, in bytes: its share of the rows, then indexes."""
        return self.bytes / (self.workers + 1) + self.table.build


class Schedule:
    """The chunks that wait for ``workers``; safe from any thread.

    A worker begins where the end is farthest away, indexes counted: a table that outweighs the
    others gets all workers, tables alike get one each (longest remaining processing time first;
    Pinedo, Scheduling, "Parallel Machine Models").  Then it stays with its table, where one worker
    alone keeps the rows in their order, as BRIN indexes need it; it leaves for a table that would
    otherwise be later than its own and than all rows.
    """

    def __init__(self, work: Sequence[tuple[Table, Chunk]], workers: int) -> None:
        self._mutex = threading.Lock()
        self._workers = workers
        self._bytes = 0
        self._tables: dict[tuple[str, str], _Waiting] = {}
        for table, chunk in work:
            waiting = self._tables.setdefault(table.identity, _Waiting(table))
            waiting.chunks.append(chunk)
            self._count(waiting, chunk.bytes)
        self._new = deque(sorted(self._tables.values(), key=lambda each: -each.end))
        self._begun: list[_Waiting] = []

    def take(self, last: Table | None = None) -> tuple[Table, Chunk] | None:
        """The next chunk for a worker, which copied one of ``last``; None when none waits."""
        with self._mutex:
            own = self._tables[last.identity] if last else None
            if own is not None:
                own.workers -= 1
            chosen = self._choose(own)
            if chosen is None:
                return None
            chosen.workers += 1
            chunk = chosen.chunks.popleft()
            self._count(chosen, -chunk.bytes)
            return chosen.table, chunk

    def _count(self, waiting: _Waiting, size: int) -> None:
        waiting.bytes += size
        self._bytes += size

    def _choose(self, own: _Waiting | None) -> _Waiting | None:
        self._begun = [each for each in self._begun if each.chunks]
        there = [*self._begun, self._new[0]] if self._new else self._begun
        if not there:
            return None
        farthest = max(there, key=lambda each: each.end)
        if own and own.chunks and farthest.end <= max(own.end, self._bytes / self._workers):
            return own
        if self._new and farthest is self._new[0]:
            self._begun.append(self._new.popleft())
        return farthest
