"""Vertex AI as the backend of vector search: which collections it serves, by which index, how."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

from lib.cloud.cloud import Cloud
from lib.cloud.errors import NotFound
from lib.cloud.vertex import DeployedState, IndexSpec, Machines
from lib.cloud.vertex import spec as index_spec
from lib.cloud.vertex_points import Datapoints
from lib.engine.unknown import Unknown
from lib.errors import VerificationError
from lib.vectors import served_settings
from lib.vectors.changes import NoteChanges
from lib.vectors.columns import VectorColumn, vector_columns
from lib.vectors.database import VectorDatabase
from lib.vectors.loading import LoadPoints
from lib.vectors.served import Served, served
from lib.vectors.served_settings import ServedSettings
from lib.vectors.served_tuning import ServedSearcher, TuneServed, Where

_HEADROOM = 0.2


class BrokenOnPurpose(Exception):
    """The failure that the breaker is shown: a search where nothing is deployed."""


class Vertex:
    """Collections with rows and a usable key are served by Vertex AI, the others by AlloyDB."""

    def __init__(self, database: VectorDatabase, settings: Any) -> None:
        self.database = database
        self._settings = settings

    @cached_property
    def _sorted(self) -> tuple[list[Served], dict[str, str]]:
        vectors, vertex = self._settings.vectors, self._settings.vertex
        found: list[Served] = []
        left_out = {}
        with self.database.session() as connection:
            for column in vector_columns(connection):
                if not column.rows:
                    continue
                what = served(connection, column, vectors.metric, vertex.restricts)
                if isinstance(what, Served):
                    found.append(what)
                else:
                    left_out[column.name] = f"{what}: it is searched in AlloyDB"
        return found, left_out

    def collections(self) -> list[Served]:
        """What Vertex AI serves (network)."""
        return self._sorted[0]

    def left_out(self) -> list[str]:
        """Why other collections stay in AlloyDB, a sentence each (network)."""
        return list(self._sorted[1].values())

    # -- what it takes in Google Cloud ---------------------------------------------------------

    def name(self, what: Served) -> str:
        """The name of a collection's index, and the id under which it is deployed."""
        alloydb = self._settings.alloydb
        database = hashlib.sha256(alloydb.database.encode()).hexdigest()[:4]
        return f"{alloydb.cluster.replace('-', '_')}_{what.label}_{database}"

    def spec(self, what: Served) -> IndexSpec:
        """The index that a collection gets."""
        return index_spec(
            self.name(what), what.column.dimensions, what.metric, self._settings.vertex
        )

    @property
    def machines(self) -> Machines:
        """What each index runs on."""
        vertex = self._settings.vertex
        return Machines(vertex.machine_type, vertex.min_replicas, vertex.max_replicas)

    # -- its content and its search ------------------------------------------------------------

    def points(self, cloud: Cloud, step: Any, what: Served) -> Datapoints:
        """The datapoints of a collection's deployed index, as the step before left it."""
        index, endpoint, address = step.output("vertex-deployed", what.label)
        return cloud.datapoints(index, endpoint, self.name(what), address)

    def noted(self, what: Served) -> NoteChanges:
        """Changes of a collection are noted (an action)."""
        return NoteChanges(self.database, what, self._settings.alloydb.application_role)

    def loaded(self, what: Served, points: Datapoints) -> LoadPoints:
        """Every vector of a collection is there (an action)."""
        return LoadPoints(self.database, what, points, points.index)

    def tuned(self, what: Served, points: Datapoints) -> TuneServed:
        """Searches reach the recall target with a fifth of what may be missed in hand (action)."""
        vectors = self._settings.vectors
        target = vectors.recall_target + _HEADROOM * (1 - vectors.recall_target)
        where = Where(
            points.index,
            points.endpoint,
            points.deployed_id,
            points.address,
            self.spec(what).distance,
            self._settings.vertex.approximate_neighbours,
        )
        return TuneServed(self.database, what, points, where, round(target, 6), vectors.neighbours)

    def searcher(self, cloud: Cloud, column: VectorColumn) -> tuple[VectorColumn, Any] | None:
        """The column named by datapoints' ids, and its search; None where AlloyDB has it.

        Raises ``VerificationError`` for a collection that should be served and is not.
        """
        if column.name in self._sorted[1]:
            return None
        what = next(each for each in self.collections() if each.name == column.name)
        with self.database.session() as connection:
            settings = served_settings.read(connection, column.name)
        if settings is None:
            raise VerificationError(
                f"{column.name} has no served search.",
                expected="a row in orchestra.served_collections",
                remedy="run the component vector-optimization",
            )
        points = cloud.datapoints(
            settings.service, settings.endpoint, settings.label, settings.address
        )
        return what.by_id, ServedSearcher(
            points, settings.metric, settings.distance, settings.approximate, settings.leaf_percent
        )

    def paths(self, cloud: Cloud, step: Any) -> tuple[Callable[[], Any], Callable[[], Any]] | None:
        """A search that works and one that fails, for the breaker; None where nothing is served."""
        for what in self.collections():
            points = self.points(cloud, step, what)
            nowhere = cloud.datapoints(
                points.index, points.endpoint, "nothing_is_deployed_here", points.address
            )
            vector = [1.0] * what.column.dimensions

            def broken() -> None:
                try:
                    nowhere.find(vector, 1)  # noqa: B023
                except NotFound as error:
                    raise BrokenOnPurpose from error

            return lambda: points.find(vector, 1), broken  # noqa: B023
        return None


def where(state: DeployedState | Unknown) -> Any:
    """What later steps need of a deployment: names of index and endpoint, public address."""
    if isinstance(state, Unknown):
        return state
    return [state.index, state.endpoint, state.address]


def told(what: Served, tuned: ServedSettings) -> str:
    """A tuning in one line."""
    return (
        f"{what.name}: {what.column.rows:,} x {what.column.dimensions}, Vertex AI, "
        f"{tuned.leaf_percent} % of leaves, recall@{tuned.neighbours} {tuned.recall:.3f}, "
        f"p50 {tuned.p50_ms:.2f} ms, p99 {tuned.p99_ms:.2f} ms"
    )
