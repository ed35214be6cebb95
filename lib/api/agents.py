"""Agents, conversations and messages, read as they are from tables that came with the data."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import asyncpg

from lib.api.catalog import Remembered
from lib.api.database import Database
from lib.api.errors import CollectionNotHere, NotHere, Refused
from lib.api.memories import Page
from lib.api.values import key_prefix

# A row without a key is ordered by where it lies: partition and place in it.
_TABLES = """
select c.relname as name, format('%I.%I', n.nspname, c.relname) as relation,
    a.columns, k.keys, k.types, f.links
from pg_class c join pg_namespace n on n.oid = c.relnamespace
cross join lateral (
    select coalesce(string_agg(format('r.%I', a.attname), ', ' order by a.attnum), '') as columns
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        and t.typname not in ('vector', 'halfvec', 'sparsevec', 'tsvector')) a
left join lateral (
    select x.indkey, x.indnkeyatts from pg_index x
    where x.indrelid = c.oid and x.indisunique and x.indisvalid and x.indpred is null
        and not exists (
            select from unnest(x.indkey) u (number) left join pg_attribute b
            on b.attrelid = c.oid and b.attnum = u.number and b.attnum > 0 and b.attnotnull
            where b.attnum is null)
    order by x.indisprimary desc, x.indnkeyatts, x.indexrelid limit 1) x on true
cross join lateral (
    select array_agg(format('r.%I', b.attname) order by u.place) as keys,
        array_agg(format_type(b.atttypid, -1) order by u.place) as types
    from unnest(x.indkey) with ordinality u (number, place)
    join pg_attribute b on b.attrelid = c.oid and b.attnum = u.number
    where u.place <= x.indnkeyatts) k
cross join lateral (
    select json_object_agg(b.attname,
        json_build_array(format('r.%I', b.attname), format_type(b.atttypid, -1)))::text as links
    from pg_attribute b where b.attrelid = c.oid and b.attnum > 0 and not b.attisdropped) f
where c.relname in ('agents', 'conversations', 'messages')
    and c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_'
    and n.nspname <> 'information_schema' and has_schema_privilege(n.oid, 'usage')
order by n.nspname = 'public', n.nspname desc
"""
_PLACE = {"r.tableoid": "oid", "r.ctid": "tid"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the platform, with every identifier quoted by PostgreSQL."""

    name: str
    relation: str
    columns: str
    keys: list[str]
    types: list[str]
    links: dict[str, list[str]]

    def link(self, column: str) -> tuple[str, str]:
        """The quoted column that names a row's owner, and its type."""
        if column not in self.links:
            raise CollectionNotHere(f"The {self.name} of this database have no {column}.")
        quoted, kind = self.links[column]
        return quoted, kind

    def identity(self) -> tuple[str, str]:
        """The quoted column that a row is asked for by, and its type: ``id``, else its key."""
        if "id" in self.links or self.keys == list(_PLACE):
            return self.link("id")
        return self.keys[0], self.types[0]


class Agents:
    """Reads the platform's tables; each that is missing answers ``CollectionNotHere``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables = Remembered(self._discover, 30)

    async def agents(self, limit: int, cursor: str) -> Page:
        """A page of all agents."""
        return await self._page(await self._table("agents"), "", "", limit, cursor)

    async def agent(self, key: str) -> str:
        """One agent."""
        return await self._one(await self._table("agents"), key)

    async def conversations(self, agent: str, limit: int, cursor: str) -> Page:
        """A page of an agent's conversations."""
        table = await self._table("conversations")
        page = await self._page(table, "agent_id", agent, limit, cursor)
        if not page.documents:
            await self.agent(agent)
        return page

    async def conversation(self, key: str) -> str:
        """One conversation."""
        return await self._one(await self._table("conversations"), key)

    async def messages(self, conversation: str, limit: int, cursor: str) -> Page:
        """A page of a conversation's messages."""
        table = await self._table("messages")
        return await self._page(table, "conversation_id", conversation, limit, cursor)

    async def _table(self, name: str) -> Table:
        for age in (None, 2.0):
            tables = await self._tables.get(age)
            if name in tables:
                return tables[name]
        raise CollectionNotHere(f"This database has no table {name!r}.")

    async def _one(self, table: Table, key: str) -> str:
        key_prefix(key)
        column, kind = table.identity()
        # x.* is the row whatever its columns are called; a bare x may be one of them.
        query = (
            f"select row_to_json(x.*)::text from (select {table.columns} from {table.relation} r "  # noqa: S608
            f"where {column} = $1::text::{kind} limit 1) x"
        )
        try:
            document = await self._database.fetchval(query, key)
        except Refused:  # '{key}' is no value of the key's type, so no row has it
            document = None
        except asyncpg.UndefinedFunctionError as error:
            raise _incomparable(table, kind) from error
        if document is None:
            raise NotHere(f"There is no {table.name[:-1]} {key!r}.")
        return str(document)

    async def _page(self, table: Table, column: str, owner: str, limit: int, cursor: str) -> Page:
        values: list[str] = _decoded(cursor, len(table.keys)) if cursor else []
        conditions = []
        if values:
            marks = ", ".join(f"${n}::text::{each}" for n, each in enumerate(table.types, 1))
            conditions.append(f"({', '.join(table.keys)}) > ({marks})")
        kind = ""
        if column:
            quoted, kind = table.link(column)
            values.append(key_prefix(owner))
            conditions.append(f"{quoted} = ${len(values)}::text::{kind}")
        where = f"where {' and '.join(conditions)} " if conditions else ""
        order = ", ".join(table.keys)
        place = ", ".join(f"{key}::text" for key in table.keys)
        query = (
            f"select (select row_to_json(x.*) from (select {table.columns}) x)::text, "  # noqa: S608
            f"array[{place}] from {table.relation} r {where}order by {order} limit {limit + 1}"
        )
        try:
            rows = await self._rows(query, values, bool(cursor), owner)
        except asyncpg.UndefinedFunctionError as error:
            raise _incomparable(table, kind) from error
        next_cursor = _encoded(rows[limit - 1][1]) if len(rows) > limit else ""
        return Page([row[0] for row in rows[:limit]], next_cursor)

    async def _rows(self, query: str, values: list[str], paged: bool, owner: str) -> list[Any]:
        try:
            return await self._database.fetch(query, *values)
        except Refused as error:
            if paged:
                raise Refused("The cursor is not one that this API gave.") from error
            raise NotHere(f"There is nothing of {owner!r}.") from error

    async def _discover(self) -> dict[str, Table]:
        rows = await self._database.fetch(_TABLES)
        return {
            row["name"]: Table(
                row["name"],
                row["relation"],
                row["columns"],
                row["keys"] or list(_PLACE),
                row["types"] or list(_PLACE.values()),
                json.loads(row["links"] or "{}"),
            )
            for row in rows
        }


def _incomparable(table: Table, kind: str) -> CollectionNotHere:
    return CollectionNotHere(f"The {table.name} of this database are named by a {kind}, no key.")


def _encoded(place: list[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _decoded(cursor: str, length: int) -> list[str]:
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
    except (ValueError, RecursionError) as error:
        raise Refused("The cursor is not one that this API gave.") from error
    if not isinstance(place, list) or len(place) != length:
        raise Refused("The cursor is not one that this API gave.")
    if not all(isinstance(each, str) for each in place):
        raise Refused("The cursor is not one that this API gave.")
    return [key_prefix(each) for each in place]
