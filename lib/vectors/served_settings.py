"""How a served collection is searched, kept on the target in ``orchestra.served_collections``.

A row says that a collection is served, by which index of the service, and with what effort the
recall that was asked for is reached.  Whoever searches reads it first; without a row the database
is searched.  ``label`` is the deployed index's id, ``address`` where the endpoint answers.
"""

from dataclasses import asdict, dataclass, fields

from psycopg import sql
from psycopg.rows import class_row

from lib.vectors.columns import VectorColumn
from lib.vectors.database import Connection
from lib.vectors.served import Served

_DDL = """
    create schema if not exists orchestra;
    create table if not exists orchestra.served_collections (
        collection text primary key, table_schema text not null, table_name text not null,
        column_name text not null, metric text not null, distance text not null,
        key_columns text[] not null, restricts text[] not null, dimensions integer not null,
        service text not null, endpoint text not null, label text not null, address text not null,
        approximate integer not null, leaf_percent integer not null,
        neighbours integer not null, recall_target double precision not null,
        recall double precision not null, p50_ms double precision not null,
        p95_ms double precision not null, p99_ms double precision not null,
        samples integer not null, tuned_at timestamptz not null default now());
    grant usage on schema orchestra to public;
    grant select on orchestra.served_collections to public;
"""


@dataclass(frozen=True, slots=True)
class ServedSettings:
    """A row of the table (``tuned_at`` aside); latencies in milliseconds."""

    collection: str
    table_schema: str
    table_name: str
    column_name: str
    metric: str
    distance: str
    key_columns: list[str]
    restricts: list[str]
    dimensions: int
    service: str
    endpoint: str
    label: str
    address: str
    approximate: int
    leaf_percent: int
    neighbours: int
    recall_target: float
    recall: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    samples: int

    @property
    def what(self) -> Served:
        """The collection; its rows are not counted."""
        column = VectorColumn(
            self.table_schema,
            self.table_name,
            self.column_name,
            self.dimensions,
            rows=0,
            key=tuple(self.key_columns),
        )
        return Served(column, self.metric, tuple(self.restricts))


_NAMES = [each.name for each in fields(ServedSettings)]


def read(connection: Connection, collection: str) -> ServedSettings | None:
    """The settings of ``schema.table.column``, or None where it is not served."""
    return next((each for each in every(connection) if each.collection == collection), None)


def every(connection: Connection) -> list[ServedSettings]:
    """The settings of all collections that are served."""
    there = connection.execute("select to_regclass('orchestra.served_collections')").fetchone()
    if there is None or there[0] is None:
        return []
    with connection.cursor(row_factory=class_row(ServedSettings)) as cursor:
        cursor.execute(
            sql.SQL("select {} from orchestra.served_collections order by collection").format(
                sql.SQL(", ").join(map(sql.Identifier, _NAMES))
            )
        )
        return cursor.fetchall()


def write(connection: Connection, settings: ServedSettings) -> None:
    """Store the settings of a collection, in place of earlier ones."""
    with connection.transaction():
        connection.execute(_DDL)
        connection.execute(
            sql.SQL(
                "insert into orchestra.served_collections ({}) values ({})"
                " on conflict (collection) do update set {}, tuned_at = now()"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, _NAMES)),
                sql.SQL(", ").join(map(sql.Placeholder, _NAMES)),
                sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(each))
                    for each in _NAMES
                    if each != "collection"
                ),
            ),
            asdict(settings),
        )


def delete(connection: Connection, collection: str) -> None:
    """Forget the settings of a collection: it is searched in the database again."""
    if read(connection, collection) is not None:
        connection.execute(
            "delete from orchestra.served_collections where collection = %s", (collection,)
        )
