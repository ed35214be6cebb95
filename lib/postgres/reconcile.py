"""After a snapshot is gone: which chunks of it no longer are what the source holds.

A chunk's rows on the target are those whose ``xmin`` is the transaction that the bookkeeping
names; one pass over a target table gives the digests of all its chunks.  The source gives the
digest of the same blocks under the new snapshot.  Equal digests: the chunk is as if it had been
copied now, and is noted so.  Others lose their rows, all at once, and are copied again: no row
that moved from one chunk to another meets its old self in a unique index.  When all chunks of a
table have been brought to one snapshot, the table holds exactly the rows of that snapshot, for
the chunks cover every block once; a row that moved from one chunk to another changed the digests
of both.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg import sql

from lib.postgres import digest, failures
from lib.postgres.bookkeeping import CHUNK_TABLE, Copied
from lib.postgres.catalog import Table
from lib.postgres.database import Connection, Database, connect
from lib.postgres.digest import Digest
from lib.postgres.errors import ForeignRows
from lib.postgres.snapshot import Snapshot
from lib.postgres.workers import QUIET


def adopt_unchanged(
    snapshot: Snapshot,
    target: Database,
    pairs: Iterable[tuple[Table, Table, Sequence[Copied]]],
    workers: int,
) -> None:
    """Note those chunks of earlier snapshots that are the same under this one.

    ``pairs`` gives source table, target table and all its chunks.  Raises ``ForeignRows`` for a
    table with rows that no chunk wrote.
    """

    def one(pair: tuple[Table, Table, Sequence[Copied]]) -> None:
        with snapshot.reader() as reader, connect(target) as writer:
            try:
                _adopt(reader, writer, snapshot.name, *pair)
            except psycopg.Error as error:
                what = f"Comparing {pair[0].title} with what was copied"
                raise failures.working(what, error) from error

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(one, pairs):
            pass


def _adopt(
    reader: Connection,
    writer: Connection,
    snapshot: str,
    source: Table,
    target: Table,
    copied: Sequence[Copied],
) -> None:
    there = by_transaction(writer, target)
    known = {each.xid for each in copied}
    if foreign := sum(found.rows for xid, found in there.items() if xid not in known):
        raise ForeignRows(
            f"{foreign} rows of the target's table {target.title} were not written by this"
            " migration, or were changed there since.",
            expected="a target that nobody writes to before the migration is over",
            remedy=f"TRUNCATE {target.title} on the target and delete its rows from"
            " orchestra_migration.chunk, then run the same command again",
        )
    stale: list[Copied] = []
    for each in copied:
        if each.xid is None or each.snapshot == snapshot:
            continue
        chunk = each.chunk
        row: Any = reader.execute(
            digest.query(source, chunk.first, chunk.last, source.copied)
        ).fetchone()
        if Digest(row[0], int(row[1])) == there.get(each.xid, Digest()):
            writer.execute(_NOTE, [snapshot, chunk.schema, chunk.name, chunk.first])
        else:
            stale.append(each)
    if stale:
        _remove(writer, target, stale)


def _remove(writer: Connection, table: Table, stale: Sequence[Copied]) -> None:
    writer.execute(QUIET)
    with writer.transaction():
        writer.execute(
            sql.SQL("DELETE FROM ONLY {} WHERE xmin::text::int8 = ANY (%s)").format(
                table.identifier
            ),
            [[each.xid for each in stale]],
        )
        for each in stale:
            writer.execute(_FORGET, [each.chunk.schema, each.chunk.name, each.chunk.first])


def by_transaction(connection: Connection, table: Table) -> dict[int, Digest]:
    """The digest of the table's rows by the transaction that wrote them."""
    rows = connection.execute(
        sql.SQL("SELECT xmin::text::int8, {} FROM ONLY {} GROUP BY xmin").format(
            digest.aggregate(table.copied), table.identifier
        )
    )
    return {xid: Digest(count, int(total)) for xid, count, total in rows}


_NOTE = sql.SQL(
    "UPDATE {} SET snapshot = %s WHERE schema_name = %s AND table_name = %s AND first_block = %s"
).format(CHUNK_TABLE)
_FORGET = sql.SQL(
    "UPDATE {} SET xid = NULL, snapshot = NULL, rows = NULL"
    " WHERE schema_name = %s AND table_name = %s AND first_block = %s"
).format(CHUNK_TABLE)
