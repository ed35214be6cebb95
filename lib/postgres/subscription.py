"""The subscription on the target: how it is made, asked about, and ended without the source."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import conninfo, sql

from lib.postgres import failures
from lib.postgres.database import Connection, Database, version
from lib.postgres.errors import Obstacle, PostgresError

FIRST_WITH_ERROR_COUNTS = 15


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as the target has it; ``working`` while a worker receives its changes."""

    enabled: bool
    working: bool
    errors: int


def read(target: Connection, name: str) -> Subscription | None:
    """The subscription, or None."""
    counted = version(target) >= FIRST_WITH_ERROR_COUNTS
    row = target.execute(_WITH_ERRORS if counted else _PLAIN, [name]).fetchone()
    return None if row is None else Subscription(*row)


def refuse(target: Connection) -> None:
    """Raise ``Obstacle`` where the target can't subscribe."""
    row: Any = target.execute(_MAY).fetchone()
    may, workers, origins = row
    found = []
    if not may:
        found.append(("its role may not subscribe", "GRANT pg_create_subscription to it"))
    if not workers:
        found.append(("it has no workers for it", "raise max_logical_replication_workers"))
    if not origins:
        found.append(("it keeps no positions", "raise max_replication_slots"))
    if found:
        raise Obstacle(
            "The target can't subscribe to the source: "
            + ", ".join(what for what, _ in found)
            + ".",
            remedy="; ".join(remedy for _, remedy in found),
        )


def create(target: Connection, name: str, source: Database) -> None:
    """Subscribe, not yet enabled, to the publication and slot of the same name.

    The server keeps the source's password, readable by superusers alone; its log does not.
    """
    address = conninfo.make_conninfo(
        host=source.host,
        port=source.port,
        user=source.user,
        password=source.password or None,
        dbname=source.name,
        sslmode=source.sslmode,
        connect_timeout=15,
    )
    _silence(target)
    statement = sql.SQL(
        "CREATE SUBSCRIPTION {0} CONNECTION {1} PUBLICATION {0} WITH (create_slot = false,"
        " copy_data = false, enabled = false, slot_name = {2})"
    )
    try:
        target.execute(
            statement.format(sql.Identifier(name), sql.Literal(address), sql.Literal(name))
        )
    except psycopg.Error as error:
        raise failures.working(f"Subscribing to {source.url}", error, PostgresError) from error


def enable(target: Connection, name: str) -> None:
    """Let the target apply changes from now on."""
    target.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(sql.Identifier(name)))


def drop(target: Connection, name: str) -> None:
    """End the subscription, if there is one; the slot stays on the source."""
    if read(target, name) is None:
        return
    identifier = sql.Identifier(name)
    try:
        with target.transaction():
            for statement in (
                "ALTER SUBSCRIPTION {} DISABLE",
                "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
                "DROP SUBSCRIPTION {}",
            ):
                target.execute(sql.SQL(statement).format(identifier))
    except psycopg.Error as error:
        raise failures.working(f"Dropping subscription {name}", error, PostgresError) from error


def public_may_connect(target: Connection) -> bool:
    """Whether everybody who has a role may connect."""
    row: Any = target.execute(_PUBLIC).fetchone()
    may: bool = row[0]
    return may


def close(target: Connection) -> None:
    """Keep PUBLIC from connecting until the cutover."""
    target.execute(_database(target, "REVOKE CONNECT ON DATABASE {} FROM PUBLIC"))


def open_again(target: Connection) -> None:
    """Let PUBLIC connect, as a new database does."""
    target.execute(_database(target, "GRANT CONNECT ON DATABASE {} TO PUBLIC"))


def _database(target: Connection, statement: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(target.info.dbname))


def _silence(target: Connection) -> None:
    """Keep what follows out of the server's log, where the role may say so."""
    for name, value in (("log_statement", "none"), ("log_min_error_statement", "panic")):
        try:
            target.execute("SELECT set_config(%s, %s, false)", [name, value])
        except psycopg.errors.InsufficientPrivilege:
            continue


_PLAIN = """
SELECT s.subenabled, EXISTS (SELECT FROM pg_stat_subscription w
        WHERE w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL), 0
  FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
 WHERE d.datname = current_database() AND s.subname = %s
"""
_WITH_ERRORS = _PLAIN.replace(
    ", 0\n",
    ",\n       coalesce((SELECT e.apply_error_count FROM pg_stat_subscription_stats e"
    " WHERE e.subid = s.oid), 0)\n",
)
_MAY = """
SELECT r.rolsuper OR current_setting('server_version_num')::int < 160000
       OR coalesce((SELECT pg_has_role(m.oid, 'MEMBER') FROM pg_roles m
                     WHERE m.rolname = 'pg_create_subscription'), false),
       current_setting('max_logical_replication_workers')::int > 0,
       coalesce(nullif(current_setting('max_active_replication_origins', true), ''),
                current_setting('max_replication_slots'))::int > 0
  FROM pg_roles r WHERE r.rolname = current_user
"""
_PUBLIC = """
SELECT EXISTS (SELECT FROM pg_database d,
       aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
 WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'CONNECT')
"""
