"""Publication and slot on the source: the little SQL that everything online rests on."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.catalog import Table
from lib.postgres.database import Connection
from lib.postgres.errors import PostgresError, SlotLost

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the source's server has it; ``confirmed`` and ``behind`` are bytes of WAL."""

    confirmed: int
    behind: int
    lost: str
    active: bool


def position(connection: Connection) -> int:
    """The end of the server's write-ahead log, in bytes since its beginning."""
    row: Any = connection.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8"
    ).fetchone()
    place: int = row[0]
    return place


def slot(connection: Connection, name: str) -> Slot | None:
    """The slot, or None.  ``lost`` says why its changes are gone, empty while they are kept."""
    row = connection.execute(_SLOT, [name]).fetchone()
    if row is None:
        return None
    confirmed, behind, status, reason, active = row
    lost = reason or (f"wal_status is {status}" if status == "lost" else "")
    return Slot(confirmed or 0, behind or 0, lost, active)


def require_slot(connection: Connection, name: str) -> Slot:
    """The slot; raises ``SlotLost`` when it is gone or its changes are."""
    found = slot(connection, name)
    if found is not None and not found.lost:
        return found
    why = found.lost if found else "it is not there"
    raise SlotLost(
        f"The changes that slot {name} kept on the source are lost: {why}.",
        expected="a slot that the source keeps until the target has read it",
        remedy="raise max_slot_wal_keep_size on the source (and idle_replication_slot_timeout,"
        " where it is set); take the move back with --rollback and start it anew",
    )


def drop_slot(connection: Connection, name: str) -> None:
    """Drop the slot, if it is there, with whoever reads it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        row = connection.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
            " WHERE slot_name = %s",
            [name],
        ).fetchone()
        if row is None:
            return
        try:
            connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
        except psycopg.errors.UndefinedObject:
            return
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        except psycopg.Error as error:
            raise failures.working(f"Dropping slot {name}", error, PostgresError) from error


def published(connection: Connection, name: str) -> frozenset[tuple[str, str]] | None:
    """The tables of the publication by schema and name; None when there is none."""
    found = connection.execute("SELECT FROM pg_publication WHERE pubname = %s", [name])
    if found.fetchone() is None:
        return None
    return frozenset((row[0], row[1]) for row in connection.execute(_PUBLISHED, [name]))


def publish(connection: Connection, name: str, tables: Iterable[Table]) -> None:
    """Make the publication hold exactly these tables."""
    listed = sql.SQL(", ").join(sql.SQL("ONLY {}").format(t.identifier) for t in tables)
    there = published(connection, name) is not None
    publication = sql.Identifier(name)
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '30s'")
            if there and listed.as_string(None):
                statement = sql.SQL("ALTER PUBLICATION {} SET TABLE {}")
                connection.execute(statement.format(publication, listed))
                return
            connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(publication))
            tail = (
                sql.SQL(" FOR TABLE {}").format(listed) if listed.as_string(None) else sql.SQL("")
            )
            connection.execute(sql.SQL("CREATE PUBLICATION {}{}").format(publication, tail))
    except psycopg.Error as error:
        raise failures.working(f"Making publication {name}", error, PostgresError) from error


def unpublish(connection: Connection, name: str) -> None:
    """Drop the publication, if it is there."""
    try:
        connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        raise failures.working(f"Dropping publication {name}", error, PostgresError) from error


def beat(connection: Connection) -> None:
    """Commit something that nobody applies, so that a waiting reader of the log moves on."""
    connection.execute("SELECT pg_logical_emit_message(true, 'orchestra', '')")


# Columns came with versions: 13 has wal_status, 16 conflicting, 17 invalidation_reason.
_SLOT = """
SELECT pg_wal_lsn_diff(s.confirmed_flush_lsn, '0/0')::int8,
       pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)::int8,
       to_jsonb(s) ->> 'wal_status', to_jsonb(s) ->> 'invalidation_reason', s.active
  FROM pg_replication_slots s WHERE s.slot_name = %s
"""
_PUBLISHED = """
SELECT n.nspname, c.relname FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
  JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE p.pubname = %s
"""
