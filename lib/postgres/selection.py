"""What moves and what stays: patterns for relations, conditions for rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.catalog import BOOKKEEPING_SCHEMA, USER_RELATIONS, Table, tables
from lib.postgres.database import Connection
from lib.postgres.errors import Obstacle

Identity = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """What moves.

    ``include`` and ``exclude`` are patterns of ``schema.table`` (``*``, ``?``, ``[..]``); without
    ``include`` everything moves, and ``exclude`` wins.  ``rows`` pairs such a pattern with an SQL
    condition: of tables that match only the rows that fulfil it move, and of tables that refer to
    those only the rows whose referenced row moves.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rows: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude or self.rows)


ALL = Selection()


def left_out(connection: Connection, selection: Selection) -> frozenset[Identity]:
    """The relations that stay behind, our own schema's included.

    Partitions and heirs follow their parents out, parents come along with their partitions, views
    stay where something they read stays, and sequences stay with the column that owns them.
    """
    kinds: dict[Identity, str] = {}
    ours: set[Identity] = set()
    for schema, name, kind in connection.execute(_RELATIONS):
        kinds[schema, name] = kind
        if schema == BOOKKEEPING_SCHEMA:
            ours.add((schema, name))
    if not (selection.include or selection.exclude):
        return frozenset(ours)
    edges = [((a, b), (c, d)) for a, b, c, d in connection.execute(_PARENTS)]
    out = _closure(_matching(kinds, selection.exclude), edges)
    if selection.include:
        wanted = _matching(kinds, selection.include)
        kept = _closure(wanted, edges) | _closure(wanted, [(b, a) for a, b in edges])
        out |= {each for each, kind in kinds.items() if kind in "rpf" and each not in kept}
        # Views and sequences that no table draws along come when they are named.
        out |= {each for each, kind in kinds.items() if kind in "vm" and each not in wanted}
    reads = [((a, b), (c, d)) for a, b, c, d in connection.execute(_NEEDS)]
    return frozenset(_closure(out, reads) | ours)


def selected(connection: Connection, selection: Selection) -> tuple[Table, ...]:
    """The source's tables that move, largest first, each with the condition for its rows.

    Raises ``Obstacle`` for a condition that the source does not understand, and for tables that
    refer to each other in a circle around one.
    """
    out = left_out(connection, selection)
    found = tuple(table for table in tables(connection) if table.identity not in out)
    if not selection.rows:
        return found
    conditions = _Conditions(connection, selection.rows)
    return tuple(replace(t, condition=conditions.of(t.identity)) for t in found)


def present(connection: Connection, selection: Selection) -> tuple[Table, ...]:
    """The tables of that selection as they are on the target: every row there counts."""
    out = left_out(connection, selection)
    return tuple(table for table in tables(connection) if table.identity not in out)


class _Conditions:
    """The condition for each table: its own, and that the rows it refers to move."""

    def __init__(self, connection: Connection, rows: Sequence[tuple[str, str]]) -> None:
        self._connection = connection
        self._rows = rows
        self._known: dict[Identity, str] = {}
        self._path: list[Identity] = []
        self._ancestors: dict[Identity, list[Identity]] = {}
        for a, b, c, d in connection.execute(_PARENTS):
            self._ancestors.setdefault((c, d), []).append((a, b))
        self._keys: dict[Identity, list[tuple[Identity, list[str], list[str]]]] = {}
        for schema, name, other_schema, other, mine, theirs in connection.execute(_KEYS):
            key = ((other_schema, other), mine, theirs)
            self._keys.setdefault((schema, name), []).append(key)

    def of(self, table: Identity) -> str:
        """The condition as SQL; empty where every row moves."""
        if table in self._known:
            return self._known[table]
        if table in self._path:
            circle = " -> ".join(".".join(each) for each in [*self._path, table])
            raise Obstacle(
                f"Rows of tables that refer to each other in a circle can't be chosen: {circle}.",
                expected="conditions in data_migration.rows for tables outside such a circle",
                remedy="give no condition to them, or drop a foreign key of the circle first",
            )
        self._path.append(table)
        own = [f"({condition})" for condition in self._own(table)]
        for condition in own:
            self._check(table, condition)
        followed = [self._follows(table, *key) for key in self._keys.get(table, ())]
        self._path.pop()
        self._known[table] = " AND ".join([*own, *(each for each in followed if each)])
        return self._known[table]

    def _own(self, table: Identity) -> list[str]:
        names = {
            table,
            *_closure({table}, [(c, p) for c, ps in self._ancestors.items() for p in ps]),
        }
        return [
            condition
            for pattern, condition in self._rows
            if any(fnmatchcase(".".join(name), pattern) for name in names)
        ]

    def _follows(self, table: Identity, other: Identity, mine: list[str], theirs: list[str]) -> str:
        if other == table:
            if self._own(table):
                raise Obstacle(
                    f"Rows of {'.'.join(table)}, which refers to itself, can't be chosen.",
                    remedy="give it no condition, or drop that foreign key first",
                )
            return ""
        condition = self.of(other)
        if not condition:
            return ""
        columns = [
            (sql.Identifier(table[1], a), sql.Identifier(b))
            for a, b in zip(mine, theirs, strict=True)
        ]
        unset = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(a) for a, _ in columns)
        equal = sql.SQL(" AND ").join(
            sql.SQL("referenced.{} = {}").format(b, a) for a, b in columns
        )
        return (
            sql.SQL(
                "({} OR EXISTS (SELECT FROM (SELECT * FROM {} WHERE {}) AS referenced WHERE {}))"
            )
            .format(unset, sql.Identifier(*other), sql.SQL(condition), equal)
            .as_string(None)
        )

    def _check(self, table: Identity, condition: str) -> None:
        asked = sql.SQL("EXPLAIN SELECT FROM ONLY {} WHERE {}")
        try:
            with self._connection.transaction():
                self._connection.execute(asked.format(sql.Identifier(*table), sql.SQL(condition)))
        except psycopg.Error as error:
            raise failures.working(
                f"The condition {condition} for rows of {'.'.join(table)}", error, Obstacle
            ) from error


def _matching(names: Iterable[Identity], patterns: Sequence[str]) -> set[Identity]:
    return {
        name for name in names if any(fnmatchcase(".".join(name), pattern) for pattern in patterns)
    }


def _closure(
    start: Iterable[Identity], edges: Iterable[tuple[Identity, Identity]]
) -> set[Identity]:
    """Everything that edges lead to from ``start``, which is part of it."""
    following: dict[Identity, list[Identity]] = {}
    for one, other in edges:
        following.setdefault(one, []).append(other)
    found, waiting = set(start), list(start)
    while waiting:
        for each in following.get(waiting.pop(), ()):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


_RELATIONS = f"""
SELECT n.nspname, c.relname, c.relkind::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {USER_RELATIONS}
"""  # noqa: S608
# Parent, then child: partitions and heirs.
_PARENTS = """
SELECT pn.nspname, p.relname, cn.nspname, c.relname FROM pg_inherits i
  JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
  JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
 WHERE p.relkind IN ('r', 'p', 'f')
"""
# What is read or owned, then the view that reads it or the sequence that belongs to it.
_NEEDS = """
SELECT rn.nspname, r.relname, vn.nspname, v.relname FROM pg_rewrite w
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
   AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> w.ev_class
  JOIN pg_class r ON r.oid = d.refobjid JOIN pg_namespace rn ON rn.oid = r.relnamespace
  JOIN pg_class v ON v.oid = w.ev_class JOIN pg_namespace vn ON vn.oid = v.relnamespace
 WHERE v.relkind IN ('v', 'm')
UNION
SELECT tn.nspname, t.relname, sn.nspname, s.relname FROM pg_depend d
  JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
  JOIN pg_namespace sn ON sn.oid = s.relnamespace
  JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
   AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
"""
_KEYS = """
SELECT n.nspname, c.relname, fn.nspname, f.relname,
       (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(o.conkey)
          WITH ORDINALITY k(number, place) JOIN pg_attribute a
            ON a.attrelid = o.conrelid AND a.attnum = k.number),
       (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(o.confkey)
          WITH ORDINALITY k(number, place) JOIN pg_attribute a
            ON a.attrelid = o.confrelid AND a.attnum = k.number)
  FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class f ON f.oid = o.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
 WHERE o.contype = 'f' AND NOT EXISTS (
       SELECT FROM pg_constraint p WHERE p.oid = o.conparentid AND p.conrelid = o.conrelid)
"""
