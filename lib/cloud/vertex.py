"""Vertex AI vector search: index, index endpoint, and the index deployed at it.

Google names indexes and endpoints itself and takes no request id, so a display name and our label
tell ours from others: before and after a creation whose answer was lost, they are looked for.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from lib.cloud import fields, locations
from lib.cloud.clients import Clients
from lib.cloud.converging import Converging
from lib.cloud.errors import (
    AlreadyTaken,
    CannotChange,
    Conflict,
    Situation,
    TookTooLong,
    Unavailable,
    told,
)
from lib.cloud.kind import MADE_BY, Kind, always_ready
from lib.cloud.operations import patiently
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


class Endpoint(Labelled):
    """An index endpoint."""

    plural = "index_endpoints"


@dataclass(frozen=True, slots=True)
class DeployedState:
    """An index at an endpoint: the id, the index, and where searches go."""

    id: str
    index: str
    endpoint: str
    address: str


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
    ) -> None:
        super().__init__(clients, f"deployed index {id}", project, protected)
        self.id = id
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
                return DeployedState(self.id, each.index, endpoint.name, where)
        return None

    def plan(self, observed: DeployedState | None) -> Change:
        """Deploy it, or nothing; REPLACE where the id has another index."""
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject)
        index = self._index.observe()
        if index is not None and _same(index.name, observed.index):
            return Change(ChangeKind.NONE, self.subject)
        wanted = index.name if index is not None else self._index.subject
        field = FieldChange("index", observed.index, wanted)
        return Change(ChangeKind.REPLACE, self.subject, (field,), "the id has another index")

    def undo(self, change: Change, journal: Journal) -> None:
        """Undeploy what was deployed."""
        self._finish(journal)
        observed = self.observe()
        if change.kind is not ChangeKind.CREATE or observed is None:
            return
        if self._protected:
            raise CannotUndo(f"{self.subject} is kept in a protected environment.")
        request = {"index_endpoint": observed.endpoint, "deployed_index_id": self.id}
        self._call("undeploy_index", request, journal, there=False)

    @property
    def client(self) -> Any:
        """The client of index endpoints."""
        return self._endpoint.client

    def _change(
        self,
        observed: DeployedState | None,  # noqa: ARG002
        change: Change,  # noqa: ARG002
        journal: Journal,
    ) -> None:
        request = {
            "index_endpoint": self._endpoint.verify().name,
            "deployed_index": {"id": self.id, "index": self._index.verify().name},
        }
        # An attempt before this one may be under way still, unheard.
        with contextlib.suppress(Conflict, AlreadyTaken):
            self._call("deploy_index", request, journal, there=True)

    def _cannot_change(self, change: Change) -> CannotChange:
        return CannotChange(
            f"{self.subject} has another index: {change.fields[0].old}.",
            expected=str(change.fields[0].new),
            remedy="choose another id, or undeploy what is there",
        )

    def _call(self, method: str, request: dict[str, Any], journal: Journal, *, there: bool) -> None:
        try:
            with told(self._situation):
                answer = getattr(self.client, method)(
                    request=request, retry=None, timeout=self._polling.call
                )
        except (Unavailable, TookTooLong):
            if (self.observe() is not None) is there:
                return
            raise
        self._follow(answer.operation.name, journal)


def index(clients: Clients, project: Any, settings: Any, protected: bool) -> Index:
    """An index with streamed datapoints; ``settings`` has name, dimensions and distance."""
    config = {"dimensions": settings.dimensions, "distanceMeasureType": settings.distance}
    neighbours = getattr(settings, "neighbours", 0)
    if neighbours:
        config["approximateNeighborsCount"] = neighbours
    body = {
        "index_update_method": "STREAM_UPDATE",
        "metadata": {"config": config},
        "labels": dict(project.labels),
    }
    parent = locations.region(project)
    return Index(
        clients, INDEX, parent, settings.name, body, project=project.id, protected=protected
    )


def endpoint(clients: Clients, project: Any, name: str, protected: bool) -> Endpoint:
    """A public index endpoint called ``name``."""
    body = {"public_endpoint_enabled": True, "labels": dict(project.labels)}
    parent = locations.region(project)
    return Endpoint(clients, ENDPOINT, parent, name, body, project=project.id, protected=protected)


def deployed(
    clients: Clients, project: Any, id: str, settings: Any, endpoint_name: str, protected: bool
) -> Deployed:
    """The index of ``settings`` at the endpoint called ``endpoint_name``."""
    return Deployed(
        clients,
        project.id,
        id,
        index(clients, project, settings, protected),
        endpoint(clients, project, endpoint_name, protected),
        protected,
    )


def neighbours(
    clients: Clients, deployed: DeployedState, vector: list[float], count: int
) -> list[tuple[str, float]]:
    """Ids and distances of the nearest datapoints (network); raises ``CloudError``."""
    polling = clients.target.polling
    project = deployed.endpoint.split("/")[1]
    situation = Situation(f"deployed index {deployed.id}", project, clients.target.kind)
    point = {"feature_vector": vector}
    request = {
        "index_endpoint": deployed.endpoint,
        "deployed_index_id": deployed.id,
        "queries": [{"datapoint": point, "neighbor_count": count}],
    }
    with told(situation):
        answer = clients.match(deployed.address).find_neighbors(
            request=request, retry=patiently(polling), timeout=polling.call
        )
    found = answer.nearest_neighbors[0].neighbors
    return [(each.datapoint.datapoint_id, each.distance) for each in found]


def _same(one: str, other: str) -> bool:
    """Whether two names differ at most in naming the project by id or by number."""
    return one.split("/")[2:] == other.split("/")[2:]
