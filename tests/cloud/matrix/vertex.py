"""Rows of Vertex AI's vector search."""

from collections.abc import Collection
from typing import Any

from lib.cloud.vertex import IndexSpec, Machines
from lib.cloud.vertex_points import Datapoint, Datapoints
from lib.engine.changes import Change, ChangeKind
from tests.cloud.matrix.mutation import Mutation, project, relabelled, undoing
from tests.cloud.matrix.world import Case

ONE = Machines("e2-standard-2", 1, 1)
THREE = Machines("e2-standard-2", 1, 3)


def _spec(case: Case) -> IndexSpec:
    return IndexSpec(case.id, 3, "SQUARED_L2_DISTANCE", shard_size="SHARD_SIZE_SMALL")


def _index(case: Case, project: Any = None) -> Any:
    return case.cloud.vector_index(project or case.project, _spec(case))


def _endpoint(case: Case, project: Any = None) -> Any:
    return case.cloud.index_endpoint(project or case.project, case.id)


def _both(case: Case) -> list[Any]:
    return [*project(case), _index(case), _endpoint(case)]


def _deployed(case: Case, machines: Machines = ONE) -> Any:
    return case.cloud.deployed_index(case.project, case.id, _spec(case), case.id, machines)


class Points:
    """The index holds just these datapoints, told as an action."""

    def __init__(self, case: Case, ids: Collection[str]) -> None:
        self._case = case
        self._ids = frozenset(ids)

    def observe(self) -> frozenset[str]:
        """Which of those that cells know are there."""
        return frozenset(self._points.read(["a", "b"]))

    def plan(self, observed: frozenset[str]) -> Change:
        """Write and remove, or nothing."""
        same = observed == self._ids
        return Change(ChangeKind.NONE if same else ChangeKind.UPDATE, "datapoints")

    def apply(self, _change: Change, _journal: Any) -> None:
        """Write what is lacking, remove what is too much."""
        there = self.observe()
        if lacking := self._ids - there:
            self._points.upsert(Datapoint(each, [0, 0, 1]) for each in lacking)
        if surplus := there - self._ids:
            self._points.remove(surplus)

    def verify(self) -> frozenset[str]:
        """They are there."""
        observed = self.observe()
        assert observed == self._ids
        return observed

    @property
    def _points(self) -> Datapoints:
        index, there = _index(self._case).observe(), _deployed(self._case).observe()
        return self._case.cloud.datapoints(index.name, there.endpoint, there.id, there.address)


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("IndexService/CreateIndex", "aiplatform.indexes.create", _index, project, short=False),
    Mutation(
        "IndexService/UpdateIndex",
        "aiplatform.indexes.update",
        lambda c: _index(c, relabelled(c)),
        lambda c: [*project(c), _index(c)],
        short=False,
    ),
    undoing("IndexService/DeleteIndex", "aiplatform.indexes.delete", _index, project),
    Mutation(
        "IndexEndpointService/CreateIndexEndpoint",
        "aiplatform.indexEndpoints.create",
        _endpoint,
        project,
        short=False,
    ),
    Mutation(
        "IndexEndpointService/UpdateIndexEndpoint",
        "aiplatform.indexEndpoints.update",
        lambda c: _endpoint(c, relabelled(c)),
        lambda c: [*project(c), _endpoint(c)],
        operation=False,
        short=False,
    ),
    undoing(
        "IndexEndpointService/DeleteIndexEndpoint",
        "aiplatform.indexEndpoints.delete",
        _endpoint,
        project,
    ),
    Mutation(
        "IndexEndpointService/DeployIndex",
        "aiplatform.indexEndpoints.deploy",
        _deployed,
        _both,
        short=False,
    ),
    Mutation(
        "IndexEndpointService/MutateDeployedIndex",
        "aiplatform.indexEndpoints.update",
        lambda c: _deployed(c, THREE),
        lambda c: [*_both(c), _deployed(c)],
        short=False,
    ),
    undoing(
        "IndexEndpointService/UndeployIndex",
        "aiplatform.indexEndpoints.undeploy",
        _deployed,
        _both,
    ),
    Mutation(
        "IndexService/UpsertDatapoints",
        "aiplatform.indexes.update",
        lambda c: Points(c, ["a", "b"]),
        lambda c: [*_both(c), _deployed(c)],
        operation=False,
        short=False,
    ),
    Mutation(
        "IndexService/RemoveDatapoints",
        "aiplatform.indexes.update",
        lambda c: Points(c, ["a"]),
        lambda c: [*_both(c), _deployed(c), Points(c, ["a", "b"])],
        operation=False,
        short=False,
    ),
)
