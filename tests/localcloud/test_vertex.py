"""Vertex AI vector search through Google's clients: made, deployed, filled, searched, refused."""

from typing import Any

import numpy as np
import pytest
from google.api_core import exceptions

from tests.localcloud.conftest import FAST, Server, code_of

DIMENSIONS = 8
VECTORS = np.random.default_rng(1).normal(size=(60, DIMENSIONS)).round(3)


def _index(distance: str = "SQUARED_L2_DISTANCE", **config: Any) -> dict[str, Any]:
    settings = {"dimensions": DIMENSIONS, "distanceMeasureType": distance, **config}
    return {"display_name": "agents", "index_update_method": "STREAM_UPDATE",
            "labels": {"platform": "test"}, "metadata": {"config": settings}}  # fmt: skip


@pytest.fixture(scope="module")
def parent(cloud: Server) -> str:
    """A location of a project with Vertex AI."""
    return f"projects/{cloud.new_project('aiplatform')}/locations/us-central1"


@pytest.fixture(scope="module")
def endpoint(cloud: Server, parent: str) -> Any:
    """An endpoint that is reached from everywhere."""
    wanted = {"display_name": "search", "public_endpoint_enabled": True}
    client = cloud.client("index_endpoints")
    return client.create_index_endpoint(parent=parent, index_endpoint=wanted).result(polling=FAST)


def _made(cloud: Server, parent: str, endpoint: Any, name: str, distance: str) -> Any:
    client = cloud.client("indexes")
    index = client.create_index(parent=parent, index=_index(distance)).result(polling=FAST)
    points = [
        {"datapoint_id": f"p{number}", "feature_vector": list(map(float, row)),
         "restricts": [{"namespace": "half", "allow_list": ["odd" if number % 2 else "even"]}]}
        for number, row in enumerate(VECTORS)
    ]  # fmt: skip
    client.upsert_datapoints(request={"index": index.name, "datapoints": points})
    wanted = {"id": name, "index": index.name}
    cloud.client("index_endpoints").deploy_index(
        index_endpoint=endpoint.name, deployed_index=wanted
    ).result(polling=FAST)
    return index


def _query(endpoint: Any, name: str, count: int = 5, **point: Any) -> dict[str, Any]:
    wanted = {"feature_vector": [1.0] * DIMENSIONS, **point}
    return {"index_endpoint": endpoint.name, "deployed_index_id": name,
            "queries": [{"datapoint": wanted, "neighbor_count": count}]}  # fmt: skip


EXPECTED = {
    "SQUARED_L2_DISTANCE": lambda rows, q: ((rows - q) ** 2).sum(1),
    "COSINE_DISTANCE": lambda rows, q: 1 - rows @ q / np.linalg.norm(rows, axis=1) / (q @ q) ** 0.5,
    "DOT_PRODUCT_DISTANCE": lambda rows, q: rows @ q,
}


@pytest.mark.parametrize("distance", EXPECTED)
@pytest.mark.parametrize("client", ["match", "match_beta"])
def test_neighbours_are_the_nearest(
    cloud: Server, parent: str, endpoint: Any, distance: str, client: str
) -> None:
    name = f"by_{distance.lower()}_{client}"
    index = _made(cloud, parent, endpoint, name, distance)
    answer = cloud.client(client).find_neighbors(_query(endpoint, name))
    found = answer.nearest_neighbors[0].neighbors
    apart = EXPECTED[distance](VECTORS, np.ones(DIMENSIONS))
    order = np.argsort(-apart if distance.startswith("DOT") else apart)[:5]
    assert [each.datapoint.datapoint_id for each in found] == [f"p{n}" for n in order]
    assert [each.distance for each in found] == pytest.approx(list(apart[order]), abs=1e-4)
    shown = cloud.client("indexes").get_index(name=index.name)
    assert shown.index_stats.vectors_count == len(VECTORS)
    assert [each.deployed_index_id for each in shown.deployed_indexes] == [name]


def test_vectors_of_unit_length_rank_by_direction(
    cloud: Server, parent: str, endpoint: Any
) -> None:
    config = {"dimensions": DIMENSIONS, "distanceMeasureType": "DOT_PRODUCT_DISTANCE",
              "featureNormType": "UNIT_L2_NORM"}  # fmt: skip
    wanted = {**_index(), "metadata": {"config": config}}
    index = cloud.client("indexes").create_index(parent=parent, index=wanted).result(polling=FAST)
    cloud.client("indexes").upsert_datapoints(
        request={"index": index.name, "datapoints": [
            {"datapoint_id": f"p{n}", "feature_vector": list(map(float, row * (1 + n)))}
            for n, row in enumerate(VECTORS)]}
    )  # fmt: skip
    cloud.client("index_endpoints").deploy_index(
        index_endpoint=endpoint.name, deployed_index={"id": "unit", "index": index.name}
    ).result(polling=FAST)
    answer = cloud.client("match").find_neighbors(_query(endpoint, "unit"))
    found = answer.nearest_neighbors[0].neighbors
    products = 1 - EXPECTED["COSINE_DISTANCE"](VECTORS, np.ones(DIMENSIONS))
    order = np.argsort(-products)[:5]
    assert [each.datapoint.datapoint_id for each in found] == [f"p{n}" for n in order]
    assert [each.distance for each in found] == pytest.approx(list(products[order]), abs=1e-4)


def test_restricts_removal_and_reading(cloud: Server, parent: str, endpoint: Any) -> None:
    index = _made(cloud, parent, endpoint, "restricted", "SQUARED_L2_DISTANCE")
    match = cloud.client("match")
    odd = [{"namespace": "half", "allow_list": ["odd"]}]
    query = _query(endpoint, "restricted", 60, restricts=odd)
    ids = [
        each.datapoint.datapoint_id
        for each in match.find_neighbors(query).nearest_neighbors[0].neighbors
    ]
    assert len(ids) == 30
    assert all(int(each[1:]) % 2 for each in ids)
    cloud.client("indexes").remove_datapoints(
        request={"index": index.name, "datapoint_ids": [ids[0]]}
    )
    asked = {"index_endpoint": endpoint.name, "deployed_index_id": "restricted", "ids": ids[:2]}
    read = match.read_index_datapoints(asked).datapoints
    assert [each.datapoint_id for each in read] == [ids[1]]
    by_id = _query(endpoint, "restricted", 1, feature_vector=[], datapoint_id=ids[1])
    nearest = match.find_neighbors(by_id).nearest_neighbors[0].neighbors[0]
    assert (nearest.datapoint.datapoint_id, nearest.distance) == (ids[1], 0.0)


def test_an_index_in_use_stays_until_it_is_undeployed(
    cloud: Server, parent: str, endpoint: Any
) -> None:
    index = _made(cloud, parent, endpoint, "used", "COSINE_DISTANCE")
    indexes, endpoints = cloud.client("indexes"), cloud.client("index_endpoints")
    assert code_of(lambda: indexes.delete_index(name=index.name)) == "FAILED_PRECONDITION"
    assert code_of(lambda: endpoints.delete_index_endpoint(name=endpoint.name)) == (
        "FAILED_PRECONDITION"
    )
    again = {"id": "used", "index": index.name}
    deploy = {"index_endpoint": endpoint.name, "deployed_index": again}
    assert code_of(lambda: endpoints.deploy_index(request=deploy)) == "ALREADY_EXISTS"
    undeploy = {"index_endpoint": endpoint.name, "deployed_index_id": "used"}
    assert code_of(lambda: endpoints.undeploy_index(request=undeploy)) == "OK"
    assert code_of(lambda: endpoints.undeploy_index(request=undeploy)) == "NOT_FOUND"
    assert code_of(lambda: indexes.delete_index(name=index.name)) == "OK"
    assert code_of(lambda: indexes.get_index(name=index.name)) == "NOT_FOUND"


@pytest.mark.parametrize("machine, least, most", [
    ("e2-standard-2", 1, 1), ("n2d-standard-32", 0, 1), ("n2d-standard-32", 2, 1), ("n2-none", 1, 1)
])  # fmt: skip
def test_machines_that_do_not_hold_the_shards_are_refused(
    cloud: Server, parent: str, endpoint: Any, machine: str, least: int, most: int
) -> None:
    large = _index(shardSize="SHARD_SIZE_LARGE")
    index = cloud.client("indexes").create_index(parent=parent, index=large).result(polling=FAST)
    endpoints = cloud.client("index_endpoints")
    resources = {"machine_spec": {"machine_type": machine},
                 "min_replica_count": least, "max_replica_count": most}  # fmt: skip
    wanted = {"id": "large", "index": index.name, "dedicated_resources": resources}
    request = {"index_endpoint": endpoint.name, "deployed_index": wanted}
    assert code_of(lambda: endpoints.deploy_index(request=request)) == "INVALID_ARGUMENT"
    assert code_of(lambda: endpoints.mutate_deployed_index(request=request)) == "NOT_FOUND"


def test_indexes_are_found_by_name_and_label(cloud: Server, parent: str) -> None:
    client = cloud.client("indexes")
    wanted = {**_index(), "display_name": "one-of-a-kind"}
    made = client.create_index(parent=parent, index=wanted).result(polling=FAST)
    request = {"parent": parent, "filter": 'display_name="one-of-a-kind" AND labels.platform=test'}
    assert [each.name for each in client.list_indexes(request=request)] == [made.name]


REFUSED = [
    ({"display_name": ""}, "INVALID_ARGUMENT"),
    ({"index_update_method": "BATCH_UPDATE"}, "INVALID_ARGUMENT"),
    ({"metadata": {"config": {}}}, "INVALID_ARGUMENT"),
    ({"metadata": {"config": {"dimensions": 0}}}, "INVALID_ARGUMENT"),
    *(
        ({"metadata": {"config": {"dimensions": 8, **config}}}, "INVALID_ARGUMENT")
        for config in (
            {"distanceMeasureType": "X"},
            {"featureNormType": "X"},
            {"shardSize": "X"},
            {"algorithmConfig": {"treeAhConfig": {}}},
            {
                "approximateNeighborsCount": 1,
                "algorithmConfig": {"treeAhConfig": {"fractionLeafNodesToSearch": 2}},
            },
        )
    ),
]


@pytest.mark.parametrize("changed, code", REFUSED)
def test_wrong_indexes_are_refused(
    cloud: Server, parent: str, changed: dict[str, Any], code: str
) -> None:
    request = {"parent": parent, "index": {**_index(), **changed}}
    assert code_of(lambda: cloud.client("indexes").create_index(request=request)) == code


def test_wrong_vectors_and_searches_are_refused(cloud: Server, parent: str, endpoint: Any) -> None:
    index = _made(cloud, parent, endpoint, "strict", "SQUARED_L2_DISTANCE")
    odd = _query(endpoint, "strict")
    odd["queries"][0]["fraction_leaf_nodes_to_search_override"] = 1.5
    assert code_of(lambda: cloud.client("match").find_neighbors(odd)) == "INVALID_ARGUMENT"
    short = [{"datapoint_id": "x", "feature_vector": [1.0]}]
    request = {"index": index.name, "datapoints": short}
    with pytest.raises(exceptions.InvalidArgument, match="1 dimensions, the index has 8"):
        cloud.client("indexes").upsert_datapoints(request=request)
    match = cloud.client("match")
    nowhere = _query(endpoint, "nowhere")
    assert code_of(lambda: match.find_neighbors(nowhere)) == "NOT_FOUND"
    wrong = _query(endpoint, "strict", feature_vector=[1.0])
    assert code_of(lambda: match.find_neighbors(wrong)) == "INVALID_ARGUMENT"
    changed = {"name": index.name, "metadata": {"config": {"dimensions": 9}}}
    mask = {"paths": ["metadata"]}
    update = {"index": changed, "update_mask": mask}
    assert code_of(lambda: cloud.client("indexes").update_index(request=update)) == (
        "INVALID_ARGUMENT"
    )
    stranger = cloud.client("match", principal="user:nobody@example.com")
    asked = _query(endpoint, "strict")
    assert code_of(lambda: stranger.find_neighbors(asked)) == "PERMISSION_DENIED"
