"""Vector search in whatever vector columns the database has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lib.api.catalog import Remembered
from lib.api.database import Database
from lib.api.errors import CollectionNotHere, Refused
from lib.api.metrics import Metrics
from lib.api.values import query_vector
from lib.api.vertex import Deployment, VertexSearch

# PostgreSQL quotes every identifier (%I, %L), so that no name is ever put together here.
_COLUMNS = """
select n.nspname as schema, c.relname as table, a.attname as column, t.typname as kind,
    a.atttypmod as dimensions, i.amname as method, i.opcname as opclass,
    format('%I.%I', n.nspname, c.relname) as relation, format('%I', a.attname) as quoted,
    format('%I', tn.nspname) as type_schema,
    coalesce(k.pairs, '''ctid'', r.ctid::text') as key_pairs, k.by_id
from pg_attribute a
join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm') and not c.relispartition
join pg_namespace n on n.oid = c.relnamespace and n.nspname !~ '^pg_'
join pg_type t on t.oid = a.atttypid and t.typname in ('vector', 'halfvec')
join pg_namespace tn on tn.oid = t.typnamespace
left join lateral (
    select m.amname, o.opcname from pg_index x
    join pg_class xc on xc.oid = x.indexrelid join pg_am m on m.oid = xc.relam
    join pg_opclass o on o.oid = x.indclass[0]
    where x.indrelid = c.oid and x.indkey[0] = a.attnum and x.indisvalid and x.indpred is null
        and m.amname in ('hnsw', 'ivfflat', 'ivf', 'scann')
    order by x.indexrelid desc limit 1) i on true
left join lateral (
    select string_agg(format('%L, r.%I', b.attname, b.attname), ', ' order by u.place) as pairs,
        case when count(*) = 1
            then min(format('r.%I = u.id::%s', b.attname, format_type(b.atttypid, null)))
            else string_agg(format('r.%I = (u.id::jsonb ->> %s)::%s', b.attname, u.place - 1,
                format_type(b.atttypid, null)), ' and ' order by u.place) end as by_id
    from pg_index x cross join unnest(x.indkey) with ordinality u (number, place)
    join pg_attribute b on b.attrelid = c.oid and b.attnum = u.number
    where x.indrelid = c.oid and x.indisprimary) k on true
where a.attnum > 0 and not a.attisdropped
    and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
order by 1, 2, 3
"""
_SETTINGS_THERE = """
select coalesce(
    has_table_privilege(to_regclass('orchestra.vector_search_settings'), 'select'), false)
"""
_SETTINGS = """
select table_schema, table_name, column_name, metric, parameter, value::text as value
from orchestra.vector_search_settings
"""
_SERVED_THERE = """
select coalesce(
    has_table_privilege(to_regclass('orchestra.served_collections'), 'select'), false)
"""
_SERVED = """
select table_schema, table_name, column_name, service, endpoint, label, address, approximate,
    leaf_percent
from orchestra.served_collections
"""
_OPERATORS = {"l2": "<->", "cosine": "<=>", "inner_product": "<#>", "l1": "<+>"}
_METRICS = {
    **{name: name for name in _OPERATORS},
    **{operator: name for name, operator in _OPERATORS.items()},
    "ip": "inner_product",
    "euclidean": "l2",
    "dot_product": "inner_product",
}
_PARAMETERS = ("hnsw.", "ivfflat.", "scann.")


@dataclass(frozen=True, slots=True)
class Collection:
    """One vector column: its name, how it is compared and what makes its search good."""

    schema: str
    table: str
    column: str
    kind: str
    dimensions: int
    method: str
    metric: str
    parameter: str
    value: str
    query: str
    by_id: str = ""
    served: Deployment | None = None

    @property
    def name(self) -> str:
        """``schema.table.column``."""
        return f"{self.schema}.{self.table}.{self.column}"

    def answers_to(self, name: str) -> bool:
        """Whether a caller's ``name`` means this column."""
        table, column = self.table, self.column
        return name in (self.name, f"{table}.{column}", table, f"{self.schema}.{table}")


@dataclass(frozen=True, slots=True)
class Match:
    """One row near the query: its key as a JSON object and its distance (None: undefined)."""

    key: str
    distance: float | None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and which backend found it: ``alloydb`` or ``vertex``."""

    matches: list[Match]
    backend: str


class Search:
    """Nearest neighbours by the collections' own metrics and settings.

    With ``vertex``, collections that it serves are searched there; AlloyDB answers what it can't.
    """

    def __init__(
        self, database: Database, metrics: Metrics, vertex: VertexSearch | None = None
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._vertex = vertex
        self._collections = Remembered(self._discover, 30)

    async def collections(self) -> list[Collection]:
        """Every vector column that the API's role may read."""
        return await self._collections.get()

    async def choose(self, name: str, dimensions: int, like: str = "") -> Collection:
        """The collection of a name, or the one of these dimensions when ``name`` is empty.

        ``like`` prefers tables whose name holds it.  Raises ``CollectionNotHere`` or, when
        several fit, ``Refused`` with their names.
        """
        for age in (None, 2.0):
            found = _fitting(await self._collections.get(age), name, dimensions, like)
            if len(found) == 1:
                return found[0]
            if found:
                names = ", ".join(each.name for each in found)
                raise Refused(f"Several collections fit; name one of: {names}.")
        what = f"collection {name!r}" if name else f"collection of {dimensions} dimensions"
        raise CollectionNotHere(f"This database has no {what}.")

    async def nearest(self, where: Collection, vector: Sequence[float], k: int) -> Found:
        """The ``k`` nearest rows; distances are pgvector's (inner product: negative)."""
        query_vector(vector, where.dimensions, where.kind, where.metric)
        served = self._vertex is not None and where.served is not None
        matches = await self._by_vertex(where, vector, k) if served else None
        backend = "alloydb" if matches is None else "vertex"
        if matches is None:
            matches = await self._by_database(where, vector, k)
        self._metrics.search(backend, fallback=served and backend == "alloydb")
        return Found(matches, backend)

    async def _by_vertex(
        self, where: Collection, vector: Sequence[float], k: int
    ) -> list[Match] | None:
        """What Vertex AI finds, as the database has it now; None where it can't be told so.

        The rows are read by their keys, so that an answer holds no row that is gone, and its
        distances are those of any other answer.
        """
        assert self._vertex is not None
        assert where.served is not None
        ids = await self._vertex.find(where.served, vector, k)
        if ids is None:
            return None
        rows = await self._database.fetch(where.by_id, vector, ids)
        return [_match(row) for row in rows] if len(rows) == len(ids) else None

    async def _by_database(self, where: Collection, vector: Sequence[float], k: int) -> list[Match]:
        parameter, value = where.parameter, where.value
        if parameter == "hnsw.ef_search":
            value = str(min(1000, max(int(value), k)))

        async def search(connection: Any) -> list[Any]:
            if parameter:
                # The planner counts no cost for vectors stored out of line, and would read whole
                # tables of long ones; the API's other queries find their rows by key anyway.
                await connection.use_search_setting("enable_seqscan", "off")
                await connection.use_search_setting(parameter, value)
            found: list[Any] = await connection.fetch(where.query, vector, k)
            return found

        rows = await self._database.run(search)
        return [_match(row) for row in rows]

    async def _discover(self) -> list[Collection]:
        async def read(connection: Any) -> tuple[list[Any], list[Any], list[Any]]:
            columns = await connection.fetch(_COLUMNS)
            there = await connection.fetchval(_SETTINGS_THERE)
            rows = await connection.fetch(_SETTINGS) if there else []
            served = self._vertex is not None and await connection.fetchval(_SERVED_THERE)
            return columns, rows, await connection.fetch(_SERVED) if served else []

        columns, rows, deployed = await self._database.run(read)
        settings = {(row[0], row[1], row[2]): row for row in rows}
        served = {(row[0], row[1], row[2]): Deployment(*row[3:]) for row in deployed}
        names = [(row["schema"], row["table"], row["column"]) for row in columns]
        return [
            _collection(row, settings.get(name), served.get(name))
            for row, name in zip(columns, names, strict=True)
        ]


def _match(row: Any) -> Match:
    return Match(row[0], row[1] if row[1] == row[1] else None)


def _fitting(all_: list[Collection], name: str, dimensions: int, like: str) -> list[Collection]:
    if name:
        exact = [each for each in all_ if each.name == name]
        return exact or [each for each in all_ if each.answers_to(name)]
    fitting = [each for each in all_ if each.dimensions == dimensions]
    return [each for each in fitting if like and like in each.table] or fitting


def _collection(row: Any, setting: Any, served: Deployment | None) -> Collection:
    metric = _metric(row["opclass"] or "", setting["metric"] if setting else "")
    parameter, value = "", ""
    if setting and str(setting["parameter"] or "").startswith(_PARAMETERS):
        parameter, value = setting["parameter"], setting["value"]
    if parameter == "hnsw.ef_search" and not (value or "").isdigit():
        parameter, value = "", ""
    if not parameter and row["method"] == "hnsw":
        parameter, value = "hnsw.ef_search", "40"
    operator = f"operator({row['type_schema']}.{_OPERATORS[metric]})"
    compared = f"r.{row['quoted']} {operator} $1::float4[]::{row['type_schema']}.{row['kind']}"
    query = (
        f"select jsonb_build_object({row['key_pairs']})::text, {compared} "  # noqa: S608
        f"from {row['relation']} r where r.{row['quoted']} is not null "
        f"order by {compared} limit $2"
    )
    by_id = (
        f"select jsonb_build_object({row['key_pairs']})::text, {compared} "  # noqa: S608
        f"from unnest($2::text[]) u (id) join {row['relation']} r on {row['by_id']} "
        f"where r.{row['quoted']} is not null order by {compared}"
    )
    return Collection(
        row["schema"],
        row["table"],
        row["column"],
        row["kind"],
        row["dimensions"],
        row["method"] or "exact",
        metric,
        parameter,
        value,
        query,
        by_id,
        served,
    )


def _metric(opclass: str, setting: str | None) -> str:
    """The index's metric, for no other can use it; else the setting's; else cosine."""
    for part, metric in (("cosine", "cosine"), ("_ip", "inner_product"), ("_l1", "l1")):
        if part in opclass:
            return metric
    if opclass:
        return "l2"
    return _METRICS.get((setting or "").lower(), "cosine")
