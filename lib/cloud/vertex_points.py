"""The datapoints of one deployed Vertex AI index: written, removed, read and searched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lib.cloud.clients import Clients
from lib.cloud.errors import Situation, told
from lib.cloud.operations import patiently


class Datapoint(NamedTuple):
    """An id, its vector, and the values that searches may be restricted to, by namespace."""

    id: str
    vector: Sequence[float]
    restricts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Datapoints:
    """What a deployed index holds; every method is a call (network) and raises ``CloudError``.

    Names are Google's; ``address`` is the endpoint's public one.  Writes may be made again:
    they replace.  ``seconds`` bounds one search, where it is given.
    """

    clients: Clients
    index: str
    endpoint: str
    deployed_id: str
    address: str
    seconds: float | None = None

    def upsert(self, points: Iterable[Datapoint]) -> None:
        """Add or replace up to 1,000 datapoints."""
        from google.cloud.aiplatform_v1 import UpsertDatapointsRequest as Request

        request = Request(index=self.index)
        for each in points:
            _fill(Request.pb(request).datapoints.add(datapoint_id=each.id), each)
        self._write("upsert_datapoints", request)

    def remove(self, ids: Iterable[str]) -> None:
        """Remove datapoints; unknown ids are fine."""
        self._write("remove_datapoints", {"index": self.index, "datapoint_ids": list(ids)})

    def count(self) -> int:
        """How many datapoints the index says that it has; Google counts with a delay."""
        return int(self._write("get_index", {"name": self.index}).index_stats.vectors_count)

    def read(self, ids: Iterable[str]) -> dict[str, Datapoint]:
        """The datapoints of these ids that are there, by id."""
        request = {
            "index_endpoint": self.endpoint,
            "deployed_index_id": self.deployed_id,
            "ids": list(ids),
        }
        answer = self._ask("read_index_datapoints", request, patient=True)
        return {
            each.datapoint_id: Datapoint(each.datapoint_id, each.feature_vector, _restricts(each))
            for each in type(answer).pb(answer).datapoints
        }

    def find(
        self,
        vector: Sequence[float],
        k: int,
        *,
        approximate: int = 0,
        leaf_percent: int = 0,
        restricts: tuple[tuple[str, str], ...] = (),
    ) -> list[tuple[str, float]]:
        """Ids and distances, as the index measures them, of the ``k`` nearest, nearest first.

        ``approximate`` candidates and ``leaf_percent`` of the leaves, where they are given, are
        looked at instead of what the index was configured for.
        """
        from google.cloud.aiplatform_v1 import FindNeighborsRequest as Request

        request = Request(index_endpoint=self.endpoint, deployed_index_id=self.deployed_id)
        query = Request.pb(request).queries.add(
            neighbor_count=k,
            approximate_neighbor_count=approximate,
            fraction_leaf_nodes_to_search_override=leaf_percent / 100,
        )
        _fill(query.datapoint, Datapoint("", vector, restricts))
        answer = self._ask("find_neighbors", request, patient=self.seconds is None)
        found = type(answer).pb(answer).nearest_neighbors[0].neighbors
        return [(each.datapoint.datapoint_id, each.distance) for each in found]

    def _write(self, method: str, request: Any) -> Any:
        polling = self.clients.target.polling
        with told(self._situation):
            return getattr(self.clients.get("indexes"), method)(
                request=request, retry=patiently(polling), timeout=polling.call
            )

    def _ask(self, method: str, request: Any, *, patient: bool) -> Any:
        polling = self.clients.target.polling
        with told(self._situation):
            return getattr(self.clients.match(self.address), method)(
                request=request,
                retry=patiently(polling) if patient else None,
                timeout=self.seconds or polling.call,
            )

    @property
    def _situation(self) -> Situation:
        project = self.endpoint.split("/")[1]
        return Situation(f"deployed index {self.deployed_id}", project, self.clients.target.kind)


def _fill(message: Any, point: Datapoint) -> None:
    """Vector and restricts into a plain message: proto-plus would look at every number."""
    message.feature_vector.extend(point.vector)
    for namespace, value in point.restricts:
        message.restricts.add(namespace=namespace, allow_list=[value])


def _restricts(point: Any) -> tuple[tuple[str, str], ...]:
    return tuple(
        sorted((each.namespace, value) for each in point.restricts for value in each.allow_list)
    )
