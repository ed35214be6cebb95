"""Vertex AI v1: indexes with streamed datapoints, index endpoints, deployed indexes, search.

A search is exact, over the datapoints that were upserted: recall is 1 whatever the algorithm
settings say.  Batch indexes from Cloud Storage, sparse vectors and numeric restricts are refused.
"""

import re
import secrets
from typing import Any, Final

from google.cloud import aiplatform_v1 as api
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.contract import is_set
from lib.localcloud.core import Call, Core
from lib.localcloud.kind import Kind
from lib.localcloud.operations import Finish
from lib.localcloud.service import Service
from lib.localcloud.services import vectors
from lib.localcloud.services.vectors import DISTANCES, DOT, Vectors
from lib.localcloud.store import OperationRow

INDEXES: Final = "google.cloud.aiplatform.v1.IndexService"
ENDPOINTS: Final = "google.cloud.aiplatform.v1.IndexEndpointService"
TITLE: Final = "aiplatform.googleapis.com"
DEPLOYED_ID: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,127}")
STREAM = api.Index.IndexUpdateMethod.STREAM_UPDATE
LARGEST_UPSERT: Final = 1000
SHARDS: Final = ("SHARD_SIZE_SMALL", "SHARD_SIZE_MEDIUM", "SHARD_SIZE_LARGE")
MACHINES: Final = {
    "e2-standard-2": SHARDS[:1], "e2-standard-16": SHARDS[:2], "e2-highmem-16": SHARDS,
    "n1-standard-16": SHARDS[:2], "n1-standard-32": SHARDS, "n2d-standard-32": SHARDS,
}  # fmt: skip
NORMS: Final = ("NONE", vectors.UNIT)


class _Numbered(Kind):
    """A kind whose id the server chooses."""

    numbered = True

    def _id(self, _request: Any) -> str:
        return str(secrets.randbelow(9 * 10**18) + 10**18)


class IndexKind(_Numbered):
    """An index; its configuration is a free structure in ``metadata``."""

    name = "Index"
    plural = "Indexes"
    message = api.Index

    def defaults(self, _call: Call, pb: Any) -> None:
        pb.index_update_method = pb.index_update_method or int(
            api.Index.IndexUpdateMethod.BATCH_UPDATE
        )

    def check(self, pb: Any) -> None:
        if pb.index_update_method != STREAM:
            raise errors.invalid(
                "index.index_update_method", "the embedded cloud has STREAM_UPDATE indexes only"
            )
        config = configuration(pb)
        dimensions = config.get("dimensions")
        if not isinstance(dimensions, int | float) or not 1 <= dimensions <= 4096:
            raise errors.invalid("index.metadata.config.dimensions", "give 1 to 4096")
        if config.get("distanceMeasureType", DOT) not in DISTANCES:
            raise errors.invalid(
                "index.metadata.config.distanceMeasureType", f"one of {', '.join(DISTANCES)}"
            )
        if config.get("featureNormType", NORMS[0]) not in NORMS:
            raise errors.invalid(
                "index.metadata.config.featureNormType", f"one of {', '.join(NORMS)}"
            )
        if config.get("shardSize", SHARDS[1]) not in SHARDS:
            raise errors.invalid("index.metadata.config.shardSize", f"one of {', '.join(SHARDS)}")
        tree = config.get("algorithmConfig", {}).get("treeAhConfig")
        if tree is not None:
            self._check_tree(config, tree)

    @staticmethod
    def _check_tree(config: dict[str, Any], tree: dict[str, Any]) -> None:
        if not config.get("approximateNeighborsCount", 0) > 0:
            raise errors.invalid(
                "index.metadata.config.approximateNeighborsCount", "tree-AH needs it"
            )
        if not 0 <= tree.get("fractionLeafNodesToSearch", 0.05) <= 1:
            raise errors.invalid("treeAhConfig.fractionLeafNodesToSearch", "from 0 to 1")

    def change(self, old: Any, new: Any) -> None:
        if configuration(old) != configuration(new):
            raise errors.invalid("index.metadata", "the configuration of an index is immutable")

    def present(self, name: str, pb: Any) -> Any:
        shown = self.plain()
        shown.CopyFrom(super().present(name, pb))
        shown.index_stats.vectors_count = self.vectors.count(name)
        endpoints: Any = self.core.service(ENDPOINTS)
        for endpoint, there in endpoints.of_kind["IndexEndpoint"].everything():
            for each in there.deployed_indexes:
                if self.core.canonical(each.index) == name:
                    shown.deployed_indexes.add(index_endpoint=endpoint, deployed_index_id=each.id)
        return shown

    def delete(self, call: Call, request: Any) -> Message:
        """Delete an index that is deployed nowhere."""
        name = self.target(call, request.name, "delete")
        used = self.present(name, self.require(name)).deployed_indexes
        if used:
            raise errors.failed_precondition(
                name, f"the index is deployed at {used[0].index_endpoint}; undeploy it first"
            )
        return super().delete(call, request)

    def remove(self, pb: Any) -> None:
        self.vectors.drop(pb.name)

    @property
    def vectors(self) -> Vectors:
        """The datapoints, shared by the services of Vertex AI."""
        service: Any = self.core.service(INDEXES)
        found: Vectors = service.vectors
        return found


class IndexService(Service):
    """google.cloud.aiplatform.v1.IndexService."""

    client = ("google.cloud.aiplatform_v1.services.index_service", "IndexService")
    title = TITLE
    kinds = (IndexKind,)

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.vectors = Vectors(core.store)

    def UpsertDatapoints(self, call: Call, request: Any) -> Message:
        """Add or replace datapoints, searchable at once."""
        name, pb = self._index(call, request)
        if not 1 <= len(request.datapoints) <= LARGEST_UPSERT:
            raise errors.invalid("datapoints", f"give 1 to {LARGEST_UPSERT} datapoints")
        vectors.check(request.datapoints, int(configuration(pb)["dimensions"]))
        if any(is_set(each, "sparse_embedding") or each.numeric_restricts
               for each in request.datapoints):  # fmt: skip
            raise errors.invalid("datapoints", "sparse and numeric restricts are not supported")
        self.vectors.upsert(name, request.datapoints)
        return call.method.response()

    def RemoveDatapoints(self, call: Call, request: Any) -> Message:
        """Remove datapoints by id."""
        name, _ = self._index(call, request)
        self.vectors.remove(name, request.datapoint_ids)
        return call.method.response()

    def _index(self, call: Call, request: Any) -> tuple[str, Any]:
        kind: Any = self.of_kind["Index"]
        name = kind.target(call, request.index, "update", "index")
        return name, kind.require(name)


class EndpointKind(_Numbered):
    """An index endpoint; ``public_endpoint_domain_name`` is the embedded cloud itself."""

    name = "IndexEndpoint"
    message = api.IndexEndpoint
    immutable = ("network", "public_endpoint_enabled")

    def check(self, pb: Any) -> None:
        if bool(pb.network) == bool(pb.public_endpoint_enabled):
            raise errors.invalid(
                "index_endpoint.network", "give either a network or public_endpoint_enabled"
            )

    def build(self, pb: Any) -> None:
        if pb.public_endpoint_enabled:
            pb.public_endpoint_domain_name = self.core.endpoint

    def delete(self, call: Call, request: Any) -> Message:
        """Delete an endpoint where nothing is deployed."""
        name = self.target(call, request.name, "delete")
        if self.require(name).deployed_indexes:
            raise errors.failed_precondition(name, "indexes are deployed here; undeploy them first")
        return super().delete(call, request)

    def work(self, row: OperationRow) -> Finish:
        """Deploying and undeploying are one write."""
        if row.rpc not in ("DeployIndex", "UndeployIndex", "MutateDeployedIndex"):
            return super().work(row)
        pb = self.plain.FromString(row.payload)

        def finish() -> Message:
            self.save(row.target, pb)
            result: Any = self.service.api.methods[row.rpc].result
            if row.rpc == "UndeployIndex":
                return result()
            return result(deployed_index=pb.deployed_indexes[-1])  # the last one was changed

        return finish


class IndexEndpointService(Service):
    """google.cloud.aiplatform.v1.IndexEndpointService."""

    client = (
        "google.cloud.aiplatform_v1.services.index_endpoint_service", "IndexEndpointService",
    )  # fmt: skip
    title = TITLE
    kinds = (EndpointKind,)

    def DeployIndex(self, call: Call, request: Any) -> Message:
        """Put an index onto the endpoint under an id of the caller's choice."""
        wanted = request.deployed_index
        with self.core.store.transaction():
            kind, name, pb = self._endpoint(call, request, "deploy")
            _require_id(wanted.id)
            indexes: Any = self.core.service(INDEXES)
            index_kind = indexes.of_kind["Index"]
            index = index_kind.canonical(wanted.index, index_kind.pattern, "deployed_index.index")
            index_kind.require(index)
            _check_resources(wanted, indexes.of_kind["Index"].require(index))
            if any(each.id == wanted.id for each in pb.deployed_indexes):
                raise errors.already_exists(f"{name}/deployedIndexes/{wanted.id}", "DeployedIndex")
            kind.require_idle(name)
            added = pb.deployed_indexes.add()
            added.CopyFrom(wanted)
            added.index = index
            added.create_time.GetCurrentTime()
            added.index_sync_time.GetCurrentTime()
            answer: Message = kind.answer(call, request, name, pb)
        return answer

    def MutateDeployedIndex(self, call: Call, request: Any) -> Message:
        """Change how many replicas a deployed index has; everything else of it stays."""
        wanted = request.deployed_index
        with self.core.store.transaction():
            kind, name, pb = self._endpoint(call, request, "update")
            _require_id(wanted.id)
            there = next((each for each in pb.deployed_indexes if each.id == wanted.id), None)
            if there is None:
                raise errors.not_found(f"{name}/deployedIndexes/{wanted.id}", "DeployedIndex")
            if wanted.dedicated_resources.machine_spec != there.dedicated_resources.machine_spec:
                raise errors.invalid(
                    "deployed_index.dedicated_resources.machine_spec", "machines are immutable"
                )
            indexes: Any = self.core.service(INDEXES)
            _check_resources(wanted, indexes.of_kind["Index"].require(there.index))
            kind.require_idle(name)
            changed = type(there)()
            changed.CopyFrom(there)
            changed.dedicated_resources.CopyFrom(wanted.dedicated_resources)
            kept = [each for each in pb.deployed_indexes if each.id != wanted.id]
            del pb.deployed_indexes[:]
            pb.deployed_indexes.extend([*kept, changed])
            answer: Message = kind.answer(call, request, name, pb)
        return answer

    def UndeployIndex(self, call: Call, request: Any) -> Message:
        """Take an index off the endpoint."""
        with self.core.store.transaction():
            kind, name, pb = self._endpoint(call, request, "undeploy")
            kept = [each for each in pb.deployed_indexes if each.id != request.deployed_index_id]
            if len(kept) == len(pb.deployed_indexes):
                raise errors.not_found(
                    f"{name}/deployedIndexes/{request.deployed_index_id}", "DeployedIndex"
                )
            kind.require_idle(name)
            del pb.deployed_indexes[:]
            pb.deployed_indexes.extend(kept)
            answer: Message = kind.answer(call, request, name, pb)
        return answer

    def _endpoint(self, call: Call, request: Any, verb: str) -> tuple[Any, str, Any]:
        kind = self.of_kind["IndexEndpoint"]
        name = kind.target(call, request.index_endpoint, verb, "index_endpoint")
        return kind, name, kind.require(name)


class Match(Service):
    """google.cloud.aiplatform.v1.MatchService."""

    client = ("google.cloud.aiplatform_v1.services.match_service", "MatchService")
    title = TITLE

    def FindNeighbors(self, call: Call, request: Any) -> Message:
        """The nearest datapoints of each query."""
        name, index = self._deployed(call, request)
        config, store = configuration(index), self._vectors
        response: Any = call.method.response()
        points = [query.datapoint for query in request.queries]
        for number, query in enumerate(request.queries):
            point = query.datapoint
            if point.datapoint_id and not point.feature_vector:
                found = store.get(name, [point.datapoint_id])
                if not found:
                    raise errors.not_found(point.datapoint_id, "Datapoint")
                point.feature_vector.extend(found[0].feature_vector)
            point.datapoint_id = point.datapoint_id or f"query-{number}"
        vectors.check(points, int(config["dimensions"]), "queries")
        for query in request.queries:
            answer = response.nearest_neighbors.add(id=query.datapoint.datapoint_id)
            wanted = query.neighbor_count or 10
            if not 0 <= query.fraction_leaf_nodes_to_search_override <= 1:
                raise errors.invalid("queries.fraction_leaf_nodes_to_search_override", "0 to 1")
            if query.approximate_neighbor_count < 0:
                raise errors.invalid("queries.approximate_neighbor_count", "more than 0")
            for point, apart in store.nearest(name, config, query.datapoint, wanted):
                neighbour = answer.neighbors.add(distance=apart)
                if request.return_full_datapoint:
                    neighbour.datapoint.ParseFromString(point.SerializeToString())
                neighbour.datapoint.datapoint_id = point.datapoint_id
        return response

    def ReadIndexDatapoints(self, call: Call, request: Any) -> Message:
        """Datapoints by id; unknown ids are left out."""
        name, _ = self._deployed(call, request)
        response: Any = call.method.response()
        for point in self._vectors.get(name, request.ids):
            response.datapoints.add().ParseFromString(point.SerializeToString())
        return response

    @property
    def _vectors(self) -> Vectors:
        service: Any = self.core.service(INDEXES)
        found: Vectors = service.vectors
        return found

    def _deployed(self, call: Call, request: Any) -> tuple[str, Any]:
        endpoints: Any = self.core.service(ENDPOINTS)
        kind = endpoints.of_kind["IndexEndpoint"]
        name = kind.target(call, request.index_endpoint, "queryVectors", "index_endpoint")
        for each in kind.require(name).deployed_indexes:
            if each.id == request.deployed_index_id:
                indexes: Any = self.core.service(INDEXES)
                return each.index, indexes.of_kind["Index"].require(each.index)
        raise errors.not_found(
            f"{name}/deployedIndexes/{request.deployed_index_id}", "DeployedIndex"
        )


class MatchBeta(Match):
    """google.cloud.aiplatform.v1beta1.MatchService, which the high-level package calls."""

    client = ("google.cloud.aiplatform_v1beta1.services.match_service", "MatchService")


def _require_id(given: str) -> None:
    if not DEPLOYED_ID.fullmatch(given):
        raise errors.invalid(
            "deployed_index.id", f"'{given}' does not match '{DEPLOYED_ID.pattern}'"
        )


def _check_resources(wanted: Any, index: Any) -> None:
    """INVALID_ARGUMENT for machines that do not hold the index's shards, or no such replicas."""
    resources = wanted.dedicated_resources
    machine = resources.machine_spec.machine_type
    if not machine:
        return
    field = "deployed_index.dedicated_resources"
    shard = configuration(index).get("shardSize", SHARDS[1])
    if shard not in MACHINES.get(machine, ()):
        raise errors.invalid(
            f"{field}.machine_spec.machine_type", f"'{machine}' does not hold {shard}"
        )
    if resources.min_replica_count < 1:
        raise errors.invalid(f"{field}.min_replica_count", "give 1 or more")
    if resources.max_replica_count and resources.max_replica_count < resources.min_replica_count:
        raise errors.invalid(f"{field}.max_replica_count", "less than min_replica_count")


def configuration(pb: Any) -> dict[str, Any]:
    """The ``config`` of an index's metadata, empty where there is none.

    A null says nothing: Google's high-level package sends one for what nobody gave.
    """
    metadata = MessageToDict(pb.metadata)
    config = metadata.get("config", {}) if isinstance(metadata, dict) else {}
    if not isinstance(config, dict):
        return {}
    return {name: value for name, value in config.items() if value is not None}
