"""The durable state: resources, operations, facts and policies in one SQLite file."""

import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lib.localcloud.errors import EmbeddedCloudError

VERSION: Final = 1
SCHEMA: Final = """
CREATE TABLE resources (
    service TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, parent TEXT NOT NULL,
    body BLOB NOT NULL, generation INTEGER NOT NULL, PRIMARY KEY (service, name)) WITHOUT ROWID;
CREATE INDEX resources_by_parent ON resources (service, kind, parent, name);
CREATE TABLE operations (
    name TEXT PRIMARY KEY, service TEXT NOT NULL, rpc TEXT NOT NULL, kind TEXT NOT NULL,
    target TEXT NOT NULL, payload BLOB NOT NULL, created REAL NOT NULL, done REAL,
    error BLOB, response BLOB) WITHOUT ROWID;
CREATE TABLE requests (
    service TEXT NOT NULL, id TEXT NOT NULL, rpc TEXT NOT NULL, digest TEXT NOT NULL,
    operation TEXT NOT NULL, PRIMARY KEY (service, id)) WITHOUT ROWID;
CREATE TABLE facts (
    scope TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (scope, key)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A stored resource: its protobuf bytes and how often it was written."""

    service: str
    name: str
    kind: str
    body: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class OperationRow:
    """A stored operation; ``done`` is a time in seconds, or None while it is under way."""

    name: str
    service: str
    rpc: str
    kind: str
    target: str
    payload: bytes
    created: float
    done: float | None
    error: bytes | None
    response: bytes | None


class Store:
    """One connection with one lock; every write is durable when the call returns.

    Writes inside ``with store.transaction():`` are committed together or not at all.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._path = path
        self._past: dict[int, sqlite3.Connection] = {}
        self._reading = threading.local()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
        except sqlite3.DatabaseError as error:
            raise EmbeddedCloudError(
                f"The state of the embedded cloud in {path} cannot be read: {error}.",
                remedy="python -m lib.localcloud reset --yes (removes all its resources)",
            ) from error
        if version not in (0, VERSION):
            raise EmbeddedCloudError(
                f"{path} was written by another release of the embedded cloud.",
                expected=f"schema version {VERSION}, found {version}",
                remedy="use that release, or python -m lib.localcloud reset --yes",
            )
        path.chmod(0o600)

    def close(self) -> None:
        """Close the file; calls after this fail."""
        with self._lock:
            self.keep(())
            self._db.close()

    # the past, for stale reads

    def keep(self, moments: Collection[int]) -> None:
        """Keep the state as it is now under each new number, and forget the numbers left out."""
        with self._lock:
            for number in [each for each in self._past if each not in moments]:
                self._past.pop(number).close()
            for number in moments:
                if number not in self._past:
                    past = sqlite3.connect(
                        self._path, check_same_thread=False, isolation_level=None
                    )
                    past.execute("BEGIN")
                    past.execute("SELECT 1 FROM resources LIMIT 1").fetchall()  # pins the snapshot
                    self._past[number] = past

    @contextmanager
    def as_it_was(self, number: int) -> Iterator[None]:
        """This thread reads the state that was kept under ``number``."""
        before = getattr(self._reading, "past", None)
        self._reading.past = self._past.get(number, before)
        try:
            yield
        finally:
            self._reading.past = before

    @property
    def _read(self) -> sqlite3.Connection:
        return getattr(self._reading, "past", None) or self._db

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside together; other threads wait meanwhile.  May be nested."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._db.execute("BEGIN IMMEDIATE")
                yield
            except BaseException:
                if self._depth == 1:
                    self._db.execute("ROLLBACK")
                raise
            else:
                if self._depth == 1:
                    self._db.execute("COMMIT")
            finally:
                self._depth -= 1

    # resources

    def get(self, service: str, name: str) -> Row | None:
        """The resource of that name."""
        with self._lock:
            row = self._read.execute(
                "SELECT service, name, kind, body, generation FROM resources"
                " WHERE service = ? AND name = ?",
                (service, name),
            ).fetchone()
        return Row(*row) if row else None

    def put(self, service: str, name: str, kind: str, parent: str, body: bytes) -> None:
        """Write a resource, new or not."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO resources VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE"
                " SET body = excluded.body, parent = excluded.parent, generation = generation + 1",
                (service, name, kind, parent, body),
            )

    def delete(self, service: str, name: str) -> None:
        """Remove a resource; one that is not there is fine."""
        with self.transaction():
            self._db.execute(
                "DELETE FROM resources WHERE service = ? AND name = ?", (service, name)
            )

    def children(
        self, service: str, kind: str, parent: str | None, after: str = "", limit: int = -1
    ) -> list[Row]:
        """Resources of a kind below ``parent`` (None: anywhere) by name, from ``after`` on."""
        with self._lock:
            rows = self._read.execute(
                "SELECT service, name, kind, body, generation FROM resources"
                " WHERE service = ? AND kind = ? AND (? IS NULL OR parent = ?) AND name > ?"
                " ORDER BY name LIMIT ?",
                (service, kind, parent, parent, after, limit),
            ).fetchall()
        return [Row(*row) for row in rows]

    def uses(self, service: str) -> bool:
        """Whether a service has any resource."""
        with self._lock:
            found = self._read.execute(
                "SELECT 1 FROM resources WHERE service = ? LIMIT 1", (service,)
            ).fetchone()
        return found is not None

    # operations

    def put_operation(self, row: OperationRow) -> None:
        """Keep a newly accepted operation."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (row.name, row.service, row.rpc, row.kind, row.target, row.payload,
                 row.created, row.done, row.error, row.response),
            )  # fmt: skip

    def finish_operation(
        self, name: str, done: float, error: bytes | None, response: bytes | None
    ) -> None:
        """Keep the outcome of an operation."""
        with self.transaction():
            self._db.execute(
                "UPDATE operations SET done = ?, error = ?, response = ? WHERE name = ?",
                (done, error, response, name),
            )

    def operation(self, name: str) -> OperationRow | None:
        """The operation of that name."""
        rows = self._operations("name = ?", name)
        return rows[0] if rows else None

    def open_operations(self, target: str | None = None) -> list[OperationRow]:
        """Operations under way, all of them or those on one resource."""
        return self._operations("done IS NULL AND (? IS NULL OR target = ?)", target, target)

    def operations(self, service: str | None, prefix: str) -> list[OperationRow]:
        """Operations whose names begin with ``prefix``."""
        return self._operations(
            "(? IS NULL OR service = ?) AND substr(name, 1, ?) = ?",
            service, service, len(prefix), prefix,
        )  # fmt: skip

    def delete_operation(self, name: str) -> None:
        """Forget an operation."""
        with self.transaction():
            self._db.execute("DELETE FROM operations WHERE name = ?", (name,))

    def _operations(self, condition: str, *values: object) -> list[OperationRow]:
        with self._lock:
            rows = self._read.execute(
                f"SELECT * FROM operations WHERE {condition} ORDER BY created, name",  # noqa: S608
                values,
            ).fetchall()
        return [OperationRow(*row) for row in rows]

    def request(self, service: str, request_id: str) -> tuple[str, str, str] | None:
        """``(rpc, digest, operation)`` of a request id that was used before."""
        with self._lock:
            row = self._read.execute(
                "SELECT rpc, digest, operation FROM requests WHERE service = ? AND id = ?",
                (service, request_id),
            ).fetchone()
        return (row[0], row[1], row[2]) if row else None

    def put_request(
        self, service: str, request_id: str, rpc: str, digest: str, operation: str
    ) -> None:
        """Keep which operation a request id began."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?)",
                (service, request_id, rpc, digest, operation),
            )

    # facts

    def fact(self, scope: str, key: str) -> bytes | None:
        """A small value under ``(scope, key)``."""
        with self._lock:
            row = self._read.execute(
                "SELECT value FROM facts WHERE scope = ? AND key = ?", (scope, key)
            ).fetchone()
        return bytes(row[0]) if row else None

    def facts(self, scope: str) -> dict[str, bytes]:
        """Every value of a scope."""
        with self._lock:
            return {
                key: bytes(value)
                for key, value in self._read.execute(
                    "SELECT key, value FROM facts WHERE scope = ? ORDER BY key", (scope,)
                )
            }

    def put_fact(self, scope: str, key: str, value: bytes) -> None:
        """Keep a value."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (scope, key, value))

    def drop_fact(self, scope: str, key: str) -> None:
        """Forget a value."""
        with self.transaction():
            self._db.execute("DELETE FROM facts WHERE scope = ? AND key = ?", (scope, key))
