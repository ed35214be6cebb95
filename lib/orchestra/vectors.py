"""Vector search on the target, put together: indexes, tuning, and the measurement of both."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

from lib.errors import MigrationError
from lib.orchestra.platform import Platform
from lib.orchestra.stopwatch import Stopwatch
from lib.postgres.database import Database
from lib.vectors.columns import VectorColumn, vector_columns
from lib.vectors.database import VectorDatabase
from lib.vectors.design import IndexDesign, choose_index
from lib.vectors.exact import GroundTruth, ground_truth, query_vectors, recall
from lib.vectors.index import CreateVectorIndex
from lib.vectors.measurement import Searches
from lib.vectors.search import Searcher
from lib.vectors.search_settings import SearchSettings
from lib.vectors.tuning import TuneSearch

if TYPE_CHECKING:
    from lib.orchestra.vertex import Vertex

_SEED = 11
_WARMUP = 30
_K = 10
_HEADROOM = 0.2


class NothingToSearch(MigrationError):
    """Neither source nor target holds a vector that could be searched."""


class VectorsMissing(MigrationError):
    """The source holds vectors and the target none."""


class Vectors:
    """The vector columns of the migrated database; those without rows are left out."""

    def __init__(self, database: Database, platform: Platform | None = None) -> None:
        self._of = database
        self._platform = platform

    @property
    def database(self) -> VectorDatabase:
        """How to reach them."""
        return VectorDatabase(self._of.url, self._of.password)

    def designs(self, settings: Any) -> list[IndexDesign]:
        """The index that each column gets (network)."""
        with self.database.session() as connection:
            columns = [each for each in vector_columns(connection) if each.rows]
            scann = connection.execute(
                "select from pg_extension where extname = 'alloydb_scann'"
            ).fetchone()
        return [
            choose_index(column, settings.method, settings.metric, scann=scann is not None)
            for column in columns
        ]

    def index(self, design: IndexDesign) -> CreateVectorIndex:
        """The index exists (an action)."""
        return CreateVectorIndex(self.database, design)

    def tuning(self, design: IndexDesign, settings: Any) -> TuneSearch:
        """Searches reach the recall target with headroom (an action).

        A fifth of what may be missed is kept in hand, since users ask other queries than tuning.
        """
        target = settings.recall_target + _HEADROOM * (1 - settings.recall_target)
        return TuneSearch(self.database, design, round(target, 6), settings.neighbours)

    def measure(
        self, clock: Stopwatch, samples: int, settings: Any, vertex: "Vertex | None" = None
    ) -> tuple[list[float], float]:
        """Seconds of searches over all columns in turn, and their mean recall (network).

        One client, as the API searches, where it does: in AlloyDB, or at ``vertex``.  The queries
        are others than those that tuning saw.  Raises ``NothingToSearch``.
        """
        designs = self.designs(settings)
        if not designs:
            self._explain_nothing()
        each = -(-(samples + _WARMUP) // len(designs))
        with ExitStack() as stack:
            searches = _Searches(
                [self._searched(stack, design, each, vertex) for design in designs]
            )
            seconds = clock(searches.next, rounds=samples, warmup=_WARMUP)
            return list(seconds), searches.recall

    def _explain_nothing(self) -> NoReturn:
        """Nothing to search is right only where the source has no vectors either."""
        source = self._platform.source_database if self._platform is not None else None
        if source is not None:
            with VectorDatabase(source.url, source.password).session() as connection:
                lost = [each.name for each in vector_columns(connection) if each.rows]
            if lost:
                raise VectorsMissing(
                    f"The target has no vectors to search, the source has: {', '.join(lost)}.",
                    remedy="run the component data-migration",
                )
        raise NothingToSearch("source and target hold no vectors to search")

    def _searched(
        self, stack: ExitStack, design: IndexDesign, queries: int, vertex: "Vertex | None"
    ) -> tuple[Searches, GroundTruth]:
        column: VectorColumn = design.column
        assert self._platform is not None
        served = vertex.searcher(self._platform.cloud, column) if vertex is not None else None
        searcher: Searches
        if served is not None:
            column, searcher = served
        else:
            searcher = stack.enter_context(Searcher(self.database, column))
        with self.database.session() as connection:
            vectors = query_vectors(connection, column, queries, _SEED)
            return searcher, ground_truth(connection, column, design.metric, vectors, _K)


class _Searches:
    """Searches the columns in turn, a query each, and keeps how right each answer was."""

    def __init__(self, columns: list[tuple[Searches, GroundTruth]]) -> None:
        self._columns = columns
        self._made = 0
        self._recalls: list[float] = []

    def next(self) -> None:
        """Make the next search."""
        searcher, truth = self._columns[self._made % len(self._columns)]
        number = (self._made // len(self._columns)) % len(truth.queries)
        found = searcher.search(truth.queries[number], _K)
        self._made += 1
        self._recalls.append(recall(found, truth.neighbours[number]))

    @property
    def recall(self) -> float:
        """The mean recall of all searches, those of the warm-up included."""
        return sum(self._recalls) / max(1, len(self._recalls))


def told(design: IndexDesign, tuned: SearchSettings) -> str:
    """A tuning in one line."""
    column = design.column
    return (
        f"{column.name}: {column.rows:,} x {column.dimensions}, {tuned.method}, "
        f"{tuned.parameter} = {tuned.value}, recall@{tuned.neighbours} {tuned.recall:.3f}, "
        f"p50 {tuned.p50_ms:.2f} ms, p99 {tuned.p99_ms:.2f} ms"
    )
