"""Ground truth: queries that are like rows but aren't rows, and their true neighbours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy
from numpy.typing import NDArray
from psycopg import sql

from lib.vectors.columns import VectorColumn
from lib.vectors.database import Connection
from lib.vectors.errors import VectorError
from lib.vectors.wire import Matrix, unpacked

Neighbours: TypeAlias = Sequence[tuple[Any, float]]
"""Keys and distances, nearest first."""

_PERTURBATION = 0.15
_CHUNK_ROWS = 4_096
_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Query vectors (samples x dimensions) and the true nearest ``k`` of each."""

    queries: Matrix
    neighbours: tuple[Neighbours, ...]


def query_vectors(
    connection: Connection, column: VectorColumn, samples: int, seed: int = 7
) -> Matrix:
    """Rows chosen by a seed, each moved by 15 % of its length in a random direction.

    The same table and seed give the same queries.  Raises ``VectorError`` for an empty column.
    """
    share = min(100.0, 100.0 * 4 * samples / max(1, column.rows))
    statement = sql.SQL(
        "select {0}::vector from {1} tablesample bernoulli ({2}) repeatable ({3})"
        " where {0} is not null limit {4}"
    )
    parts = [sql.Literal(each) for each in (share, seed, samples)]
    name = sql.Identifier(column.column)
    rows = _binary(connection, statement.format(name, column.relation, *parts))
    if not rows:
        rows = _binary(
            connection,
            sql.SQL("select {0}::vector from {1} where {0} is not null limit {2}").format(
                name, column.relation, parts[-1]
            ),
        )
    if not rows:
        raise VectorError(
            f"{column.name} holds no vectors, so its search can't be measured.",
            expected="at least one row",
            remedy="load the data first",
        )
    base = unpacked([row[0] for row in rows])
    base = numpy.resize(base, (samples, base.shape[1]))
    noise = numpy.random.default_rng(seed).standard_normal(base.shape).astype(numpy.float32)
    noise /= numpy.linalg.norm(noise, axis=1, keepdims=True)
    length = numpy.linalg.norm(base, axis=1, keepdims=True)
    return numpy.asarray(base + _PERTURBATION * length * noise, dtype=numpy.float32)


def _binary(connection: Connection, statement: sql.Composed) -> list[tuple[Any, ...]]:
    with connection.cursor(binary=True) as cursor:
        return list(cursor.execute(statement))


def ground_truth(
    connection: Connection, column: VectorColumn, metric: str, queries: Matrix, k: int
) -> GroundTruth:
    """The exact nearest ``k`` rows of every query, in one pass over the table, memory bounded."""
    best = numpy.full((len(queries), k), numpy.inf)
    places = numpy.full((len(queries), k), -1, dtype=numpy.int64)
    keys: dict[int, Any] = {}
    seen = 0
    for names, rows in _chunks(connection, column):
        distances = numpy.hstack([best, _distances(queries, rows, metric)])
        numbers = numpy.arange(seen, seen + len(rows))
        candidates = numpy.hstack([places, numpy.broadcast_to(numbers, (len(queries), len(rows)))])
        order = numpy.argpartition(distances, k - 1, axis=1)[:, :k]
        best = numpy.take_along_axis(distances, order, axis=1)
        places = numpy.take_along_axis(candidates, order, axis=1)
        fresh = numpy.unique(places[places >= seen])
        keys.update((int(each), names[int(each) - seen]) for each in fresh)
        seen += len(rows)
    order = numpy.argsort(best, axis=1, kind="stable")
    best = numpy.take_along_axis(best, order, axis=1)
    places = numpy.take_along_axis(places, order, axis=1)
    return GroundTruth(
        queries,
        tuple(
            [(keys[int(p)], float(d)) for p, d in zip(ps, ds, strict=True) if numpy.isfinite(d)]
            for ps, ds in zip(places, best, strict=True)
        ),
    )


def _chunks(connection: Connection, column: VectorColumn) -> Iterator[tuple[list[Any], Matrix]]:
    statement = sql.SQL("select {}, {}::vector from {} where {} is not null").format(
        column.identity,
        sql.Identifier(column.column),
        column.relation,
        sql.Identifier(column.column),
    )
    with (
        connection.transaction(),
        connection.cursor("orchestra_exact", binary=True) as cursor,
    ):
        cursor.execute(statement)
        while rows := cursor.fetchmany(_CHUNK_ROWS):
            yield [row[0] for row in rows], unpacked([row[1] for row in rows])


def _distances(queries: Matrix, rows: Matrix, metric: str) -> NDArray[numpy.float64]:
    """Distances as pgvector's operators give them (inner product: negative)."""
    left, right = queries.astype(numpy.float64), rows.astype(numpy.float64)
    products = left @ right.T
    if metric == "inner_product":
        return numpy.negative(products)
    if metric == "l2":
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :]
        return numpy.asarray(numpy.sqrt(numpy.maximum(squares - 2 * products, 0)))
    lengths = numpy.linalg.norm(left, axis=1)[:, None] * numpy.linalg.norm(right, axis=1)[None, :]
    with numpy.errstate(invalid="ignore", divide="ignore"):
        distances = 1 - products / lengths
    return numpy.asarray(
        numpy.nan_to_num(distances, nan=numpy.inf)
    )  # a zero vector is near nothing


def recall(found: Neighbours, exact: Neighbours) -> float:
    """The share of the true neighbours that were found, 0 to 1.

    A row as near as the farthest true neighbour counts as one (ties), within the precision of
    single floats.  1 where there is nothing to find.
    """
    if not exact:
        return 1.0
    names = {key for key, _ in exact}
    farthest = exact[-1][1]
    limit = farthest + _EPSILON * max(1.0, abs(farthest))
    hits = sum(key in names or distance <= limit for key, distance in found[: len(exact)])
    return hits / len(exact)
