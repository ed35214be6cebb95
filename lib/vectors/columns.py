"""Which columns hold vectors, and what is worth knowing about each."""

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from lib.vectors.database import Connection

BOOKKEEPING = ("orchestra", "pg_catalog", "information_schema", "google_ml", "pg_toast")
"""Schemas whose tables are nobody's data."""

_COLUMNS = """
    select n.nspname, c.relname, a.attname, t.typname, a.atttypmod, c.relkind = 'p',
           coalesce((select array_agg(k.attname order by i.place)
                     from pg_index x
                     cross join lateral unnest(x.indkey::int2[]) with ordinality i(number, place)
                     join pg_attribute k on k.attrelid = c.oid and k.attnum = i.number
                     where x.indrelid = c.oid and x.indisprimary), '{}')
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm')
    join pg_namespace n on n.oid = c.relnamespace
    join pg_type t on t.oid = a.atttypid and t.typname in ('vector', 'halfvec')
    where a.attnum > 0 and not a.attisdropped and not c.relispartition
      and n.nspname <> all(%s) and n.nspname !~ '^pg_(temp|toast)'
      and not exists (select from pg_depend d
                      where d.objid = c.oid and d.classid = 'pg_class'::regclass
                        and d.deptype = 'e')
    order by 1, 2, a.attnum
"""


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """A column of embeddings.

    ``rows`` counts those that are not null; ``dimensions`` is 0 where neither the type nor a row
    tells; ``fixed`` says that the type does.  ``key`` names the primary key's columns.
    """

    schema: str
    table: str
    column: str
    dimensions: int
    rows: int
    type: str = "vector"
    fixed: bool = True
    partitioned: bool = False
    key: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``schema.table.column``, as people name it."""
        return f"{self.schema}.{self.table}.{self.column}"

    @property
    def relation(self) -> sql.Identifier:
        """The table, quoted."""
        return sql.Identifier(self.schema, self.table)

    @property
    def identity(self) -> sql.Composable:
        """An expression that names a row: its key where that is one column, else its place."""
        if len(self.key) == 1:
            return sql.Identifier(self.key[0])
        return sql.SQL("(tableoid::text || ctid::text)")


def vector_columns(connection: Connection) -> tuple[VectorColumn, ...]:
    """Every vector and halfvec column outside system and bookkeeping schemas, with its rows.

    Partitions count with their parent.  Without such columns, or without pgvector: nothing.
    """
    found = connection.execute(_COLUMNS, (list(BOOKKEEPING),)).fetchall()
    return tuple(_column(connection, row) for row in found)


def _column(connection: Connection, row: tuple[Any, ...]) -> VectorColumn:
    schema, table, column, kind, modifier, partitioned, key = row
    counted = connection.execute(
        sql.SQL(
            "select count({0}), (select vector_dims({0}) from {1} where {0} is not null limit 1)"
            " from {1}"
        ).format(sql.Identifier(column), sql.Identifier(schema, table))
    ).fetchone()
    rows, seen = counted or (0, None)
    return VectorColumn(
        schema=schema,
        table=table,
        column=column,
        dimensions=modifier if modifier > 0 else (seen or 0),
        rows=rows,
        type=kind,
        fixed=modifier > 0,
        partitioned=partitioned,
        key=tuple(key),
    )
