"""The chosen search parameters, kept on the target in ``orchestra.vector_search_settings``.

PostgreSQL sets ``hnsw.ef_search`` per role, database or session, but the right value belongs to a
column and its index: two columns of one database want two values.  So the choice is a row that
whoever searches reads first.  One row a column:

    table_schema, table_name, column_name   text, the primary key
    index_name, method, metric              text: the index, hnsw | ivfflat | scann,
                                            cosine | l2 | inner_product
    indexed_as                              text: '' or the cast in the index ('halfvec(3072)')
    parameter, value                        text, integer: SET <parameter> = <value> before search
    neighbours, recall_target               integer, double precision: what it was tuned for
    recall, p50_ms, p95_ms, p99_ms          double precision: what was measured
    samples                                 integer
    tuned_at                                timestamptz

Everybody may read it (it holds no secret).
"""

from dataclasses import asdict, dataclass, fields

from psycopg import sql
from psycopg.rows import class_row

from lib.vectors.columns import VectorColumn
from lib.vectors.database import Connection

_DDL = """
    create schema if not exists orchestra;
    create table if not exists orchestra.vector_search_settings (
        table_schema text not null, table_name text not null, column_name text not null,
        index_name text not null, method text not null, metric text not null,
        indexed_as text not null, parameter text not null, value integer not null,
        neighbours integer not null, recall_target double precision not null,
        recall double precision not null, p50_ms double precision not null,
        p95_ms double precision not null, p99_ms double precision not null,
        samples integer not null, tuned_at timestamptz not null default now(),
        primary key (table_schema, table_name, column_name));
    grant usage on schema orchestra to public;
    grant select on orchestra.vector_search_settings to public;
"""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """A row of the table (``tuned_at`` aside); latencies in milliseconds."""

    table_schema: str
    table_name: str
    column_name: str
    index_name: str
    method: str
    metric: str
    indexed_as: str
    parameter: str
    value: int
    neighbours: int
    recall_target: float
    recall: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    samples: int


_NAMES = [each.name for each in fields(SearchSettings)]
_KEY = _NAMES[:3]


def read(connection: Connection, column: VectorColumn) -> SearchSettings | None:
    """The settings of a column, or None where it was never tuned."""
    there = connection.execute("select to_regclass('orchestra.vector_search_settings')").fetchone()
    if there is None or there[0] is None:
        return None
    with connection.cursor(row_factory=class_row(SearchSettings)) as cursor:
        cursor.execute(
            sql.SQL(
                "select {} from orchestra.vector_search_settings"
                " where (table_schema, table_name, column_name) = (%s, %s, %s)"
            ).format(sql.SQL(", ").join(map(sql.Identifier, _NAMES))),
            (column.schema, column.table, column.column),
        )
        return cursor.fetchone()


def write(connection: Connection, settings: SearchSettings) -> None:
    """Store the settings of a column, in place of earlier ones."""
    with connection.transaction():
        connection.execute(_DDL)
        connection.execute(
            sql.SQL(
                "insert into orchestra.vector_search_settings ({}) values ({})"
                " on conflict ({}) do update set {}, tuned_at = now()"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, _NAMES)),
                sql.SQL(", ").join(map(sql.Placeholder, _NAMES)),
                sql.SQL(", ").join(map(sql.Identifier, _KEY)),
                sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(each))
                    for each in _NAMES
                    if each not in _KEY
                ),
            ),
            asdict(settings),
        )


def delete(connection: Connection, column: VectorColumn) -> None:
    """Forget the settings of a column."""
    if read(connection, column) is not None:
        connection.execute(
            "delete from orchestra.vector_search_settings"
            " where (table_schema, table_name, column_name) = (%s, %s, %s)",
            (column.schema, column.table, column.column),
        )
