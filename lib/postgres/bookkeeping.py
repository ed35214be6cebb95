"""What the target knows about its own copy: a small schema that commits with the rows.

``orchestra_migration.chunk`` has a row for each chunk.  ``xid`` is the transaction that wrote the
chunk's rows, so that the rows of a chunk are found again by their ``xmin``; ``snapshot`` names the
source snapshot they were read under.  Both are set in the transaction that writes the rows: a
chunk is either wholly there and known, or neither.  ``wanted`` names the only snapshot under which
the chunk may be copied now, so that a worker that outlived its run can't write any more;
``failure`` is what a worker on another machine could not do.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg import sql

from lib.postgres.catalog import BOOKKEEPING_SCHEMA
from lib.postgres.chunks import Chunk
from lib.postgres.database import Connection
from lib.postgres.errors import Obstacle

_SCHEMA = sql.Identifier(BOOKKEEPING_SCHEMA)
CHUNK_TABLE = sql.Identifier(BOOKKEEPING_SCHEMA, "chunk")
_COPY_TABLE = sql.Identifier(BOOKKEEPING_SCHEMA, "copy")

_CREATE = (
    "CREATE SCHEMA IF NOT EXISTS {schema}",
    "CREATE TABLE IF NOT EXISTS {copy} (source text PRIMARY KEY, tables text NOT NULL,"
    " snapshot text, completed_at timestamptz, refreshed_at timestamptz)",
    "CREATE TABLE IF NOT EXISTS {chunk} (schema_name text, table_name text, first_block int8,"
    " last_block int8, bytes int8 NOT NULL, xid int8, snapshot text, rows int8,"
    " copied_at timestamptz, wanted text, failure text, seconds float8,"
    " PRIMARY KEY (schema_name, table_name, first_block))",
)
_OLDER = (
    "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = %s AND c.relname = 'chunk' AND 3 > (SELECT count(*) FROM pg_attribute"
    " WHERE attrelid = c.oid AND attname IN ('wanted', 'failure', 'seconds'))"
)


@dataclass(frozen=True, slots=True)
class Copied:
    """A chunk as the bookkeeping has it; ``xid`` and ``snapshot`` are None until it is copied."""

    chunk: Chunk
    xid: int | None
    snapshot: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Moved:
    """What was copied of a table: rows, its size on the source, and the workers' seconds."""

    table: str
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy as a whole; ``complete`` when every chunk was read under the one ``snapshot``."""

    source: str
    tables: str
    snapshot: str | None
    complete: bool


def exists(target: Connection) -> bool:
    """True when the target has bookkeeping."""
    found = target.execute(
        "SELECT to_regclass(%s) IS NOT NULL", [f"{BOOKKEEPING_SCHEMA}.chunk"]
    ).fetchone()
    return bool(found and found[0])


def create(target: Connection) -> None:
    """Make the bookkeeping's schema and tables, in one transaction."""
    with target.transaction():
        for statement in _CREATE:
            target.execute(_format(statement))
        # The lock that ALTER takes would wait for every worker, so only where it is needed.
        if target.execute(_OLDER, [BOOKKEEPING_SCHEMA]).fetchone():
            target.execute(
                _format(
                    "ALTER TABLE {chunk} ADD IF NOT EXISTS wanted text,"
                    " ADD IF NOT EXISTS failure text, ADD IF NOT EXISTS seconds float8"
                )
            )


def remove(target: Connection) -> None:
    """Drop the bookkeeping."""
    target.execute(_format("DROP SCHEMA IF EXISTS {schema} CASCADE"))


def copy(target: Connection) -> Copy | None:
    """The copy that the target holds, or None."""
    row = target.execute(
        _format("SELECT source, tables, snapshot, completed_at IS NOT NULL FROM {copy}")
    ).fetchone()
    return None if row is None else Copy(*row)


def begin(target: Connection, source: str, tables: str) -> None:
    """Note that a copy of ``source`` runs; refuses a target that holds another source's copy."""
    with target.transaction():
        target.execute(
            _format(
                "INSERT INTO {copy} (source, tables) VALUES (%s, %s) ON CONFLICT (source)"
                " DO UPDATE SET tables = excluded.tables, completed_at = NULL"
            ),
            [source, tables],
        )
        refuse_other(target, source)


def refuse_other(target: Connection, source: str) -> None:
    """Raise ``Obstacle`` when the target's bookkeeping is of another source."""
    other = target.execute(
        _format("SELECT source FROM {copy} WHERE source <> %s"), [source]
    ).fetchone()
    if other is not None:
        raise Obstacle(
            f"The target holds a copy of another source ({other[0]}, not {source}).",
            expected="a target that is empty, or that holds this source's copy",
            remedy="choose an empty database, or drop the target's tables and its schema "
            f"{BOOKKEEPING_SCHEMA}",
        )


def complete(target: Connection, snapshot: str) -> None:
    """Note that every chunk was read under ``snapshot``; with it all of them are on disk."""
    with target.transaction():
        target.execute("SET LOCAL synchronous_commit = on")
        target.execute(_format("UPDATE {copy} SET snapshot = %s, completed_at = now()"), [snapshot])


PATIENCE = "10min"
"""How long ``want`` waits for a chunk that a worker of an earlier run still copies."""


def want(target: Connection, snapshot: str) -> None:
    """From now on chunks are copied under ``snapshot`` alone.

    Waits for chunks that workers of an earlier run, wherever they are, have under way; what they
    begin later is refused with ``Superseded``.
    """
    with target.transaction():
        target.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
        target.execute(_format("UPDATE {chunk} SET wanted = %s, failure = NULL"), [snapshot])


def unwant(target: Connection, snapshot: str) -> None:
    """No chunk is copied under ``snapshot`` any more; waits for those under way."""
    target.execute(
        _format(
            "UPDATE {chunk} SET wanted = NULL WHERE wanted = %s AND snapshot IS DISTINCT FROM %s"
        ),
        [snapshot, snapshot],
    )


def fail(target: Connection, chunk: Chunk, snapshot: str, failure: Mapping[str, str]) -> None:
    """Note why a worker could not copy the chunk; the next success or run forgets it."""
    target.execute(
        _format(
            "UPDATE {chunk} SET failure = %s WHERE schema_name = %s AND table_name = %s"
            " AND first_block = %s AND wanted = %s AND snapshot IS DISTINCT FROM %s"
        ),
        [json.dumps(failure), *chunk.key, snapshot, snapshot],
    )


def failures(target: Connection, snapshot: str) -> list[dict[str, str]]:
    """Why workers could not copy chunks that are wanted and not there."""
    rows = target.execute(
        _format(
            "SELECT failure FROM {chunk} WHERE wanted = %s AND snapshot IS DISTINCT FROM %s"
            " AND failure IS NOT NULL"
        ),
        [snapshot, snapshot],
    )
    return [json.loads(row[0]) for row in rows]


def refreshed(target: Connection) -> None:
    """Note that the materialised views were filled after the last chunk."""
    target.execute(_format("UPDATE {copy} SET refreshed_at = now()"))


def views_are_older(target: Connection) -> bool:
    """True when a chunk came after the materialised views were last filled."""
    row = target.execute(
        _format(
            "SELECT coalesce(refreshed_at < (SELECT max(copied_at) FROM {chunk}), true) FROM {copy}"
        )
    ).fetchone()
    return bool(row and row[0])


def chunks(target: Connection) -> tuple[Copied, ...]:
    """Every chunk of the copy, copied or not."""
    rows = target.execute(
        _format(
            "SELECT schema_name, table_name, first_block, last_block, bytes, xid, snapshot,"
            " coalesce(rows, 0) FROM {chunk} ORDER BY 1, 2, 3"
        )
    )
    return tuple(Copied(Chunk(*row[:5]), row[5], row[6], row[7]) for row in rows)


def add(target: Connection, planned: Iterable[Chunk]) -> None:
    """Note chunks that are to be copied, in one transaction."""
    statement = _format(
        "INSERT INTO {chunk} (schema_name, table_name, first_block, last_block, bytes)"
        " VALUES (%s, %s, %s, %s, %s)"
    )
    with target.transaction(), target.cursor() as cursor:
        cursor.executemany(
            statement, [(c.schema, c.name, c.first, c.last, c.bytes) for c in planned]
        )


def rows_under(target: Connection, snapshot: str) -> Mapping[tuple[str, str, int], int]:
    """The chunks that were copied under the snapshot, by key, and their rows."""
    rows = target.execute(
        _format(
            "SELECT schema_name, table_name, first_block, rows FROM {chunk} WHERE snapshot = %s"
        ),
        [snapshot],
    )
    return {(schema, name, first): count for schema, name, first, count in rows}


def rows_copied(target: Connection) -> Mapping[tuple[str, str], int]:
    """The number of rows by table that the bookkeeping counts."""
    rows = target.execute(
        _format("SELECT schema_name, table_name, sum(rows)::int8 FROM {chunk} GROUP BY 1, 2")
    )
    return {(schema, name): count or 0 for schema, name, count in rows}


def moved(target: Connection) -> tuple[Moved, ...]:
    """What was copied of each table, the largest first."""
    rows = target.execute(
        _format(
            "SELECT schema_name || '.' || table_name, coalesce(sum(rows), 0)::int8,"
            " sum(bytes)::int8, coalesce(sum((to_jsonb(c) ->> 'seconds')::float8), 0)"
            " FROM {chunk} c WHERE xid IS NOT NULL GROUP BY 1 ORDER BY 3 DESC, 1"
        )
    )
    return tuple(Moved(*row) for row in rows)


def _format(statement: str) -> sql.Composed:
    return sql.SQL(statement).format(schema=_SCHEMA, chunk=CHUNK_TABLE, copy=_COPY_TABLE)
