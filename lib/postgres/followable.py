"""Which tables can be followed, and what stands in the way of following at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.postgres.catalog import Table
from lib.postgres.database import Connection
from lib.postgres.errors import Obstacle
from lib.postgres.online import Online

Found = Iterator[tuple[str, str]]
Shape = Mapping[str, Sequence[str]]
"""The columns of each table, by its name, as text."""


@dataclass(frozen=True, slots=True)
class Division:
    """The tables whose changes are followed, and those that are copied again, with the reason."""

    followed: tuple[Table, ...]
    again: tuple[Table, ...]
    reasons: Mapping[tuple[str, str], str]

    def describe(self) -> str:
        """What is copied again while writes are stopped; empty when nothing is."""
        if not self.again:
            return ""
        names = ", ".join(f"{each.title} ({self.reasons[each.identity]})" for each in self.again)
        size = sum(each.bytes for each in self.again) / 1e6
        return f"copied again while writes are stopped, {size:,.1f} MB: {names}"


def divide(source: Connection, tables: Sequence[Table]) -> Division:
    """Tables that the log describes row by row, and the others."""
    traits = {row[0]: row[1:] for row in source.execute(_TRAITS)}
    reasons: dict[tuple[str, str], str] = {}
    for table in tables:
        unlogged, identity, keyed, incomparable = traits[table.oid]
        if unlogged:
            reasons[table.identity] = "unlogged"
        elif table.condition:
            reasons[table.identity] = "only some of its rows move"
        elif identity == "f" and incomparable:
            reasons[table.identity] = f"type {incomparable} has no equality"
        elif not (keyed or identity == "f"):
            reasons[table.identity] = "no key"
    return Division(
        followed=tuple(table for table in tables if table.identity not in reasons),
        again=tuple(table for table in tables if table.identity in reasons),
        reasons=reasons,
    )


def shape(tables: Sequence[Table]) -> dict[str, list[str]]:
    """What a change of the source's schema would change: each table's columns and types."""
    return {
        table.title: [f"{column.name} {column.definition}" for column in table.columns]
        for table in tables
    }


def changed(before: Shape, now: Shape) -> list[str]:
    """The tables that came, went or have other columns, a phrase each."""
    told = [f"{name} was dropped or renamed" for name in sorted(before.keys() - now.keys())]
    told += [f"{name} is new" for name in sorted(now.keys() - before.keys())]
    told += [
        f"{name} has other columns ({', '.join(sorted({*before[name]} ^ {*now[name]}))})"
        for name in sorted(before.keys() & now.keys())
        if list(before[name]) != list(now[name])
    ]
    return told


def refuse(source: Connection, online: Online, tables: Sequence[Table], division: Division) -> None:
    """Raise one ``Obstacle`` that names all that keeps the source from being followed."""
    found = [
        *_server(source, online),
        *_role(source),
        *_without_key(online, division),
        *_triggers(source, tables),
    ]
    if found:
        raise Obstacle(
            "The source's changes can't be followed:\n"
            + "\n".join(f"  - {what}" for what, _ in found),
            remedy="; ".join(dict.fromkeys(remedy for _, remedy in found)),
        )


def _server(source: Connection, online: Online) -> Found:
    row: Any = source.execute(_SERVER, {"name": online.name}).fetchone()
    level, standby, slots, most, senders, most_senders, elsewhere = row
    if standby:
        yield "the source is a standby", "move from its primary"
    if level != "logical":
        yield (
            f"wal_level is {level}",
            "ALTER SYSTEM SET wal_level = 'logical' and restart the source (managed services"
            " have a flag for it, such as rds.logical_replication or cloudsql.logical_decoding)",
        )
    if slots >= most:
        yield (
            f"all {most} replication slots are taken",
            "drop slots that nobody needs, or raise max_replication_slots",
        )
    if senders >= most_senders:
        yield f"all {most_senders} WAL senders are busy", "raise max_wal_senders"
    if elsewhere:
        yield (
            f"slot {online.name} belongs to another database ({elsewhere})",
            "give this move another project, cluster or database name",
        )


def _role(source: Connection) -> Found:
    row: Any = source.execute(_ROLE).fetchone()
    replicates, owns, creates, overridden = row
    if not replicates:
        yield (
            "the source's role may not replicate",
            "ALTER ROLE ... REPLICATION (on managed services: grant what stands for it)",
        )
    if not owns:
        yield (
            "the source's role does not own the database, so it can't stop its writes",
            "connect as the database's owner",
        )
    if not creates:
        yield "the source's role may not make a publication", "GRANT CREATE ON DATABASE to it"
    for name in overridden or ():
        yield (
            f"role {name} has default_transaction_read_only = off, which would let it write on",
            "ALTER ROLE ... RESET default_transaction_read_only",
        )


def _without_key(online: Online, division: Division) -> Found:
    if online.keyless != "refuse":
        return
    for table in division.again:
        reason = division.reasons[table.identity]
        if reason != "unlogged":
            yield (
                f"updates of table {table.title} can't be followed: {reason}",
                "add a primary key, or ALTER TABLE ... REPLICA IDENTITY USING INDEX or FULL, or"
                ' exclude the table, or set data_migration.keyless_tables = "copy_again"',
            )


def _triggers(source: Connection, tables: Sequence[Table]) -> Found:
    ours = {table.oid: table for table in tables}
    for oid, name in source.execute(_TRIGGERS):
        if oid in ours:
            yield (
                f"trigger {name} of {ours[oid].title} fires for replicated rows too, and would"
                " do on the target again what the source did",
                "ALTER TABLE ... ENABLE TRIGGER makes it an ordinary one",
            )


_TRAITS = """
SELECT c.oid::int8, c.relpersistence = 'u', c.relreplident,
       CASE c.relreplident WHEN 'd' THEN EXISTS (
                SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
            WHEN 'i' THEN EXISTS (
                SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident)
            ELSE false END,
       (SELECT min(format_type(t.oid, NULL)) FROM pg_attribute a
          JOIN pg_type d ON d.oid = a.atttypid
          JOIN pg_type t ON t.oid = coalesce(nullif(d.typbasetype, 0), d.oid)
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND t.typtype = 'b' AND NOT EXISTS (
               SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                WHERE m.amname IN ('btree', 'hash') AND o.opcdefault
                  AND (o.opcintype IN (t.oid, t.typelem) OR EXISTS (
                       SELECT FROM pg_cast k WHERE k.castsource = t.oid
                          AND k.casttarget = o.opcintype AND k.castmethod = 'b'
                          AND k.castcontext = 'i'))))
  FROM pg_class c WHERE c.relkind = 'r'
"""
_SERVER = """
SELECT current_setting('wal_level'), pg_is_in_recovery(),
       (SELECT count(*) FROM pg_replication_slots WHERE slot_name <> %(name)s),
       current_setting('max_replication_slots')::int,
       (SELECT count(*) FROM pg_stat_replication WHERE application_name <> %(name)s),
       current_setting('max_wal_senders')::int,
       (SELECT database FROM pg_replication_slots
         WHERE slot_name = %(name)s AND database IS DISTINCT FROM current_database())
"""
# A managed service may let members of a role of its own replicate.
_ROLE = """
SELECT r.rolsuper OR r.rolreplication OR EXISTS (
           SELECT FROM pg_roles m WHERE m.rolname IN ('rds_replication', 'rds_superuser')
              AND pg_has_role(r.oid, m.oid, 'MEMBER')),
       r.rolsuper OR pg_has_role(r.oid, d.datdba, 'USAGE'),
       has_database_privilege(d.oid, 'CREATE'),
       (SELECT array_agg(s.setrole::regrole::text) FROM pg_db_role_setting s
         WHERE s.setrole <> 0 AND s.setdatabase IN (0, d.oid)
           AND s.setconfig && ARRAY['default_transaction_read_only=off'])
  FROM pg_roles r, pg_database d
 WHERE r.rolname = current_user AND d.datname = current_database()
"""
_TRIGGERS = """
SELECT tgrelid::int8, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('A', 'R')
"""
