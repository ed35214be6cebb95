"""Searching a served collection, and the least effort of it that reaches a recall target."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.vectors import served_settings
from lib.vectors.database import VectorDatabase
from lib.vectors.errors import RecallNotReached
from lib.vectors.exact import GroundTruth, Neighbours, ground_truth, query_vectors
from lib.vectors.measurement import SearchMeasurement, measure_with
from lib.vectors.served import PointStore, Served
from lib.vectors.served_settings import ServedSettings
from lib.vectors.tuning import least

_MOST_APPROXIMATE = 1_000


@dataclass(slots=True)
class ServedSearcher:
    """Searches a store with an effort; distances come out as pgvector's for the same metric."""

    store: PointStore
    metric: str
    distance: str
    approximate: int = 0
    leaf_percent: int = 0

    def search(self, vector: Any, k: int = 10) -> Neighbours:
        """The ``k`` nearest: id and distance, nearest first."""
        found = self.store.find(
            vector, k, approximate=max(self.approximate, k), leaf_percent=self.leaf_percent
        )
        return as_pgvector(found, self.metric, self.distance)


def as_pgvector(
    found: list[tuple[str, float]], metric: str, distance: str
) -> list[tuple[str, float]]:
    """Distances of a store's ``distance`` measure (Vertex AI's names) as pgvector tells them.

    A dot product is told as it is by some versions and negated by others; the nearest stands
    first, so the order of the values tells which.
    """
    if distance == "SQUARED_L2_DISTANCE":
        return [(id, sqrt(max(0.0, apart))) for id, apart in found]
    if distance == "COSINE_DISTANCE" or not found:
        return found
    sign = 1.0 if found[0][1] >= found[-1][1] else -1.0
    base = 1.0 if metric == "cosine" else 0.0
    return [(id, base - sign * product) for id, product in found]


@dataclass(frozen=True, slots=True)
class Effort:
    """The effort that was chosen, and what it gave."""

    approximate: int
    leaf_percent: int
    measured: SearchMeasurement


def tune(
    searcher: ServedSearcher,
    truth: GroundTruth,
    target_recall: float,
    k: int,
    between: Callable[[int], None] = lambda _: None,
) -> Effort:
    """The least share of leaves that reaches the target; more candidates where no share does.

    Raises ``RecallNotReached``.
    """
    best: SearchMeasurement | None = None
    points = 0
    measured: dict[int, SearchMeasurement] = {}

    def reaches(percent: int) -> bool:
        nonlocal points, best
        searcher.leaf_percent = percent
        measured[percent] = found = measure_with(searcher, truth, k)
        points += 1
        between(points)
        best = found if best is None or found.recall > best.recall else best
        return found.recall >= target_recall

    while True:
        measured.clear()
        chosen = least(1, 100, reaches)
        if chosen is not None:
            searcher.leaf_percent = chosen
            return Effort(searcher.approximate, chosen, measured[chosen])
        if searcher.approximate >= _MOST_APPROXIMATE:
            break
        searcher.approximate = min(2 * searcher.approximate, _MOST_APPROXIMATE)
    raise RecallNotReached(
        f"The index reaches a recall of {best.recall if best else 0:.3f} with all its leaves.",
        expected=f"a recall of {target_recall}",
        remedy="look for lost datapoints (--refresh), lower vectors.recall_target, or search in "
        "AlloyDB (vectors.backend)",
    )


class TuneServed:
    """A served collection's search settings reach a recall target.

    ``where`` has service, endpoint, label and address of the deployed index.  Raises
    ``VectorError`` kinds and what the store raises.
    """

    def __init__(
        self,
        database: VectorDatabase,
        what: Served,
        store: PointStore,
        where: "Where",
        target_recall: float,
        k: int = 10,
        *,
        samples: int = 200,
    ) -> None:
        self.database = database
        self.what = what
        self._store = store
        self._where = where
        self._target = target_recall
        self._k = k
        self._samples = samples

    @property
    def subject(self) -> str:
        """``served search of <schema.table.column>``."""
        return f"served search of {self.what.name}"

    def observe(self) -> ServedSettings | None:
        """The settings as stored, or None."""
        with self.database.session() as connection:
            return served_settings.read(connection, self.what.name)

    def plan(self, observed: ServedSettings | None) -> Change:
        """Measure anew unless the stored settings are of this index and reach the target."""
        reason = f"recall target {self._target} at {self._k} neighbours"
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject, reason=reason)
        if self._fits(observed):
            return Change(ChangeKind.NONE, self.subject, reason=reason)
        old = FieldChange("settings", dict(asdict(observed)), None)
        return Change(ChangeKind.UPDATE, self.subject, fields=(old,), reason=reason)

    def apply(self, change: Change, journal: Journal) -> None:
        """Measure, choose, store."""
        del change

        def between(points: int) -> None:
            journal.progress(f"tune {self.subject}", points, None, "points")
            journal.safe_point()

        with self.database.session() as connection:
            column = self.what.by_id
            queries = query_vectors(connection, column, self._samples)
            truth = ground_truth(connection, column, self.what.metric, queries, self._k)
        where = self._where
        searcher = ServedSearcher(
            self._store, self.what.metric, where.distance, max(where.approximate, self._k)
        )
        chosen = tune(searcher, truth, self._target, self._k, between)
        with self.database.session() as connection:
            served_settings.write(connection, self._settings(chosen))

    def verify(self) -> ServedSettings:
        """The stored settings, which must be of this index and reach the target."""
        found = self.observe()
        if found is None or not self._fits(found):
            raise VerificationError(
                f"The {self.subject} does not reach the target.",
                expected=f"a recall of {self._target}",
                remedy="run the step again",
            )
        return found

    def undo(self, change: Change, journal: Journal) -> None:
        """Restore the settings that were there, or remove ours."""
        del journal
        with self.database.session() as connection:
            old = next((each.old for each in change.fields if isinstance(each.old, dict)), None)
            if old is None:
                served_settings.delete(connection, self.what.name)
            else:
                served_settings.write(connection, ServedSettings(**old))  # type: ignore[arg-type]

    def _fits(self, settings: ServedSettings) -> bool:
        where = self._where
        return (
            (settings.service, settings.endpoint, settings.label, settings.address)
            == (where.service, where.endpoint, where.label, where.address)
            and (settings.metric, settings.distance) == (self.what.metric, where.distance)
            and tuple(settings.restricts) == self.what.restricts
            and settings.neighbours == self._k
            and settings.recall_target == self._target
            and settings.recall >= self._target
        )

    def _settings(self, chosen: Effort) -> ServedSettings:
        where, measured, column = self._where, chosen.measured, self.what.column
        return ServedSettings(
            collection=self.what.name,
            table_schema=column.schema,
            table_name=column.table,
            column_name=column.column,
            metric=self.what.metric,
            distance=where.distance,
            key_columns=list(column.key),
            restricts=list(self.what.restricts),
            dimensions=column.dimensions,
            service=where.service,
            endpoint=where.endpoint,
            label=where.label,
            address=where.address,
            approximate=chosen.approximate,
            leaf_percent=chosen.leaf_percent,
            neighbours=self._k,
            recall_target=self._target,
            recall=measured.recall,
            p50_ms=measured.percentile(0.5),
            p95_ms=measured.percentile(0.95),
            p99_ms=measured.percentile(0.99),
            samples=len(measured.latencies_ms),
        )


@dataclass(frozen=True, slots=True)
class Where:
    """The deployed index of a collection, its distance measure and its default of candidates."""

    service: str
    endpoint: str
    label: str
    address: str
    distance: str
    approximate: int
