"""Latency and recall of searches, together: raw samples, warm-up excluded."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lib.vectors.columns import VectorColumn
from lib.vectors.database import VectorDatabase
from lib.vectors.exact import GroundTruth, Neighbours, ground_truth, query_vectors, recall
from lib.vectors.search import Searcher

WARM_UP = 20


@dataclass(frozen=True, slots=True)
class SearchMeasurement:
    """Latencies in milliseconds in the order in which they were measured, and the mean recall."""

    latencies_ms: tuple[float, ...]
    recall: float
    k: int

    def percentile(self, share: float) -> float:
        """The latency that this share (0 to 1) of the samples doesn't exceed, nearest rank."""
        ordered = sorted(self.latencies_ms)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure(
    database: VectorDatabase, column: VectorColumn, samples: int = 300, k: int = 10, seed: int = 11
) -> SearchMeasurement:
    """Search a column as the API does, one client, with queries that tuning did not see.

    Raises ``VectorError`` where the column was not tuned or is empty.
    """
    with Searcher(database, column) as searcher:
        with database.session() as connection:
            queries = query_vectors(connection, column, samples, seed)
            truth = ground_truth(connection, column, searcher.metric, queries, k)
        return measure_with(searcher, truth, k)


class Searches(Protocol):
    """Whatever searches one collection."""

    def search(self, vector: Any, k: int = 10) -> Neighbours:
        """The ``k`` nearest: key and distance, nearest first."""


def measure_with(searcher: Searches, truth: GroundTruth, k: int) -> SearchMeasurement:
    """Run every query of a ground truth once, after a warm-up; a query is one sample."""
    for query in truth.queries[:WARM_UP]:
        searcher.search(query, k)
    latencies: list[float] = []
    recalls: list[float] = []
    for query, exact in zip(truth.queries, truth.neighbours, strict=True):
        begun = time.perf_counter_ns()
        found = searcher.search(query, k)
        latencies.append((time.perf_counter_ns() - begun) / 1e6)
        recalls.append(recall(found, exact))
    return SearchMeasurement(tuple(latencies), _mean(recalls), k)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
