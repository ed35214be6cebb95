"""Tables that differ, narrowed to the rows and the columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from lib.postgres import digest
from lib.postgres.catalog import Column, Table
from lib.postgres.database import Connection

ROWS_PER_BUCKET = 500
SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that differs: its key, and per column the values of source and target as text.

    ``kind`` is ``changed``, ``missing`` (on the target) or ``extra`` (there).  Of a table without
    a key the row itself is the key, and ``columns`` is empty.  Texts are cut.
    """

    table: str
    kind: str
    key: Mapping[str, str | None]
    columns: Mapping[str, tuple[str | None, str | None]]

    def describe(self) -> str:
        """One line for people."""
        key = ", ".join(f"{name}={value}" for name, value in self.key.items())
        values = "; ".join(
            f"{name}: {old!r} on the source, {new!r} on the target"
            for name, (old, new) in self.columns.items()
        )
        return f"{self.table} ({key}): {values or f'{self.kind} on the target'}"


def narrow(
    source: Connection, target: Connection, mine: Table, theirs: Table, limit: int
) -> list[RowDifference]:
    """Up to ``limit`` rows of the table that differ.

    Rows fall into buckets by the digest of their key; only buckets whose digests differ are read.
    """
    by_name = {column.name: column for column in theirs.columns}
    if {column.name for column in mine.columns} != by_name.keys():
        return []
    other = tuple(by_name[column.name] for column in mine.columns)
    key = tuple(column for column in mine.columns if column.name in mine.key) or mine.columns
    count = max(1, mine.rows // ROWS_PER_BUCKET)
    left = _buckets(source, mine, mine.columns, key, count)
    right = _buckets(target, theirs, other, tuple(by_name[c.name] for c in key), count)
    differ = sorted(n for n in left.keys() | right.keys() if left.get(n) != right.get(n))
    found: list[RowDifference] = []
    for bucket in differ:
        old = _rows(source, mine, mine.columns, key, count, bucket)
        new = _rows(target, theirs, other, tuple(by_name[c.name] for c in key), count, bucket)
        found += _pair(mine, key, old, new)
        if len(found) >= limit:
            return found[:limit]
    return found


def _bucket(key: Sequence[Column], count: int) -> sql.Composed:
    return sql.SQL("({} & 9223372036854775807) % {}").format(digest.row(key), sql.Literal(count))


def _buckets(
    connection: Connection,
    table: Table,
    columns: Sequence[Column],
    key: Sequence[Column],
    count: int,
) -> dict[int, tuple[int, int]]:
    rows = connection.execute(
        sql.SQL("SELECT {}, {} FROM ONLY {} WHERE {} GROUP BY 1").format(
            _bucket(key, count), digest.aggregate(columns), table.identifier, digest.moving(table)
        )
    )
    return {bucket: (number, int(total)) for bucket, number, total in rows}


def _rows(
    connection: Connection,
    table: Table,
    columns: Sequence[Column],
    key: Sequence[Column],
    count: int,
    bucket: int,
) -> dict[tuple[Any, ...], list[tuple[Any, ...]]]:
    """The bucket's rows as texts, by key; texts are cut, with the md5 of the whole behind them."""
    shown = sql.SQL(", ").join(_shown(column) for column in columns)
    rows = connection.execute(
        sql.SQL("SELECT {}, {} FROM ONLY {} WHERE {} = {} AND {} ORDER BY 1").format(
            digest.row(columns),
            shown if columns else sql.SQL("NULL"),
            table.identifier,
            _bucket(key, count),
            sql.Literal(bucket),
            digest.moving(table),
        )
    )
    places = [index for index, column in enumerate(columns) if column in key]
    found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault(tuple(row[1 + place] for place in places), []).append(row)
    return found


def _shown(column: Column) -> sql.Composed:
    text = sql.SQL("{}::text").format(sql.Identifier(column.name))
    return sql.SQL(
        "CASE WHEN length({0}) > {1} THEN left({0}, {1}) || '... md5 ' || md5({0}) ELSE {0} END"
    ).format(text, sql.Literal(SHOWN_CHARACTERS))


def _pair(
    table: Table,
    key: Sequence[Column],
    old: Mapping[tuple[Any, ...], list[tuple[Any, ...]]],
    new: Mapping[tuple[Any, ...], list[tuple[Any, ...]]],
) -> list[RowDifference]:
    found: list[RowDifference] = []
    names = [column.name for column in table.columns]
    for value in dict.fromkeys((*old, *new)):
        mine, theirs = old.get(value, []), new.get(value, [])
        shown = dict(zip([column.name for column in key], value, strict=True))
        for a, b in zip(mine, theirs, strict=False):
            if a[0] != b[0]:
                pairs = zip(names, a[1:], b[1:], strict=True)
                columns = {name: (x, y) for name, x, y in pairs if x != y}
                found.append(RowDifference(table.title, "changed", shown, columns))
        found += [RowDifference(table.title, "missing", shown, {})] * (len(mine) - len(theirs))
        found += [RowDifference(table.title, "extra", shown, {})] * (len(theirs) - len(mine))
    return found
