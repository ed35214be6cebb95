"""How far a copy is: in total, and of the table that moves."""

import threading
import time
from collections import Counter
from collections.abc import Mapping

from lib.engine.actions import Journal
from lib.postgres.catalog import Table
from lib.postgres.chunks import Chunk
from lib.postgres.overlap import Finisher


class Tally:
    """Progress in bytes as the chunks were estimated, and which tables have all their rows.

    The label tells of the table that moved last: its part, the time that is left for it, and how
    many tables are done.
    """

    def __init__(
        self,
        journal: Journal,
        tables: Mapping[tuple[str, str], Table],
        missing: list[Chunk],
        finisher: Finisher,
    ) -> None:
        self._journal = journal
        self._tables = tables
        self._finisher = finisher
        self._total = sum(chunk.bytes for chunk in missing)
        self._done = 0
        self._left = Counter(chunk.table for chunk in missing)
        self._bytes = Counter[tuple[str, str]]()
        for chunk in missing:
            self._bytes[chunk.table] += chunk.bytes
        self._arrived = Counter[tuple[str, str]]()
        self._began: dict[tuple[str, str], tuple[int, float]] = {}
        self._mutex = threading.Lock()
        for identity, table in tables.items():
            if not self._left[identity]:
                finisher.finish(table)

    def add(self, chunk: Chunk, rows: int, size: int) -> None:
        """Count a chunk that was copied."""
        del rows, size
        with self._mutex:
            self._done += chunk.bytes
            done = self._done
            self._left[chunk.table] -= 1
            last = not self._left[chunk.table]
            all_in = last and not self._left.total()
            label = self._label(chunk)
        self._journal.progress(label, done, self._total, "bytes")
        if all_in:
            self._finisher.rows_are_in()
        if last:
            self._finisher.finish(self._tables[chunk.table])

    def _label(self, chunk: Chunk) -> str:
        name, now = chunk.table, time.monotonic()
        arrived = self._arrived[name] = self._arrived[name] + chunk.bytes
        # Of a table the time is measured from its first chunk's end.
        first, began = self._began.setdefault(name, (arrived, now))
        whole = self._bytes[name]
        left = ""
        if self._left[name] and arrived > first and now > began:
            rate = (arrived - first) / (now - began)
            left = f", {(whole - arrived) / rate:.0f} s left"
        part = arrived / whole if whole else 1.0
        tables = sum(not self._left[each] for each in self._bytes)
        return f"{'.'.join(name)} {part:.0%}{left}; {tables} of {len(self._bytes)} tables"
