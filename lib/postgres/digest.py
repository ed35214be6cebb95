"""The digest of rows, in SQL, equal on every server that holds the same values.

A row's digest is 64 bits (``hashtextextended``) over the text of its columns in their order;
a set of rows has the sum of its rows' digests, which no order changes, and their number.
The text is taken under the session settings of ``lib.postgres.database.SESSION``.  Values that
differ in any way that a query can see have different texts: NULL and the empty string, -0 and
0, 1.0 and 1.00 (numeric), the bits of a float.  Every NaN is the same NaN.  bytea, arrays of
floats and vectors enter by the md5 of their bytes or of their binary form, which costs a tenth of
their text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from lib.postgres.catalog import Column, Table


@dataclass(frozen=True, slots=True)
class Digest:
    """The number of rows and the sum of their digests."""

    rows: int = 0
    total: int = 0

    def __add__(self, other: "Digest") -> "Digest":
        return Digest(self.rows + other.rows, self.total + other.total)


def column(each: Column) -> sql.Composable:
    """The expression of one column that enters a row's digest."""
    name = sql.Identifier(each.name)
    if each.form == "text":
        return name
    if each.form == "bytes":
        return sql.SQL("pg_catalog.md5({})").format(name)
    # The catalogue quoted the function's name.
    return sql.SQL("pg_catalog.md5({}({}))").format(sql.SQL(each.form), name)


def row(columns: Sequence[Column]) -> sql.Composed:
    """The expression of a row's digest: an int8, never NULL."""
    values = sql.SQL(", ").join(column(each) for each in columns)
    return sql.SQL("pg_catalog.hashtextextended(ROW({})::text, 0)").format(values)


def aggregate(columns: Sequence[Column]) -> sql.Composed:
    """The two expressions of a set's digest: count and sum."""
    return sql.SQL("count(*), coalesce(sum({}), 0)").format(row(columns))


def blocks(first: int, last: int | None) -> sql.Composed:
    """The condition for rows of the blocks from ``first`` up to, without, ``last``."""
    conditions: list[sql.Composable] = []
    if first:
        conditions.append(sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({first},0)")))
    if last is not None:
        conditions.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({last},0)")))
    return sql.SQL(" AND ").join(conditions or [sql.SQL("true")])


def moving(table: Table) -> sql.SQL:
    """The condition for rows that move."""
    return sql.SQL(table.condition or "true")


def query(table: Table, first: int, last: int | None, columns: Sequence[Column]) -> sql.Composed:
    """The digest of the table's rows in a range of blocks."""
    return sql.SQL("SELECT {} FROM ONLY {} WHERE {} AND {}").format(
        aggregate(columns), table.identifier, blocks(first, last), moving(table)
    )
