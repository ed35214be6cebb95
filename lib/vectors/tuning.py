"""Finds the least search effort that reaches a recall target, and keeps the choice."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.vectors import search_settings
from lib.vectors.database import VectorDatabase
from lib.vectors.design import IndexDesign
from lib.vectors.errors import RecallNotReached
from lib.vectors.exact import ground_truth, query_vectors
from lib.vectors.measurement import SearchMeasurement, measure_with
from lib.vectors.search import Searcher
from lib.vectors.search_settings import SearchSettings


@dataclass(frozen=True, slots=True)
class Point:
    """One value of the search parameter and what it gave (milliseconds)."""

    value: int
    recall: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """The chosen value, its figures with raw latencies, and every point that was measured.

    ``index_used`` is false where the planner reads the whole table, as it may for few rows:
    then the search is exact whatever the value.
    """

    parameter: str
    value: int
    recall: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    samples: tuple[float, ...]
    curve: tuple[Point, ...]
    index_used: bool


def tune(
    database: VectorDatabase,
    design: IndexDesign,
    target_recall: float = 0.95,
    k: int = 10,
    *,
    samples: int = 200,
    seed: int = 7,
    between: Callable[[int], None] = lambda _: None,
) -> Tuning:
    """Measure values of the search parameter until the least that reaches the target is known.

    Doubles from the least useful value, then halves the interval to within a tenth of the value.
    ``between`` is called with the number of points after each.  Raises ``RecallNotReached``.
    """
    column = design.column
    with database.session() as connection:
        queries = query_vectors(connection, column, samples, seed)
        truth = ground_truth(connection, column, design.metric, queries, k)
    measured: dict[int, SearchMeasurement] = {}
    with Searcher(database, column, design=design) as searcher:

        def reaches(value: int) -> bool:
            searcher.set_value(value)
            measured[value] = measure_with(searcher, truth, k)
            between(len(measured))
            return measured[value].recall >= target_recall

        chosen = least(k if design.method == "hnsw" else 1, design.most, reaches)
        index_used = "Index Scan" in searcher.plan(queries[0], k)
    curve = tuple(
        Point(value, each.recall, each.percentile(0.5), each.percentile(0.99))
        for value, each in sorted(measured.items())
    )
    if chosen is None:
        raise _not_reached(design, target_recall, curve)
    best = measured[chosen]
    return Tuning(
        design.search_parameter,
        chosen,
        best.recall,
        best.percentile(0.5),
        best.percentile(0.95),
        best.percentile(0.99),
        best.latencies_ms,
        curve,
        index_used,
    )


def least(low: int, most: int, reaches: Callable[[int], bool]) -> int | None:
    """The least value that reaches the target, to within a tenth; None where none does."""
    value, below = min(low, most), 0
    while not reaches(value):
        if value >= most:
            return None
        below, value = value, min(2 * value, most)
    while below and value - below > max(1, value // 10):
        middle = (below + value) // 2
        if reaches(middle):
            value = middle
        else:
            below = middle
    return value


def _not_reached(design: IndexDesign, target: float, curve: tuple[Point, ...]) -> RecallNotReached:
    best = max(curve, key=lambda point: point.recall)
    return RecallNotReached(
        f"{design.name} reaches a recall of {best.recall:.3f} at {design.search_parameter} = "
        f"{best.value}, and no more.",
        expected=f"a recall of {target}",
        remedy="build the index with greater parameters, choose vectors.method = 'hnsw', "
        "or lower vectors.recall_target",
    )


class TuneSearch:
    """Makes the column's search settings reach a recall target with the index of ``design``.

    The figures of the last ``apply`` are in ``tuning``.  Raises ``VectorError`` kinds.
    """

    def __init__(
        self,
        database: VectorDatabase,
        design: IndexDesign,
        target_recall: float = 0.95,
        k: int = 10,
        *,
        samples: int = 200,
    ) -> None:
        self.database = database
        self.design = design
        self.target_recall = target_recall
        self.k = k
        self.samples = samples
        self.tuning: Tuning | None = None

    @property
    def subject(self) -> str:
        """``search settings of <schema.table.column>``."""
        return f"search settings of {self.design.column.name}"

    def observe(self) -> SearchSettings | None:
        """The settings as stored, or None."""
        with self.database.session() as connection:
            return search_settings.read(connection, self.design.column)

    def plan(self, observed: SearchSettings | None) -> Change:
        """Measure anew unless the stored settings are of this index and reach the target."""
        reason = f"recall target {self.target_recall} at {self.k} neighbours"
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject, reason=reason)
        if self._fits(observed):
            return Change(ChangeKind.NONE, self.subject, reason=reason)
        old = FieldChange("settings", dict(asdict(observed)), None)
        return Change(ChangeKind.UPDATE, self.subject, fields=(old,), reason=reason)

    def apply(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Measure, choose, store."""

        def between(points: int) -> None:
            journal.progress(f"tune {self.design.name}", points, None, "points")
            journal.safe_point()

        self.tuning = tune(
            self.database,
            self.design,
            self.target_recall,
            self.k,
            samples=self.samples,
            between=between,
        )
        with self.database.session() as connection:
            search_settings.write(connection, self._settings(self.tuning))

    def verify(self) -> SearchSettings:
        """The stored settings, which must be of this index and reach the target."""
        found = self.observe()
        if found is None or not self._fits(found):
            raise VerificationError(
                f"The {self.subject} don't reach the target.",
                expected=f"a recall of {self.target_recall} with {self.design.name}",
                remedy="run the step again",
            )
        return found

    def undo(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Restore the settings that were there, or remove ours."""
        with self.database.session() as connection:
            old = next((each.old for each in change.fields if isinstance(each.old, dict)), None)
            if old is None:
                search_settings.delete(connection, self.design.column)
            else:
                search_settings.write(connection, SearchSettings(**old))  # type: ignore[arg-type]

    def _fits(self, settings: SearchSettings) -> bool:
        design = self.design
        return (
            settings.index_name == design.name
            and (settings.method, settings.metric) == (design.method, design.metric)
            and settings.neighbours == self.k
            and settings.recall_target == self.target_recall
            and settings.recall >= self.target_recall
        )

    def _settings(self, tuning: Tuning) -> SearchSettings:
        design, column = self.design, self.design.column
        return SearchSettings(
            table_schema=column.schema,
            table_name=column.table,
            column_name=column.column,
            index_name=design.name,
            method=design.method,
            metric=design.metric,
            indexed_as=f"{design.cast}({column.dimensions})" if design.cast else "",
            parameter=tuning.parameter,
            value=tuning.value,
            neighbours=self.k,
            recall_target=self.target_recall,
            recall=tuning.recall,
            p50_ms=tuning.p50_ms,
            p95_ms=tuning.p95_ms,
            p99_ms=tuning.p99_ms,
            samples=len(tuning.samples),
        )
