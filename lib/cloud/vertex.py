"""Vertex AI vector search: index, index endpoint, and the index deployed at it on machines.

Google names indexes and endpoints itself and takes no request id, so a display name and our label
tell ours from others: before and after a creation whose answer was lost, they are looked for.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.cloud import fields, locations
from lib.cloud.clients import Clients
from lib.cloud.converging import Converging
from lib.cloud.errors import (
    AlreadyTaken,
    CannotChange,
    Conflict,
    TookTooLong,
    Unavailable,
    told,
)
from lib.cloud.kind import MADE_BY, Kind, always_ready
from lib.cloud.limits import VERTEX_DISTANCES
from lib.cloud.resource import Resource
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo

_CONSOLE = "https://console.cloud.google.com/vertex-ai/matching-engine"
INDEX = Kind(
    noun="vector index",
    service="indexes",
    thing="index",
    collection="indexes",
    condition=always_ready,
    immutable=("metadata", "index_update_method"),
    console=_CONSOLE,
)
ENDPOINT = Kind(
    noun="index endpoint",
    service="index_endpoints",
    thing="index_endpoint",
    collection="indexEndpoints",
    condition=always_ready,
    immutable=("network", "public_endpoint_enabled"),
    console=_CONSOLE,
)


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What an index is to be; the name is for display, zeros and blanks are left to Google.

    ``unit_norm`` has vectors brought to length one, so that dot products rank as cosines do.
    ``leaf_percent`` of the leaves, of about ``leaf_vectors`` each, are read by a search, and
    ``neighbours`` candidates are then compared exactly.
    """

    name: str
    dimensions: int
    distance: str
    unit_norm: bool = False
    neighbours: int = 0
    leaf_vectors: int = 0
    leaf_percent: int = 0
    shard_size: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """``metadata.config`` of the index."""
        found: dict[str, Any] = {
            "dimensions": self.dimensions,
            "distanceMeasureType": self.distance,
        }
        if self.unit_norm:
            found["featureNormType"] = "UNIT_L2_NORM"
        if self.neighbours:
            found["approximateNeighborsCount"] = self.neighbours
        if self.shard_size:
            found["shardSize"] = self.shard_size
        if self.leaf_vectors:
            tree = {
                "leafNodeEmbeddingCount": self.leaf_vectors,
                "fractionLeafNodesToSearch": self.leaf_percent / 100,
            }
            found["algorithmConfig"] = {"treeAhConfig": tree}
        return found


def spec(name: str, dimensions: int, metric: str, vertex: Any) -> IndexSpec:
    """The index for vectors that are compared by ``metric``, by the settings' section."""
    chosen = VERTEX_DISTANCES[metric][0] if vertex.distance == "auto" else vertex.distance
    return IndexSpec(
        name,
        dimensions,
        chosen,
        unit_norm=metric == "cosine" and chosen == "DOT_PRODUCT_DISTANCE",
        neighbours=vertex.approximate_neighbours,
        leaf_vectors=vertex.leaf_vectors,
        leaf_percent=vertex.leaf_percent,
        shard_size=vertex.shard_size,
    )


@dataclass(frozen=True, slots=True)
class Machines:
    """What a deployed index runs on; a blank ``type`` leaves machine and number to Google."""

    type: str = ""
    least: int = 0
    most: int = 0

    @property
    def resources(self) -> dict[str, Any]:
        """``dedicated_resources`` of a deployment."""
        return {
            "machine_spec": {"machine_type": self.type},
            "min_replica_count": self.least,
            "max_replica_count": self.most,
        }


ANY_MACHINES = Machines()


class Labelled(Resource[Any]):
    """A resource that is found by its display name and our label; its ``name`` is Google's."""

    plural = ""

    def _get(self) -> Any:
        label, value = next(iter(MADE_BY.items()))
        wanted = f'display_name="{self.id}" AND labels.{label}={value}'
        found = self._read(f"list_{self.plural}", {"parent": self.parent, "filter": wanted})
        ours = sorted(found, key=lambda each: (each.create_time, each.name))
        if not ours:
            return None
        self.name = ours[0].name
        return self._read(f"get_{self.kind.thing}", {"name": self.name})

    def _create(self, body: fields.Body, request_id: str) -> Any:  # noqa: ARG002
        request = {"parent": self.parent, self.kind.thing: {"display_name": self.id, **body}}
        return self._write(f"create_{self.kind.thing}", request)


class Index(Labelled):
    """An index; a configuration that differs is refused, as Google never changes one."""

    plural = "indexes"

    def _differences(self, observed: Any) -> tuple[FieldChange, ...]:
        there = fields.plain(observed)
        there["metadata"] = _numbers(there.get("metadata"))
        return fields.differences(self.message, self.body, there)


class Endpoint(Labelled):
    """An index endpoint."""

    plural = "index_endpoints"


@dataclass(frozen=True, slots=True)
class DeployedState:
    """An index at an endpoint: the id, the index, where searches go, and on what it runs."""

    id: str
    index: str
    endpoint: str
    address: str
    machines: Machines = ANY_MACHINES


class Deployed(Converging[DeployedState]):
    """An index is deployed at an endpoint under an id of ours, so nothing is deployed twice."""

    def __init__(
        self,
        clients: Clients,
        project: str,
        id: str,
        index: Index,
        endpoint: Endpoint,
        protected: bool,
        machines: Machines,
    ) -> None:
        super().__init__(clients, f"deployed index {id}", project, protected)
        self.id = id
        self._machines = machines
        self._index = index
        self._endpoint = endpoint

    def observe(self) -> DeployedState | None:
        """The index under our id, or None (also where there is no endpoint yet)."""
        endpoint = self._endpoint.observe()
        if endpoint is None:
            return None
        for each in endpoint.deployed_indexes:
            if each.id == self.id:
                where = endpoint.public_endpoint_domain_name
                return DeployedState(self.id, each.index, endpoint.name, where, _machines(each))
        return None

    def plan(self, observed: DeployedState | None) -> Change:
        """Deploy, change the number of replicas, or nothing; REPLACE for what never changes."""
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject)
        index = self._index.observe()
        if index is None or not _same(index.name, observed.index):
            wanted = index.name if index is not None else self._index.subject
            field = FieldChange("index", observed.index, wanted)
            return Change(ChangeKind.REPLACE, self.subject, (field,), "the id has another index")
        if not self._machines.type:
            return Change(ChangeKind.NONE, self.subject)
        there, machines = observed.machines, self._machines
        if there.type != machines.type:
            field = FieldChange("machine_type", there.type, machines.type)
            return Change(ChangeKind.REPLACE, self.subject, (field,), "it runs on other machines")
        changed = tuple(
            FieldChange(name, old, new)
            for name, old, new in (
                ("min_replicas", there.least, machines.least),
                ("max_replicas", there.most, machines.most),
            )
            if old != new
        )
        return Change(ChangeKind.UPDATE if changed else ChangeKind.NONE, self.subject, changed)

    def _take_back(self, change: Change, journal: Journal) -> None:
        """Undeploy what was deployed; give replicas their old numbers."""
        self._finish(journal)
        observed = self.observe()
        if observed is None or change.kind not in (ChangeKind.CREATE, ChangeKind.UPDATE):
            return
        if self._protected:
            raise CannotUndo(f"{self.subject} is kept in a protected environment.")
        if change.kind is ChangeKind.UPDATE:
            self._scale(observed, _before(observed.machines, change), journal)
            return
        request = {"index_endpoint": observed.endpoint, "deployed_index_id": self.id}
        self._call("undeploy_index", request, journal, lambda now: now is None)

    @property
    def client(self) -> Any:
        """The client of index endpoints."""
        return self._endpoint.client

    def _change(
        self,
        observed: DeployedState | None,
        change: Change,  # noqa: ARG002
        journal: Journal,
    ) -> None:
        if observed is not None:
            self._scale(observed, self._machines, journal)
            return
        wanted: dict[str, Any] = {"id": self.id, "index": self._index.verify().name}
        if self._machines.type:
            wanted["dedicated_resources"] = self._machines.resources
        request = {"index_endpoint": self._endpoint.verify().name, "deployed_index": wanted}
        # An attempt before this one may be under way still, unheard.
        with contextlib.suppress(Conflict, AlreadyTaken):
            self._call("deploy_index", request, journal, lambda now: now is not None)

    def _scale(self, observed: DeployedState, machines: Machines, journal: Journal) -> None:
        wanted = {"id": self.id, "index": observed.index, "dedicated_resources": machines.resources}
        request = {"index_endpoint": observed.endpoint, "deployed_index": wanted}
        self._call(
            "mutate_deployed_index",
            request,
            journal,
            lambda now: now is not None and now.machines == machines,
        )

    def _cannot_change(self, change: Change) -> CannotChange:
        differing = change.fields[0]
        return CannotChange(
            f"{self.subject} has another {differing.path}: {differing.old}.",
            expected=str(differing.new),
            remedy="choose another id, or undeploy what is there",
        )

    def _call(
        self,
        method: str,
        request: dict[str, Any],
        journal: Journal,
        done: Callable[[DeployedState | None], bool],
    ) -> None:
        """Call and follow; ``done`` tells by what is there whether an unheard call took effect."""
        try:
            with told(self._situation):
                answer = getattr(self.client, method)(
                    request=request, retry=None, timeout=self._polling.call
                )
        except (Unavailable, TookTooLong):
            if done(self.observe()):
                return
            raise
        self._follow(answer.operation.name, journal)


def index(clients: Clients, project: Any, wanted: IndexSpec, protected: bool) -> Index:
    """An index with streamed datapoints."""
    body = {
        "index_update_method": "STREAM_UPDATE",
        "metadata": {"config": wanted.config},
        "labels": dict(project.labels),
    }
    parent = locations.region(project)
    return Index(clients, INDEX, parent, wanted.name, body, project=project.id, protected=protected)


def endpoint(clients: Clients, project: Any, name: str, protected: bool) -> Endpoint:
    """A public index endpoint called ``name``."""
    body = {"public_endpoint_enabled": True, "labels": dict(project.labels)}
    parent = locations.region(project)
    return Endpoint(clients, ENDPOINT, parent, name, body, project=project.id, protected=protected)


def deployed(
    clients: Clients,
    project: Any,
    id: str,
    wanted: IndexSpec,
    endpoint_name: str,
    protected: bool,
    machines: Machines,
) -> Deployed:
    """The index of ``wanted`` at the endpoint called ``endpoint_name``, on ``machines``."""
    return Deployed(
        clients,
        project.id,
        id,
        index(clients, project, wanted, protected),
        endpoint(clients, project, endpoint_name, protected),
        protected,
        machines,
    )


def _machines(deployed_index: Any) -> Machines:
    found = deployed_index.dedicated_resources
    return Machines(
        found.machine_spec.machine_type, found.min_replica_count, found.max_replica_count
    )


def _before(machines: Machines, change: Change) -> Machines:
    old: dict[str, Any] = {each.path: each.old for each in change.fields}
    least = old.get("min_replicas", machines.least)
    return Machines(machines.type, least, old.get("max_replicas", machines.most))


def _numbers(value: Any) -> Any:
    """Free structures with whole numbers that came back as text, as 64-bit ones do, as numbers."""
    if isinstance(value, dict):
        return {key: _numbers(each) for key, each in value.items()}
    if isinstance(value, str) and value.isdigit():
        return float(value)
    return value


def _same(one: str, other: str) -> bool:
    """Whether two names differ at most in naming the project by id or by number."""
    return one.split("/")[2:] == other.split("/")[2:]
