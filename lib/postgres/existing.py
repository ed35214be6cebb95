"""Which entries of a dump the target already has, and which it must not get."""

from collections.abc import Iterable

from lib.postgres.catalog import VECTOR
from lib.postgres.database import Connection
from lib.postgres.dump import Entry
from lib.postgres.selection import Selection
from lib.postgres.selection import left_out as relations_left_out


def made(entries: Iterable[Entry], source: Connection, target: Connection) -> frozenset[int]:
    """The ids of entries whose object exists on the target.

    Objects are compared by what ``pg_identify_object`` calls them on both servers; comments,
    grants and the like are no objects and never exist.
    """
    entries = tuple(entries)
    there = _identities(target)
    by_address = _addresses(source)
    attached = {tuple(row) for row in target.execute(_ATTACHED)}
    found = set()
    for entry in entries:
        if entry.type == "TABLE ATTACH":
            if (entry.schema, entry.name) in attached:
                found.add(entry.id)
        elif entry.object and by_address.get((entry.classid, entry.oid)) in there:
            found.add(entry.id)
    return frozenset(found)


def left_out(entries: Iterable[Entry], source: Connection, selection: Selection) -> frozenset[int]:
    """The ids of vector indexes, of foreign keys to tables left out, and of what needs those."""
    vectors = {row[0] for row in source.execute(_VECTOR_INDEXES, [VECTOR])}
    gone = relations_left_out(source, selection)
    keys = {oid for oid, schema, name in source.execute(_FOREIGN_KEYS) if (schema, name) in gone}
    found: set[int] = set()
    for entry in entries:
        dependent = entry.type in ("INDEX ATTACH", "COMMENT") and bool(found & set(entry.needs))
        unwanted = {"INDEX": vectors, "FK CONSTRAINT": keys}.get(entry.type, set())
        if dependent or entry.oid in unwanted:
            found.add(entry.id)
    return frozenset(found)


def _addresses(connection: Connection) -> dict[tuple[int, int], tuple[str, str]]:
    rows = connection.execute(_IDENTITIES)
    return {(classid, oid): (kind, identity) for classid, oid, kind, identity in rows}


def _identities(connection: Connection) -> set[tuple[str, str]]:
    return set(_addresses(connection).values())


_CLASSES = (
    "pg_class",
    "pg_type",
    "pg_proc",
    "pg_namespace",
    "pg_constraint",
    "pg_trigger",
    "pg_attrdef",
    "pg_rewrite",
    "pg_policy",
    "pg_collation",
    "pg_conversion",
    "pg_operator",
    "pg_opclass",
    "pg_opfamily",
    "pg_cast",
    "pg_language",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_event_trigger",
    "pg_statistic_ext",
    "pg_ts_config",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_am",
    "pg_transform",
    "pg_extension",
)

# Versions name transforms ("for x on language y") unlike each other.
# A type's own array and row types have no entry, and what initdb made (below 16384) none either,
# apart from the schema public.
_OBJECTS = """
SELECT '{0}'::regclass::oid::int8, o.oid::int8, i.type,
       replace(i.identity, 'on language', 'language')
  FROM {0} o, pg_identify_object('{0}'::regclass, o.oid, 0) i WHERE o.oid >= {1}
"""
_IDENTITIES = " UNION ALL ".join(
    _OBJECTS.format(each, 2200 if each == "pg_namespace" else 16384) for each in _CLASSES
)

_ATTACHED = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relispartition
"""

_VECTOR_INDEXES = """
SELECT c.oid::int8 FROM pg_class c JOIN pg_am a ON a.oid = c.relam
 WHERE c.relkind IN ('i', 'I') AND a.amname = ANY (%s)
"""

_FOREIGN_KEYS = """
SELECT k.oid::int8, n.nspname, c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f'
"""
