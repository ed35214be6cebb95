"""The rows of the contract table for Vertex AI's vector search.

Google names indexes and endpoints itself, so nothing of them is a duplicate, and a display name
takes the place of an id.  ``{index}``, ``{spare}`` and ``{endpoint}`` are names of what is there;
``spare`` is an index that is not deployed.
"""

from typing import Any

from tests.localcloud.conftest import FAST, Server

NOBODY = "user:nobody@example.com"
LOCATION = "projects/{p}/locations/us-central1"
NO_PROJECT = "projects/no-such-project/locations/us-central1"
NO_INDEX, NO_ENDPOINT = LOCATION + "/indexes/1", LOCATION + "/indexEndpoints/1"
CONFIG = {"dimensions": 2, "distanceMeasureType": "SQUARED_L2_DISTANCE"}
INDEX: dict[str, Any] = {
    "display_name": "t", "index_update_method": "STREAM_UPDATE",
    "metadata": {"config": {**CONFIG, "shardSize": "SHARD_SIZE_SMALL"}},
}  # fmt: skip
ENDPOINT = {"display_name": "t", "public_endpoint_enabled": True}
LABELS = {"paths": ["labels"]}
POINT = [{"datapoint_id": "a", "feature_vector": [1.0, 0.0]}]
QUERY = [{"datapoint": {"feature_vector": [1.0, 0.0]}, "neighbor_count": 1}]
MORE = {"machine_spec": {"machine_type": "e2-standard-2"}, "min_replica_count": 1,
        "max_replica_count": 2}  # fmt: skip
BAD, ABSENT, DENIED = "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"


def _without(body: dict[str, Any], *left_out: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in left_out}


def _kind(
    thing: str, collection: str, name: str, body: dict[str, Any], fixed: dict[str, Any]
) -> list[tuple[str, str, dict[str, Any], str, str]]:
    """What holds for an index and an endpoint alike."""
    nowhere = f"{LOCATION}/{collection}/1"
    create = {"parent": LOCATION, thing: body}
    update = {thing: {"name": name, "labels": {"a": "b"}}, "update_mask": LABELS}
    stale = {thing: {"name": name, "etag": "old", "labels": {}}, "update_mask": LABELS}
    other = {thing: {"name": name, **fixed}, "update_mask": {"paths": [*fixed]}}
    unknown = {thing: {"name": name}, "update_mask": {"paths": ["nonsense"]}}
    stranger = {thing: {"name": nowhere, "labels": {}}, "update_mask": LABELS}
    return [
        (f"create_{thing}", "accepted", create, "OK", ""),
        (f"create_{thing}", "required field missing",
         {"parent": LOCATION, thing: _without(body, "display_name")}, BAD, ""),
        (f"create_{thing}", "malformed parent", {**create, "parent": "nonsense"}, BAD, ""),
        (f"create_{thing}", "missing project", {**create, "parent": NO_PROJECT}, DENIED, ""),
        (f"create_{thing}", "denied", create, DENIED, NOBODY),
        (f"get_{thing}", "accepted", {"name": name}, "OK", ""),
        (f"get_{thing}", "malformed name", {"name": "nonsense"}, BAD, ""),
        (f"get_{thing}", "not found", {"name": nowhere}, ABSENT, ""),
        (f"get_{thing}", "denied", {"name": name}, DENIED, NOBODY),
        (f"list_{collection_of(thing)}", "accepted", {"parent": LOCATION}, "OK", ""),
        (f"list_{collection_of(thing)}", "malformed filter",
         {"parent": LOCATION, "filter": "("}, BAD, ""),
        (f"list_{collection_of(thing)}", "malformed parent", {"parent": "nonsense"}, BAD, ""),
        (f"list_{collection_of(thing)}", "denied", {"parent": LOCATION}, DENIED, NOBODY),
        (f"update_{thing}", "accepted", update, "OK", ""),
        (f"update_{thing}", "wrong etag", stale, "ABORTED", ""),
        (f"update_{thing}", "immutable field", other, BAD, ""),
        (f"update_{thing}", "unknown field", unknown, BAD, ""),
        (f"update_{thing}", "not found", stranger, ABSENT, ""),
        (f"update_{thing}", "denied", update, DENIED, NOBODY),
        (f"delete_{thing}", "malformed name", {"name": "nonsense"}, BAD, ""),
        (f"delete_{thing}", "not found", {"name": nowhere}, ABSENT, ""),
        (f"delete_{thing}", "in use", {"name": name}, "FAILED_PRECONDITION", ""),
        (f"delete_{thing}", "denied", {"name": name}, DENIED, NOBODY),
    ]  # fmt: skip


def collection_of(thing: str) -> str:
    """The plural that methods are called by."""
    return {"index": "indexes", "index_endpoint": "index_endpoints"}[thing]


def _deploying(method: str) -> list[tuple[str, str, dict[str, Any], str, str]]:
    """Deploying and changing what is deployed."""
    accepted = {
        "deploy_index": {"id": "{id}", "index": "{spare}"},
        "mutate_deployed_index": {"id": "t", "index": "{index}", "dedicated_resources": MORE},
    }[method]
    whole = {"index_endpoint": "{endpoint}", "deployed_index": accepted}
    return [
        (method, "accepted", whole, "OK", ""),
        (method, "required field missing",
         {**whole, "deployed_index": _without(accepted, "id")}, BAD, ""),
        (method, "malformed name", {**whole, "index_endpoint": "nonsense"}, BAD, ""),
        (method, "missing parent", {**whole, "index_endpoint": NO_ENDPOINT}, ABSENT, ""),
        (method, "denied", whole, DENIED, NOBODY),
    ]  # fmt: skip


def _points(method: str, **values: Any) -> list[tuple[str, str, dict[str, Any], str, str]]:
    """Writing and removing datapoints."""
    return [
        (method, "accepted", {"index": "{index}", **values}, "OK", ""),
        (method, "malformed name", {"index": "nonsense", **values}, BAD, ""),
        (method, "not found", {"index": NO_INDEX, **values}, ABSENT, ""),
        (method, "denied", {"index": "{index}", **values}, DENIED, NOBODY),
    ]


def _asking(method: str, **values: Any) -> list[tuple[str, str, dict[str, Any], str, str]]:
    """Searching and reading."""
    whole = {"index_endpoint": "{endpoint}", "deployed_index_id": "t", **values}
    return [
        (method, "accepted", whole, "OK", ""),
        (method, "malformed name", {**whole, "index_endpoint": "nonsense"}, BAD, ""),
        (method, "missing parent", {**whole, "index_endpoint": NO_ENDPOINT}, ABSENT, ""),
        (method, "not found", {**whole, "deployed_index_id": "none"}, ABSENT, ""),
        (method, "denied", whole, DENIED, NOBODY),
    ]


_UNDEPLOY = {"index_endpoint": "{endpoint}", "deployed_index_id": "none"}
_BY_CLIENT: dict[str, list[tuple[str, str, dict[str, Any], str, str]]] = {
    "indexes": [
        *_kind("index", "indexes", "{index}", INDEX, {"index_update_method": "BATCH_UPDATE"}),
        ("create_index", "configuration missing",
         {"parent": LOCATION, "index": _without(INDEX, "metadata")}, BAD, ""),
        *_points("upsert_datapoints", datapoints=POINT),
        ("upsert_datapoints", "wrong dimensions",
         {"index": "{index}", "datapoints": [{"datapoint_id": "a", "feature_vector": [1.0]}]},
         BAD, ""),
        *_points("remove_datapoints", datapoint_ids=["none"]),
    ],
    "index_endpoints": [
        *_kind("index_endpoint", "indexEndpoints", "{endpoint}", ENDPOINT,
               {"public_endpoint_enabled": False}),
        *_deploying("deploy_index"),
        ("deploy_index", "duplicate",
         {"index_endpoint": "{endpoint}", "deployed_index": {"id": "t", "index": "{index}"}},
         "ALREADY_EXISTS", ""),
        ("deploy_index", "missing index",
         {"index_endpoint": "{endpoint}", "deployed_index": {"id": "{id}", "index": NO_INDEX}},
         ABSENT, ""),
        *_deploying("mutate_deployed_index"),
        ("mutate_deployed_index", "not found",
         {"index_endpoint": "{endpoint}", "deployed_index":
          {"id": "none", "index": "{index}", "dedicated_resources": MORE}}, ABSENT, ""),
        ("undeploy_index", "not found", _UNDEPLOY, ABSENT, ""),
        ("undeploy_index", "missing parent", {**_UNDEPLOY, "index_endpoint": NO_ENDPOINT}, ABSENT,
         ""),
        ("undeploy_index", "malformed name", {**_UNDEPLOY, "index_endpoint": "nonsense"}, BAD, ""),
        ("undeploy_index", "denied", {**_UNDEPLOY, "deployed_index_id": "t"}, DENIED, NOBODY),
    ],
    "match": [
        *_asking("find_neighbors", queries=QUERY),
        ("find_neighbors", "wrong dimensions",
         {"index_endpoint": "{endpoint}", "deployed_index_id": "t",
          "queries": [{"datapoint": {"feature_vector": [1.0]}, "neighbor_count": 1}]}, BAD, ""),
        *_asking("read_index_datapoints", ids=["a"]),
    ],
}  # fmt: skip
CASES = [(client, *case) for client, cases in _BY_CLIENT.items() for case in cases]


def deployed(cloud: Server, project: str) -> dict[str, str]:
    """Make what the rows are about; the words that stand for it."""
    parent = LOCATION.replace("{p}", project)
    indexes, endpoints = cloud.client("indexes"), cloud.client("index_endpoints")
    index, spare = (
        indexes.create_index(parent=parent, index=INDEX).result(polling=FAST).name for _ in range(2)
    )
    made = endpoints.create_index_endpoint(parent=parent, index_endpoint=ENDPOINT)
    endpoint = made.result(polling=FAST).name
    wanted = {"id": "t", "index": index, "dedicated_resources": {**MORE, "max_replica_count": 1}}
    endpoints.deploy_index(index_endpoint=endpoint, deployed_index=wanted).result(polling=FAST)
    return {"{index}": index, "{spare}": spare, "{endpoint}": endpoint}
