"""The datapoints of Vertex AI indexes: kept one by one, searched exactly."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.cloud import aiplatform_v1 as api

from lib.localcloud import errors
from lib.localcloud.contract import plain
from lib.localcloud.store import Store

DATAPOINT: Final = plain(api.IndexDatapoint)
DOT, COSINE, SQUARED = "DOT_PRODUCT_DISTANCE", "COSINE_DISTANCE", "SQUARED_L2_DISTANCE"
DISTANCES: Final = (DOT, COSINE, SQUARED)
UNIT: Final = "UNIT_L2_NORM"


@dataclass(frozen=True, slots=True)
class Loaded:
    """All datapoints of an index as one matrix, as of one generation of it."""

    generation: bytes
    points: tuple[Any, ...]
    matrix: Any
    lengths: Any


class Vectors:
    """The datapoints of all indexes of one embedded cloud."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loaded: dict[str, Loaded] = {}
        self._mutex = threading.Lock()

    def upsert(self, index: str, points: Iterable[Any]) -> None:
        """Add datapoints, or replace those with the same id."""
        with self._store.transaction():
            for point in points:
                body = point.SerializeToString()
                self._store.put_fact(f"vectors:{index}", point.datapoint_id, body)
            self._changed(index)

    def remove(self, index: str, ids: Iterable[str]) -> None:
        """Forget datapoints; unknown ids are fine."""
        with self._store.transaction():
            for each in ids:
                self._store.drop_fact(f"vectors:{index}", each)
            self._changed(index)

    def drop(self, index: str) -> None:
        """Forget all datapoints of an index that is deleted."""
        self.remove(index, self._store.facts(f"vectors:{index}"))
        self._store.drop_fact("vectors-generation", index)
        self._loaded.pop(index, None)

    def get(self, index: str, ids: Iterable[str]) -> list[Any]:
        """The datapoints of those ids that are there."""
        found = [self._store.fact(f"vectors:{index}", each) for each in ids]
        return [DATAPOINT.FromString(each) for each in found if each is not None]

    def count(self, index: str) -> int:
        """How many datapoints an index has."""
        return len(self._load(index).points)

    def nearest(
        self, index: str, config: Mapping[str, Any], query: Any, neighbours: int
    ) -> list[tuple[Any, float]]:
        """The nearest datapoints with their distances, by an index's ``config``, nearest first.

        A dot product is told as it is, the largest first; the other distances the least first.
        """
        loaded, distance = self._load(index), config.get("distanceMeasureType", DOT)
        kept = None
        if query.restricts:
            kept = [n for n, point in enumerate(loaded.points) if _allowed(query.restricts, point)]
        rows, lengths = loaded.matrix, loaded.lengths
        if kept is not None:
            rows, lengths = rows[kept], lengths[kept]
        if not len(rows):
            return []
        wanted = np.asarray(query.feature_vector, dtype=np.float64)
        if config.get("featureNormType") == UNIT and distance == SQUARED:
            distances = 2.0 * _distances(COSINE, rows, lengths, wanted)  # between unit vectors
        elif config.get("featureNormType") == UNIT and distance == DOT:
            distances = 1.0 - _distances(COSINE, rows, lengths, wanted)
        else:
            distances = _distances(distance, rows, lengths, wanted)
        order = _nearest(-distances if distance == DOT else distances, neighbours)
        return [(loaded.points[n if kept is None else kept[n]], float(distances[n])) for n in order]

    def _changed(self, index: str) -> None:
        known = int(self._store.fact("vectors-generation", index) or b"0")
        self._store.put_fact("vectors-generation", index, b"%d" % (known + 1))

    def _load(self, index: str) -> Loaded:
        with self._mutex:
            generation = self._store.fact("vectors-generation", index) or b""
            known = self._loaded.get(index)
            if known is None or known.generation != generation:
                bodies = self._store.facts(f"vectors:{index}").values()
                points = tuple(DATAPOINT.FromString(body) for body in bodies)
                matrix = np.array([list(p.feature_vector) for p in points], dtype=np.float64)
                lengths = np.linalg.norm(matrix, axis=1) if points else matrix
                known = self._loaded[index] = Loaded(generation, points, matrix, lengths)
            return known


def _nearest(distances: Any, count: int) -> Any:
    """The places of the least ``count``, in order; the first of equals first."""
    if count < len(distances):
        border = np.partition(distances, count - 1)[count - 1]
        near = np.flatnonzero(distances <= border)
    else:
        near = np.arange(len(distances))
    return near[np.argsort(distances[near], kind="stable")][:count]


def _distances(kind: str, rows: Any, lengths: Any, wanted: Any) -> Any:
    if kind == SQUARED:
        return ((rows - wanted) ** 2).sum(axis=1)
    if kind == COSINE:
        both = lengths * np.linalg.norm(wanted)
        return 1.0 - np.divide(rows @ wanted, both, out=np.zeros(len(rows)), where=both > 0)
    return rows @ wanted


def _allowed(restricts: Sequence[Any], point: Any) -> bool:
    """Whether a datapoint's tokens pass every namespace of the query's restricts."""
    own = {each.namespace: each for each in point.restricts}
    for each in restricts:
        has = set(own[each.namespace].allow_list) if each.namespace in own else set()
        if each.allow_list and not has & set(each.allow_list):
            return False
        if has & set(each.deny_list):
            return False
    return True


def check(points: Iterable[Any], dimensions: int, field: str = "datapoints") -> None:
    """INVALID_ARGUMENT for datapoints without id or with another number of dimensions."""
    wrong = []
    for number, point in enumerate(points):
        if not point.datapoint_id:
            wrong.append((f"{field}[{number}].datapoint_id", "datapoint_id is required"))
        if len(point.feature_vector) != dimensions:
            told = f"{len(point.feature_vector)} dimensions, the index has {dimensions}"
            wrong.append((f"{field}[{number}].feature_vector", told))
    if wrong:
        raise errors.invalid_fields(wrong)
