"""The file beside the state that the server and the command line share: call counts and faults.

It is apart from the state because counting must cost nothing: what is in it survives a killed
process, though perhaps not a power cut.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lib.localcloud.errors import EmbeddedCloudError

FILE: Final = "rehearsal.db"
BUSY_SECONDS: Final = 10.0
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS calls (method TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS faults (
    id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, added REAL NOT NULL,
    seen INTEGER NOT NULL DEFAULT 0, struck INTEGER NOT NULL DEFAULT 0);
"""


class Rehearsal:
    """One connection to the file; safe to use from several threads and several processes."""

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.RLock()
        path = state / FILE
        try:
            self._db = sqlite3.connect(
                path, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise EmbeddedCloudError(
                f"The counts and faults in {path} cannot be read: {error}.",
                remedy=f"remove {path}: no resource is in it",
            ) from error
        path.chmod(0o600)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside together; other threads and processes wait meanwhile."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        with self._lock:
            return self._db.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
