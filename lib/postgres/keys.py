"""Primary and unique keys in two turns: their index first, then the key on it.

``ALTER TABLE ... ADD PRIMARY KEY`` builds its index under a lock that lets no other index of the
table be built meanwhile; ``CREATE UNIQUE INDEX`` does not, and ``ADD ... USING INDEX`` takes a
moment (PostgreSQL's manual, ALTER TABLE and "Explicit Locking").
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lib.postgres.database import Connection
from lib.postgres.dump import Entry


@dataclass(frozen=True, slots=True)
class Build:
    """An index or constraint to build, beside others of its table.

    ``key`` is made on the index when all indexes of the table are built; None for what is no key.
    """

    entry: Entry
    key: Entry | None = None


def builds(source: Connection, entries: Iterable[Entry]) -> tuple[Build, ...]:
    """What has to be built among the entries, in their order.

    Keys that an index can't be given to (of partitioned tables, WITHOUT OVERLAPS, exclusion), and
    those whose statement reads otherwise than expected (with storage parameters), are built as
    pg_dump says.
    """
    known = {oid: texts for oid, *texts in source.execute(_KEYS)}
    found = []
    for entry in entries:
        if entry.type not in ("INDEX", "CONSTRAINT"):
            continue
        whole, index, key = known.get(entry.oid, ("", "", ""))
        if whole and entry.type == "CONSTRAINT" and entry.statements.startswith(whole):
            key += entry.statements.removeprefix(whole)
            found.append(Build(replace(entry, statements=index), replace(entry, statements=key)))
        else:
            found.append(Build(entry))
    return tuple(found)


_KEYS = r"""
SELECT k.oid::int8,
       format(E'ALTER TABLE ONLY %I.%I\n    ADD CONSTRAINT %I %s;',
              n.nspname, t.relname, k.conname, pg_get_constraintdef(k.oid)),
       pg_get_indexdef(k.conindid) || ';',
       format('ALTER TABLE ONLY %I.%I ADD CONSTRAINT %I %s USING INDEX %I%s;',
              n.nspname, t.relname, k.conname,
              CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, i.relname,
              CASE WHEN k.condeferred THEN ' DEFERRABLE INITIALLY DEFERRED'
                   WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END)
  FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_class i ON i.oid = k.conindid JOIN pg_am a ON a.oid = i.relam
 WHERE k.contype IN ('p', 'u') AND t.relkind = 'r' AND a.amname = 'btree'
"""
