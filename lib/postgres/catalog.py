"""What a database holds: its tables and their columns, as the catalogue says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import PostgresError

BOOKKEEPING_SCHEMA = "orchestra_migration"
PATIENCE = "30s"
"""How long to wait for a table that somebody has locked against readers."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; ``form`` says how its digest is taken, ``binary`` whether COPY can use binary."""

    name: str
    form: str
    binary: bool
    generated: bool
    definition: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table with rows of its own (no partitioned parent); sizes are estimates of now.

    ``build`` is how many bytes of rows are copied in about the time that its indexes take to be
    built; ``condition`` is SQL that the rows that move fulfil, empty where all of them do.
    """

    schema: str
    name: str
    oid: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    heap: bool
    blocks: int
    bytes: int
    rows: int
    build: int = 0
    condition: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """Schema and name."""
        return self.schema, self.name

    @property
    def title(self) -> str:
        """The name as people write it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """The quoted, qualified name."""
        return sql.Identifier(self.schema, self.name)

    @property
    def copied(self) -> tuple[Column, ...]:
        """The columns that hold values of their own."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def binary(self) -> bool:
        """True where every copied column has a binary form that any server reads alike."""
        return all(column.binary for column in self.copied)


def tables(connection: Connection) -> tuple[Table, ...]:
    """Every table with rows of its own that belongs to no extension, largest first.

    Raises ``PostgresError`` for a table that stays locked against readers.
    """
    with _patient(connection):
        return _tables(connection)


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """A table's size is not told while it is locked: don't wait for ever."""
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [PATIENCE])
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        what = f"Reading the tables of {connection.info.dbname}"
        raise failures.working(what, error, PostgresError) from error
    connection.execute("RESET lock_timeout")


def _tables(connection: Connection) -> tuple[Table, ...]:
    columns: dict[int, list[Column]] = {}
    for oid, name, form, binary, generated, definition in connection.execute(_COLUMNS):
        columns.setdefault(oid, []).append(Column(name, form, binary, generated, definition))
    found = [
        Table(
            schema=schema,
            name=name,
            oid=oid,
            columns=tuple(columns.get(oid, ())),
            key=tuple(key or ()),
            heap=heap,
            blocks=blocks,
            bytes=total,
            rows=max(0, rows),
            build=build,
        )
        for oid, schema, name, heap, blocks, total, rows, key, build in connection.execute(
            _TABLES, [VECTOR]
        )
        if schema != BOOKKEEPING_SCHEMA
    ]
    return tuple(sorted(found, key=lambda table: (-table.bytes, table.identity)))


def vector_indexes(source: Database) -> tuple["VectorIndex", ...]:
    """The vector indexes of the source, which post-data leaves to the vector search phase."""
    with connect(source) as connection:
        return tuple(VectorIndex(*row) for row in connection.execute(_VECTOR_INDEXES, [VECTOR]))


VECTOR = ["hnsw", "ivfflat", "scann"]
"""Access methods of vector indexes."""


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """One vector index: its table, column expression, method, operator class and options."""

    schema: str
    name: str
    table: str
    expression: str
    method: str
    operator_class: str
    options: tuple[str, ...]
    predicate: str | None
    definition: str
    oid: int


def source_identity(connection: Connection) -> str:
    """A name for this very database: the cluster's identifier and the database's oid.

    Where the cluster's identifier can't be read, address and name stand in for it.
    """
    allowed: Any = connection.execute(
        "SELECT has_function_privilege('pg_control_system()', 'execute'), oid, datname"
        " FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    if allowed[0]:
        row: Any = connection.execute(
            "SELECT system_identifier FROM pg_control_system()"
        ).fetchone()
        return f"{row[0]}/{allowed[1]}"
    return f"{connection.info.host}:{connection.info.port}/{allowed[2]}"


USER_RELATIONS = r"""
    n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                    AND d.objid = c.oid AND d.deptype = 'e')
"""

# An index costs a pass over the table, and as its own bytes took in benchmarks/postgres.py: a
# B-tree's a little longer than rows to copy, GIN's five times as long.
_TABLES = f"""
SELECT c.oid::int8, n.nspname, c.relname, coalesce(a.amname = 'heap', false),
       ceil(pg_relation_size(c.oid) / current_setting('block_size')::float8)::int8,
       pg_table_size(c.oid), c.reltuples::int8,
       (SELECT array_agg(a.attname ORDER BY array_position(i.indkey::int2[], a.attnum))
          FROM pg_index i JOIN pg_attribute a
            ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
         WHERE i.indrelid = c.oid AND i.indisprimary),
       (SELECT coalesce(sum(pg_table_size(c.oid) / 64.0 + pg_relation_size(x.oid)
                            * CASE m.amname WHEN 'btree' THEN 1.2 ELSE 5 END), 0)::int8
          FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
         WHERE i.indrelid = c.oid AND m.amname <> ALL (%s))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_am a ON a.oid = c.relam
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {USER_RELATIONS}
"""  # noqa: S608

# Only types in use are followed: through all of them the query took five times as long.
_COLUMNS = f"""
WITH RECURSIVE mine AS MATERIALIZED (
    SELECT c.oid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relkind = 'r' AND {USER_RELATIONS}
), part(root, type, top, plain) AS (
    SELECT DISTINCT atttypid, atttypid, true, true FROM mine
  UNION
    SELECT p.root, s.type, s.same AND p.top, s.plain FROM part p JOIN pg_type t ON t.oid = p.type,
    LATERAL (
        SELECT t.typbasetype AS type, true AS same, true AS plain WHERE t.typtype = 'd'
        UNION ALL SELECT t.typelem, false, false WHERE t.typelem <> 0 AND t.typlen = -1
        UNION ALL SELECT a.atttypid, false, false FROM pg_attribute a
                   WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.attnum > 0
                     AND NOT a.attisdropped
        UNION ALL SELECT r.rngsubtype, false, true FROM pg_range r WHERE r.rngtypid = t.oid
    ) s
), unsafe AS (
    SELECT DISTINCT p.root FROM part p JOIN pg_type t ON t.oid = p.type
     WHERE t.typsend = 0 OR t.typreceive = 0 OR t.typname ~ '^reg' AND t.oid < 16384
        OR (NOT p.plain AND t.oid >= 16384)
), base AS (
    SELECT DISTINCT ON (p.root) p.root, t.typname, t.typsend::text AS send, t.oid < 16384 AS own
      FROM part p JOIN pg_type t ON t.oid = p.type WHERE p.top AND t.typtype <> 'd'
)
SELECT a.oid::int8, a.attname,
       CASE WHEN b.typname = 'bytea' THEN 'bytes'
            WHEN b.own AND b.typname IN ('_float4', '_float8') THEN 'array_send'
            WHEN b.typname IN ('vector', 'halfvec', 'sparsevec') AND NOT b.own
            THEN (SELECT quote_ident(x.nspname) || '.' || quote_ident(p.proname) FROM pg_type v
                    JOIN pg_proc p ON p.oid = v.typsend
                    JOIN pg_namespace x ON x.oid = p.pronamespace
                   WHERE v.typname = b.typname AND v.oid >= 16384 LIMIT 1)
            ELSE 'text' END,
       NOT EXISTS (SELECT FROM unsafe u WHERE u.root = a.atttypid),
       a.attgenerated <> '',
       format_type(a.atttypid, a.atttypmod)
  FROM mine a LEFT JOIN base b ON b.root = a.atttypid ORDER BY a.oid, a.attnum
"""  # noqa: S608

_VECTOR_INDEXES = f"""
SELECT n.nspname, c.relname, t.relname, pg_get_indexdef(c.oid, 1, true), m.amname, o.opcname,
       coalesce(c.reloptions, '{{}}'), pg_get_expr(i.indpred, i.indrelid, true),
       pg_get_indexdef(c.oid), c.oid::int8
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_am m ON m.oid = c.relam
  JOIN pg_opclass o ON o.oid = i.indclass[0]
 WHERE m.amname = ANY (%s) AND {USER_RELATIONS} ORDER BY 1, 2
"""  # noqa: S608
