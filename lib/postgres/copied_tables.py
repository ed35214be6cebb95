"""The target's tables that rows are copied into: what they must be before, and emptying them."""

from collections.abc import Mapping

from psycopg import sql

from lib.postgres import bookkeeping, catalog, followable, replication
from lib.postgres.catalog import Table
from lib.postgres.database import Connection
from lib.postgres.errors import ForeignRows, Obstacle, SchemaChanged
from lib.postgres.snapshot import Snapshot

Tables = Mapping[tuple[str, str], Table]


def refuse_unpublished(snapshot: Snapshot, slot: str, tables: tuple[Table, ...]) -> None:
    """Raise ``SchemaChanged`` when the publication lacks a table that the snapshot has."""
    wanted = {t.identity for t in followable.divide(snapshot.connection, tables).followed}
    published = replication.published(snapshot.connection, slot) or frozenset()
    if wanted != published:
        differ = ", ".join(sorted(".".join(name) for name in wanted ^ published))
        raise SchemaChanged(
            f"Tables of the source came or went while its slot was made: {differ}.",
            remedy="run the same command again",
        )


def empty(target: Connection) -> None:
    """Empty the tables that were copied into, and forget the copy."""
    copied = {each.chunk.table for each in bookkeeping.chunks(target)}
    there = sorted(copied & set(by_identity(target)))
    # Foreign keys name the partitioned table, so it is emptied along with its partitions.
    parents = target.execute(
        _PARENTS, [[table[0] for table in there], [table[1] for table in there]]
    ).fetchall()
    names = sql.SQL(", ").join(sql.Identifier(*each) for each in [*there, *parents])
    with target.transaction():
        if there:
            target.execute(sql.SQL("TRUNCATE {}").format(names))
        bookkeeping.remove(target)


def by_identity(connection: Connection) -> Tables:
    """The tables by schema and name."""
    return {table.identity: table for table in catalog.tables(connection)}


def refuse_unlike(tables: tuple[Table, ...], there: Tables) -> None:
    """Raise ``Obstacle`` for a table that the target lacks or has otherwise."""
    for table in tables:
        found = there.get(table.identity)
        if found is None:
            raise Obstacle(
                f"The target has no table {table.title}.",
                remedy="apply the schema first, or exclude the table",
            )
        mine = {column.name: column.definition.rpartition(".")[2] for column in table.copied}
        other = {column.name: column.definition.rpartition(".")[2] for column in found.copied}
        if mine != other:
            differ = ", ".join(sorted({name for name, _ in mine.items() ^ other.items()}))
            raise Obstacle(
                f"Table {table.title} has other columns on the target: {differ}.",
                expected="the source's schema, as it was when the schema was applied",
                remedy="repeat the change of the source's schema on the target, or start anew",
            )


def refuse_filled(target: Connection, tables: list[Table]) -> None:
    """Raise ``ForeignRows`` for a table that has rows already."""
    for table in tables:
        row = target.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(table.identifier)
        ).fetchone()
        if row and row[0]:
            raise ForeignRows(
                f"The target's table {table.title} has rows that this migration did not copy.",
                expected="an empty table",
                remedy="empty the table on the target, or exclude it",
            )


_PARENTS = """
WITH copied AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t(nspname, relname))
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'p' AND NOT EXISTS (
       SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid AND p.isleaf
         JOIN pg_namespace m ON m.oid = l.relnamespace
        WHERE (m.nspname, l.relname) NOT IN (SELECT nspname, relname FROM copied))
"""
