"""Which index a column gets: method, operator class and parameters, from what it holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from psycopg import sql

from lib.vectors.columns import VectorColumn
from lib.vectors.errors import DesignRefused

Method: TypeAlias = Literal["auto", "hnsw", "ivfflat", "scann"]
Metric: TypeAlias = Literal["cosine", "l2", "inner_product"]

OPERATORS: Mapping[str, str] = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>"}
SEARCH_PARAMETERS: Mapping[str, str] = {
    "hnsw": "hnsw.ef_search",
    "ivfflat": "ivfflat.probes",
    "scann": "scann.num_leaves_to_search",
}
_OPCLASSES = {"cosine": "cosine_ops", "l2": "l2_ops", "inner_product": "ip_ops"}
_SCANN_OPCLASSES = {"cosine": "cosine", "l2": "l2", "inner_product": "dot_product"}
_INDEXABLE = {"vector": 2_000, "halfvec": 4_000}
_SCANN_ROWS = 1_000
_FEW_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class IndexDesign:
    """An index to be: everything that its DDL needs, and why it is so.

    ``cast`` is the type that the column is indexed as, '' for its own.
    """

    column: VectorColumn
    method: str
    metric: str
    opclass: str
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    name: str = ""
    cast: str = ""
    reason: str = ""

    @property
    def operator(self) -> sql.SQL:
        """The distance operator."""
        return sql.SQL(OPERATORS[self.metric])

    @property
    def search_parameter(self) -> str:
        """The setting that trades recall for time."""
        return SEARCH_PARAMETERS[self.method]

    @property
    def most(self) -> int:
        """The greatest useful value of the search parameter."""
        leaves = self.parameters.get("lists", self.parameters.get("num_leaves", 1_000))
        return int(leaves)

    @property
    def expression(self) -> sql.Composable:
        """What is indexed: the column, cast where it must be."""
        column = sql.Identifier(self.column.column)
        if not self.cast:
            return column
        kind = sql.SQL(f"{self.cast}({self.column.dimensions:d})")
        return sql.SQL("({}::{})").format(column, kind)

    @property
    def ddl(self) -> sql.Composed:
        """The CREATE INDEX statement."""
        options = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in self.parameters.items()
        )
        return sql.SQL("create index {} on {} using {} (({}) {}){}").format(
            sql.Identifier(self.name),
            self.column.relation,
            sql.Identifier(self.method),
            self.expression,
            sql.Identifier(self.opclass),
            sql.SQL(" with ({})").format(options) if self.parameters else sql.SQL(""),
        )


def choose_index(
    column: VectorColumn,
    method: Method = "auto",
    metric: Metric = "cosine",
    rows: int | None = None,
    *,
    scann: bool = False,
) -> IndexDesign:
    """The index for a column of so many rows; ``scann`` says that ``alloydb_scann`` is there.

    ``auto`` is ScaNN where it is there and can be built, else HNSW.  Raises ``DesignRefused``
    with the reason where no such index is possible.
    """
    count = column.rows if rows is None else rows
    if column.dimensions == 0:
        raise _refused(column, "the number of its dimensions is unknown", "store a row first")
    chosen, reason = _method(column, method, count, scann)
    cast = _cast(column, chosen)
    kind = cast or column.type
    opclasses = _SCANN_OPCLASSES if chosen == "scann" else _OPCLASSES
    prefix = "" if chosen == "scann" else f"{kind}_"
    if count < _FEW_ROWS:
        reason += f"; {count:,} rows are searched as fast without, the index is there for growth"
    return IndexDesign(
        column=column,
        method=chosen,
        metric=metric,
        opclass=prefix + opclasses[metric],
        parameters=_parameters(chosen, count),
        name=_name(column, chosen, metric),
        cast=cast,
        reason=reason,
    )


def _method(column: VectorColumn, method: Method, rows: int, scann: bool) -> tuple[str, str]:
    possible = scann and rows >= _SCANN_ROWS and not column.partitioned
    if method == "scann" and not possible:
        why = (
            "alloydb_scann is not installed"
            if not scann
            else ("it is partitioned" if column.partitioned else f"it has {rows:,} rows")
        )
        remedy = f"install it, store {_SCANN_ROWS:,} rows first, or set vectors.method = 'hnsw'"
        raise _refused(column, f"a ScaNN index can't be built: {why}", remedy)
    if method != "auto":
        return method, f"{method} as asked"
    if possible:
        return "scann", "alloydb_scann is installed"
    if scann:
        return "hnsw", "too few rows or partitioned, which ScaNN does not take"
    return "hnsw", "best recall for its latency among pgvector's methods"


def _cast(column: VectorColumn, method: str) -> str:
    if method == "scann" or column.dimensions <= _INDEXABLE[column.type]:
        return "" if column.fixed else column.type
    if column.dimensions <= _INDEXABLE["halfvec"]:
        return "halfvec"
    limit = f"{column.dimensions:,} dimensions are more than the {_INDEXABLE['halfvec']:,}"
    raise _refused(column, f"its {limit} that pgvector indexes", "use ScaNN or shorter embeddings")


def _parameters(method: str, rows: int) -> dict[str, int | str]:
    if method == "hnsw":
        return {"m": 16, "ef_construction": 64 if rows <= 1_000_000 else 128}
    if method == "ivfflat":
        return {"lists": max(1, rows // 1_000 if rows <= 1_000_000 else math.isqrt(rows))}
    levels = 1 if rows < 10_000_000 else 2
    leaves = min(max(1, math.isqrt(rows)), 30_000_000)
    return {"num_leaves": leaves, "quantizer": "SQ8", "max_num_levels": levels}


def _name(column: VectorColumn, method: str, metric: str) -> str:
    end = f"_{method}_{metric}"
    begin = f"{column.table}_{column.column}".encode()[: 63 - len(end)]
    return begin.decode(errors="ignore") + end


def _refused(column: VectorColumn, why: str, remedy: str) -> DesignRefused:
    return DesignRefused(
        f"{column.name} can't be indexed: {why}.", expected="an indexable column", remedy=remedy
    )
