"""Networks that are used: what demands them, what keeps them in place, who comes first."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions

from tests.localcloud.conftest import FAST, Server, code_of

SERVICE = "servicenetworking.googleapis.com"
CONNECTIONS = f"/v1/services/{SERVICE}/connections"
APIS = ("alloydb", "redis", "workstations")


@pytest.fixture(scope="module")
def bare(cloud: Server) -> str:
    """A project whose network ``default`` has no connection."""
    return cloud.new_project("compute", "servicenetworking", *APIS)


@pytest.fixture(scope="module")
def connected(cloud: Server) -> str:
    """A project whose network ``default`` is connected."""
    return cloud.connected_project(*APIS)


def _network(project: str, name: str = "default") -> str:
    return f"projects/{project}/global/networks/{name}"


def _cluster(cloud: Server, project: str, network: str, own: str = "c") -> Callable[[], Any]:
    request = {
        "parent": f"projects/{project}/locations/us-central1", "cluster_id": own,
        "cluster": {"network_config": {"network": network}, "initial_user": {"password": "p"}},
    }  # fmt: skip
    return lambda: cloud.client("alloydb").create_cluster(request=request)


def _redis(cloud: Server, project: str, network: str, mode: str) -> Callable[[], Any]:
    request = {
        "parent": f"projects/{project}/locations/us-central1", "instance_id": "r",
        "instance": {"tier": "BASIC", "memory_size_gb": 1, "authorized_network": network,
                     "connect_mode": mode},
    }  # fmt: skip
    return lambda: cloud.client("redis").create_instance(request=request)


def _made(cloud: Server, project: str, scope: str, collection: str, body: dict[str, Any]) -> None:
    """Insert into a collection of Compute and wait."""
    place = f"/compute/v1/projects/{project}/{scope}"
    begun = cloud.posted(f"{place}/{collection}", body)
    done = cloud.posted(f"{place}/operations/{begun['name']}/wait", {})
    assert "error" not in done, done


def _disconnected(cloud: Server, http: Any, network: str) -> tuple[int, str]:
    path = f"{CONNECTIONS}/servicenetworking-googleapis-com"
    status, told = http("POST", path, json={"consumerNetwork": network})
    return status, str(told)


def test_alloydb_demands_a_connection(cloud: Server, bare: str) -> None:
    with pytest.raises(exceptions.FailedPrecondition, match="no private services access"):
        _cluster(cloud, bare, _network(bare))()
    assert code_of(_cluster(cloud, bare, _network(bare, "none"))) == "NOT_FOUND"
    elsewhere = _network("no-such-project")
    assert code_of(_cluster(cloud, bare, elsewhere)) == "NOT_FOUND"


def test_memorystore_demands_what_its_mode_needs(cloud: Server, bare: str, connected: str) -> None:
    private = "PRIVATE_SERVICE_ACCESS"
    with pytest.raises(exceptions.FailedPrecondition, match="private service access is not enab"):
        _redis(cloud, bare, _network(bare), private)()
    with pytest.raises(exceptions.InvalidArgument, match="same project as redis instance"):
        _redis(cloud, bare, _network(connected), "DIRECT_PEERING")()
    assert code_of(_redis(cloud, bare, _network(connected), private)) == "OK"
    name = f"projects/{bare}/locations/us-central1/instances/r"
    cloud.client("redis").delete_instance(name=name).result(polling=FAST)


def test_a_workstation_clusters_subnetwork_is_of_its_network(cloud: Server, bare: str) -> None:
    _made(cloud, bare, "global", "networks", {"name": "other", "autoCreateSubnetworks": False})
    subnetwork = f"projects/{bare}/regions/us-central1/subnetworks/default"
    client, parent = cloud.client("workstations"), f"projects/{bare}/locations/us-central1"
    for network, code in (("other", "INVALID_ARGUMENT"), ("none", "NOT_FOUND"), ("default", "OK")):
        wanted = {"network": _network(bare, network), "subnetwork": subnetwork}
        request = {"parent": parent, "workstation_cluster_id": "w", "workstation_cluster": wanted}
        assert code_of(lambda: client.create_workstation_cluster(request=request)) == code  # noqa: B023


def test_a_connection_stays_while_its_own_network_is_used(
    cloud: Server, http: Any, connected: str
) -> None:
    _made(cloud, connected, "global", "networks", {"name": "two", "autoCreateSubnetworks": False})
    private = {"purpose": "VPC_PEERING", "addressType": "INTERNAL", "prefixLength": 24}
    two = _network(connected, "two")
    _made(cloud, connected, "global", "addresses", {"name": "two", "network": two, **private})
    body = {"network": two, "reservedPeeringRanges": ["two"]}
    begun = cloud.posted(CONNECTIONS, body)
    while not cloud.asked("GET", f"/v1/{begun['name']}").get("done"):
        time.sleep(0.02)
    number = cloud.client("projects").get_project(name=f"projects/{connected}").name
    default = _network(connected).replace(f"projects/{connected}", number)
    _cluster(cloud, connected, default, "kept")().result(polling=FAST)
    status, told = _disconnected(cloud, http, _network(connected))
    assert (status, "clusters/kept" in told) == (400, True)
    status, told = http("DELETE", f"/compute/v1/{two}")
    assert (status, "peerings/servicenetworking" in str(told)) == (400, True)
    assert _disconnected(cloud, http, two)[0] == 200


def test_a_network_stays_while_something_stands_in_it(cloud: Server, http: Any) -> None:
    project = cloud.new_project("compute", "redis", "workstations")
    _made(cloud, project, "global", "networks", {"name": "n", "autoCreateSubnetworks": False})
    subnetwork = {"name": "s", "network": _network(project, "n"), "ipCidrRange": "10.3.0.0/24"}
    _made(cloud, project, "regions/us-central1", "subnetworks", subnetwork)
    client, parent = cloud.client("workstations"), f"projects/{project}/locations/us-central1"
    path = f"projects/{project}/regions/us-central1/subnetworks/s"
    client.create_workstation_cluster(
        parent=parent, workstation_cluster_id="w",
        workstation_cluster={"network": _network(project, "n"), "subnetwork": path},
    ).result(polling=FAST)  # fmt: skip
    status, told = http("DELETE", f"/compute/v1/{path}")
    assert (status, "workstationClusters/w" in str(told)) == (400, True)
    client.delete_workstation_cluster(name=f"{parent}/workstationClusters/w").result(polling=FAST)
    _redis(cloud, project, _network(project, "n"), "DIRECT_PEERING")().result(polling=FAST)
    assert http("DELETE", f"/compute/v1/{path}")[0] == 200
    cloud.client("redis").delete_instance(name=f"{parent}/instances/r").result(polling=FAST)
    assert http("DELETE", f"/compute/v1/{_network(project, 'n')}")[0] == 200


def test_of_two_connections_at_once_one_is_accepted(cloud: Server, http: Any, bare: str) -> None:
    private = {"purpose": "VPC_PEERING", "addressType": "INTERNAL", "prefixLength": 24}
    network = _network(bare)
    _made(cloud, bare, "global", "addresses", {"name": "r", "network": network, **private})
    body, statuses = {"network": network, "reservedPeeringRanges": ["r"]}, []
    gate = threading.Barrier(6)

    def create() -> None:
        gate.wait()
        statuses.append(http("POST", CONNECTIONS, json=body)[0])

    threads = [threading.Thread(target=create) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(statuses) == [200, 400, 400, 400, 400, 400]
