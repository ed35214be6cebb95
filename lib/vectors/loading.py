"""The action that brings every vector of a collection to a service, and proves that it is there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.vectors.changes import drain, noted
from lib.vectors.database import Connection, VectorDatabase
from lib.vectors.served import Point, PointStore, Served, pages
from lib.vectors.wire import Matrix

_DDL = """
    create schema if not exists orchestra;
    create table if not exists orchestra.vector_loads (
        collection text primary key, service text not null, restricts text[] not null,
        loaded_at timestamptz not null default now());
"""
_TOLD = 5


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a service has of a collection; ``waiting`` changes are noted and not brought yet."""

    service: str
    restricts: tuple[str, ...]
    rows: int
    points: int
    waiting: int


class LoadPoints:
    """Every vector of a collection is in ``store``, as it is in the database.

    ``service`` names the store, so that another one is loaded anew.  The changes of the
    collection must be noted (``NoteChanges``) before; after the load they are drained.  Kept:
    ``orchestra.vector_loads`` says what was loaded where.  The journal keeps the last id, so a
    killed load goes on there.  Raises ``VectorError`` kinds and what the store raises.
    """

    def __init__(
        self, database: VectorDatabase, what: Served, store: PointStore, service: str
    ) -> None:
        self.database = database
        self.what = what
        self._store = store
        self._service = service

    @property
    def subject(self) -> str:
        """``datapoints of <schema.table.column>``."""
        return f"datapoints of {self.what.name}"

    def observe(self) -> Loaded | None:
        """What was loaded and what waits; None where nothing was."""
        with self.database.session() as connection:
            record = _record(connection, self.what)
            if record is None:
                return None
            waiting = noted(connection, self.what)
            rows = _rows(connection, self.what)
        points = self._store.count() if record[0] == self._service else 0
        return Loaded(record[0], tuple(record[1]), rows, points, waiting)

    def plan(self, observed: Loaded | None) -> Change:
        """Load, bring what waits or is missing, or nothing."""
        quantities = {"rows": self.what.column.rows}
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject, quantities=quantities)
        changed = self._elsewhere(observed)
        if changed:
            return Change(
                ChangeKind.UPDATE, self.subject, (changed,), "loads all anew", quantities=quantities
            )
        if observed.waiting:
            reason = f"{observed.waiting:,} noted changes wait"
            return Change(ChangeKind.UPDATE, self.subject, reason=reason)
        if observed.points != observed.rows:
            reason = f"it counts {observed.points:,}, the table {observed.rows:,}"
            return Change(ChangeKind.UPDATE, self.subject, reason=reason)
        return Change(ChangeKind.NONE, self.subject)

    def apply(self, change: Change, journal: Journal) -> None:
        """Load page by page, or bring what is missing; then the changes noted meanwhile."""
        del change
        with self.database.session() as connection:
            record = _record(connection, self.what)
            if record != (self._service, list(self.what.restricts)):
                self._load(connection, journal)
            while self._drained(connection, journal):
                pass
            if self._store.count() != _rows(connection, self.what):
                for _, differing in self._compared(connection, journal):
                    if differing:
                        self._store.upsert(differing)

    def verify(self) -> Loaded:
        """Reads every datapoint back and compares it; raises ``VerificationError`` with some."""
        with self.database.session() as connection:
            wrong: list[str] = []
            number = compared = 0
            for page, differing in self._compared(connection):
                compared += page
                number += len(differing)
                wrong += [each.id for each in differing[: _TOLD - len(wrong)]]
        found = self.observe()
        if number:
            raise _differs(
                f"{number:,} datapoints of {self.what.name} are missing or differ: "
                + ", ".join(wrong)
            )
        if found is not None and compared != found.rows and not found.waiting:
            raise _differs(
                f"{compared:,} of {found.rows:,} rows of {self.what.name} were compared."
            )
        if found is None or self._elsewhere(found):
            raise _differs(f"The {self.subject} were not loaded into {self._service}.")
        if found.points > found.rows and not found.waiting:
            raise _differs(
                f"{self._service} has {found.points - found.rows:,} datapoints that no row of "
                f"{self.what.name} has."
            )
        return found

    def undo(self, change: Change, journal: Journal) -> None:
        """Forget the load; the datapoints go with their index."""
        del journal
        if change.kind is not ChangeKind.CREATE:
            return
        with self.database.session() as connection:
            if _record(connection, self.what) is not None:
                connection.execute(
                    "delete from orchestra.vector_loads where collection = %s", (self.what.name,)
                )

    # -- inside --------------------------------------------------------------------------------

    def _elsewhere(self, observed: Loaded) -> FieldChange | None:
        if observed.service != self._service:
            return FieldChange("service", observed.service, self._service)
        if observed.restricts != self.what.restricts:
            return FieldChange("restricts", list(observed.restricts), list(self.what.restricts))
        return None

    def _load(self, connection: Connection, journal: Journal) -> None:
        connection.execute(_DDL)
        after, done = journal.get("after"), journal.get("done")
        goes_on = journal.get("into") == self._service
        count = done if goes_on and isinstance(done, int) else 0
        begin = after if goes_on and isinstance(after, str) else None
        for found, last in pages(connection, self.what, begin):
            self._store.upsert(found)
            count += len(found)
            journal.put_many({"into": self._service, "after": last, "done": count})
            journal.progress(self.subject, count, self.what.column.rows, "rows")
            journal.safe_point()
        connection.execute(
            "insert into orchestra.vector_loads (collection, service, restricts)"
            " values (%s, %s, %s) on conflict (collection) do update set"
            " service = excluded.service, restricts = excluded.restricts, loaded_at = now()",
            (self.what.name, self._service, list(self.what.restricts)),
        )
        for key in ("into", "after", "done"):
            journal.forget(key)

    def _drained(self, connection: Connection, journal: Journal) -> int:
        journal.safe_point()
        return drain(connection, self.what, self._store)

    def _compared(
        self, connection: Connection, journal: Journal | None = None
    ) -> Iterator[tuple[int, list[Point]]]:
        """Page by page, how many rows, and those that the store has not or has otherwise."""
        done = 0
        for found, _ in pages(connection, self.what):
            there = self._store.read([each.id for each in found])
            differing = [
                each
                for each in found
                if each.id not in there or not _same(each, there[each.id], self.what.metric)
            ]
            done += len(found)
            if journal is not None:
                journal.progress(f"compare {self.subject}", done, self.what.column.rows, "rows")
                journal.safe_point()
            yield len(found), differing


def _record(connection: Connection, what: Served) -> tuple[str, list[str]] | None:
    there = connection.execute("select to_regclass('orchestra.vector_loads')").fetchone()
    if there is None or there[0] is None:
        return None
    found = connection.execute(
        "select service, restricts from orchestra.vector_loads where collection = %s", (what.name,)
    ).fetchone()
    return (found[0], found[1]) if found else None


def _rows(connection: Connection, what: Served) -> int:
    found = connection.execute(
        sql.SQL("select count({}) from {}").format(
            sql.Identifier(what.column.column), what.column.relation
        )
    ).fetchone()
    return int(found[0]) if found else 0


def _same(mine: Point, theirs: Point, metric: str) -> bool:
    """Equal as single floats; for cosines the direction alone, as a service may keep no more."""
    a, b = numpy.asarray(mine.vector), numpy.asarray(theirs.vector)
    if a.shape != b.shape or mine.restricts != tuple(sorted(theirs.restricts)):
        return False
    if metric == "cosine":
        a, b = _direction(a), _direction(b)
    return bool(numpy.allclose(a, b, rtol=1e-5, atol=1e-6))


def _direction(vector: Matrix) -> Matrix:
    length = numpy.linalg.norm(vector)
    return numpy.asarray(vector / length) if length else vector


def _differs(what: str) -> VerificationError:
    """An error that passes where the service merely lags."""
    error = VerificationError(
        what, expected="the same vectors on both sides", remedy="run the step again"
    )
    error.transient = True  # type: ignore[attr-defined]
    return error
