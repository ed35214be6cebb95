"""Fills a PostgreSQL server with the platform's database."""

from importlib.resources import files

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from lib.sample.tables import TABLES, Counts, Table

DATABASE = "orchestra"
# Sequences stand where no maximum of a column would put them.
_POSITIONS = {
    "agents": ("id", 17),
    "conversations": ("id", 1_000),
    "messages": ("id", 5_000_000_000),
    "documents": ("id", 3),
    "memories": ("id", 250),
    "short_memories": ("id", 1),
}


def fill(url: str, scale: float) -> None:
    """Make the roles and the database ``orchestra`` with all its content; ``url`` is a
    superuser's on a new server."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _script("roles.sql").split(";\n"):
            if statement.strip():
                connection.execute(statement)
    with psycopg.connect(make_conninfo(url, dbname=DATABASE), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '256MB'")
        connection.execute(_script("schema.sql"))
        counts = Counts.at(scale)
        with connection.transaction():
            for table in TABLES:
                _copy(connection, table, counts)
        connection.execute(_script("indexes.sql"))
        connection.execute(_script("edge.sql"))
        _finish(connection)


def _script(name: str) -> str:
    return (files("lib.sample") / name).read_text(encoding="utf-8")


def _copy(connection: psycopg.Connection, table: Table, counts: Counts) -> None:
    """COPY BINARY; what PostgreSQL has no common type for goes as the bytes it expects."""
    statement = SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        Identifier(table.name), SQL(", ").join(map(Identifier, table.columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(table.columns.values()))
        for row in table.rows(counts):
            copy.write_row(row)


def _finish(connection: psycopg.Connection) -> None:
    """Let sequences, search columns, materialised views and statistics be as in a live system."""
    for table, (column, ahead) in _POSITIONS.items():
        connection.execute(
            SQL("SELECT setval(pg_get_serial_sequence(%s, %s), max({}) + %s) FROM {}").format(
                Identifier(column), Identifier(table)
            ),
            [table, column, ahead],
        )
    connection.execute("UPDATE documents SET title = title")  # through its trigger
    connection.execute("RESET ROLE")
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")
