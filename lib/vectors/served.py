"""A collection that a vector service serves beside the database: its rows as datapoints.

The service is whatever has the methods of ``PointStore``; nothing here knows which one it is.
A datapoint's id is the row's primary key as text, or a JSON list of texts where it has several
columns, so that rows are found by their key again.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from psycopg import sql

from lib.vectors.columns import VectorColumn
from lib.vectors.database import Connection
from lib.vectors.wire import Matrix, unpacked

_KEY_TYPES = ("int2", "int4", "int8", "uuid", "text", "varchar")
"""Types whose text is the same in SQL, in JSON and as a parameter."""

_COLUMNS = """
    select a.attname, t.typname from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped
"""
_LARGEST_PAGE = 500
_PAGE_BYTES = 2_000_000


class Point(NamedTuple):
    """A row as a datapoint: id, vector, and (column, value) pairs to filter by, in order."""

    id: str
    vector: Sequence[float]
    restricts: tuple[tuple[str, str], ...] = ()


class PointStore(Protocol):
    """Where datapoints are kept; writes replace, and may be made again."""

    def upsert(self, points: Iterable[Any]) -> None:
        """Add or replace datapoints (``Point``)."""

    def remove(self, ids: Iterable[str]) -> None:
        """Remove datapoints; unknown ids are fine."""

    def read(self, ids: Iterable[str]) -> dict[str, Any]:
        """Those of these ids that are there, each with ``vector`` and ``restricts``."""

    def count(self) -> int:
        """How many there are; may lag behind."""

    def find(
        self, vector: Sequence[float], k: int, *, approximate: int = 0, leaf_percent: int = 0
    ) -> list[tuple[str, float]]:
        """Ids and distances, by the store's measure, of the nearest, nearest first."""


@dataclass(frozen=True, slots=True)
class _ById(VectorColumn):
    """The column with its rows named by their datapoint's id."""

    @property
    def identity(self) -> sql.Composable:
        return row_id(self.key)


@dataclass(frozen=True, slots=True)
class Served:
    """A vector column that a service serves by ``metric``, with ``restricts`` columns beside it."""

    column: VectorColumn
    metric: str
    restricts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``schema.table.column``."""
        return self.column.name

    @property
    def label(self) -> str:
        """A name of letters, digits and underscores that no other column of any table has."""
        words = re.sub(r"[^A-Za-z0-9]+", "_", f"{self.column.table}_{self.column.column}")
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return f"v_{words[:40]}_{digest}"

    @property
    def by_id(self) -> VectorColumn:
        """The column for exact searches whose answers are datapoints' ids."""
        column = self.column
        return _ById(**{name: getattr(column, name) for name in VectorColumn.__slots__})

    @property
    def page(self) -> int:
        """How many datapoints go into one request, so that it stays small."""
        return max(1, min(_LARGEST_PAGE, _PAGE_BYTES // (4 * self.column.dimensions + 200)))


def served(
    connection: Connection, column: VectorColumn, metric: str, restricts: Iterable[str]
) -> Served | str:
    """The column as a service can serve it, or why none can."""
    found = dict(connection.execute(_COLUMNS, (column.relation.as_string(connection),)).fetchall())
    if not column.key:
        return f"{column.name} has no primary key that would name its datapoints"
    odd = [each for each in column.key if found[each] not in _KEY_TYPES]
    if odd:
        return f"the key of {column.name} has a column of type {found[odd[0]]}"
    there = tuple(each for each in restricts if each in found)
    return Served(replace(column), metric, there)


def row_id(key: Sequence[str], row: str = "") -> sql.Composable:
    """The SQL of a row's id; ``row`` is ``new`` or ``old`` in a trigger."""
    texts = [
        sql.SQL("{}::text").format(sql.Identifier(*((row, each) if row else (each,))))
        for each in key
    ]
    if len(texts) == 1:
        return texts[0]
    return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(texts))


def key_of(id: str, columns: int) -> tuple[str, ...]:
    """The key's texts that an id is made of."""
    return tuple(json.loads(id)) if columns > 1 else (id,)


def pages(
    connection: Connection, what: Served, after: str | None = None
) -> Iterator[tuple[list[Point], str]]:
    """All rows with a vector in the order of their key, page by page, with the last id of each.

    Begins behind the id ``after``.
    """
    # Bare names would mean the texts that are selected, which have another order.
    key = sql.SQL(", ").join(sql.Identifier("r", each) for each in what.column.key)
    while True:
        condition: sql.Composable = sql.SQL("")
        values: tuple[str, ...] = ()
        if after is not None:
            values = key_of(after, len(what.column.key))
            marks = sql.SQL(", ").join([sql.Placeholder()] * len(values))
            condition = sql.SQL("and ({}) > ({})").format(key, marks)
        order = sql.SQL("{} order by {} limit {}").format(condition, key, sql.Literal(what.page))
        found = _points(connection, what, order, values)
        if not found:
            return
        after = found[-1].id
        yield found, after


def rows_of(connection: Connection, what: Served, ids: Sequence[str]) -> list[Point]:
    """The rows of these ids that have a vector now."""
    if not ids:
        return []
    key = sql.SQL(", ").join(map(sql.Identifier, what.column.key))
    one = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(what.column.key)))
    condition = sql.SQL("and ({}) in ({})").format(key, sql.SQL(", ").join([one] * len(ids)))
    values = [text for id in ids for text in key_of(id, len(what.column.key))]
    return _points(connection, what, condition, values)


def _points(
    connection: Connection, what: Served, rest: sql.Composable, values: Sequence[str]
) -> list[Point]:
    column = sql.Identifier(what.column.column)
    fields = [row_id(what.column.key), sql.SQL("{}::vector").format(column)]
    fields += [sql.SQL("{}::text").format(sql.Identifier(each)) for each in what.restricts]
    statement = sql.SQL("select {} from {} r where {} is not null {}").format(
        sql.SQL(", ").join(fields), what.column.relation, column, rest
    )
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statement, values).fetchall()
    if not rows:
        return []
    vectors: Matrix = unpacked([row[1] for row in rows])
    return [
        Point(row[0], vector, _pairs(what.restricts, row[2:]))
        for row, vector in zip(rows, vectors, strict=True)
    ]


def _pairs(names: tuple[str, ...], values: Sequence[str | None]) -> tuple[tuple[str, str], ...]:
    there = ((n, v) for n, v in zip(names, values, strict=True) if v is not None)
    return tuple(sorted(there))
