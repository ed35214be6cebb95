"""The REST face: Google's own compute client, and Service Networking by HTTP, against it."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.oauth2.credentials import Credentials

from tests.localcloud.conftest import Server

SERVICE = "servicenetworking.googleapis.com"
CONNECTIONS = f"/v1/services/{SERVICE}/connections"


@pytest.fixture(scope="module")
def project(cloud: Server) -> str:
    """A project with Compute and Service Networking."""
    return cloud.new_project("compute", "servicenetworking")


@pytest.fixture(scope="module")
def compute(cloud: Server) -> Any:
    """Google's own clients by name, with a token and the authority alone told."""
    from google.cloud import compute_v1

    about = cloud.start()
    options = ClientOptions(api_endpoint=f"https://{about['rest']}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", about["ca"])
        yield lambda name: getattr(compute_v1, f"{name}Client")(
            credentials=Credentials(about["token"]), client_options=options
        )


def _await(compute: Any, project: str, begun: Any, region: str = "") -> None:
    """Wait by a client of our own: the one inside ``begun`` never heard of the endpoint."""
    where = {"project": project, "operation": begun.name}
    name, more = ("RegionOperations", {"region": region}) if region else ("GlobalOperations", {})
    done = compute(name).wait(**where, **more)
    assert done.status.name == "DONE"
    assert not done.error.errors


def _name() -> str:
    return f"n{uuid.uuid4().hex[:8]}"


def test_googles_client_makes_reads_lists_and_deletes(compute: Any, project: str) -> None:
    networks, subnetworks = compute("Networks"), compute("Subnetworks")
    name = _name()
    wanted = {"name": name, "auto_create_subnetworks": False}
    _await(compute, project, networks.insert(project=project, network_resource=wanted))
    made = networks.get(project=project, network=name)
    assert (made.name, made.auto_create_subnetworks) == (name, False)
    begun = subnetworks.insert(
        project=project, region="us-central1",
        subnetwork_resource={"name": name, "network": made.self_link,
                             "ip_cidr_range": "10.10.0.0/20"},
    )  # fmt: skip
    _await(compute, project, begun, "us-central1")
    listed = [each.name for each in subnetworks.list(project=project, region="us-central1")]
    assert {name, "default"} <= set(listed)
    addresses = compute("GlobalAddresses")
    begun = addresses.insert(project=project, address_resource={
        "name": name, "network": made.self_link, "purpose": "VPC_PEERING",
        "address_type": "INTERNAL", "prefix_length": 16,
    })  # fmt: skip
    _await(compute, project, begun)
    given = addresses.get(project=project, address=name)
    assert given.address.endswith(".0.0")
    with pytest.raises(exceptions.BadRequest, match="being used"):
        networks.delete(project=project, network=name)
    _await(compute, project, addresses.delete(project=project, address=name))
    begun = subnetworks.delete(project=project, region="us-central1", subnetwork=name)
    _await(compute, project, begun, "us-central1")
    _await(compute, project, networks.delete(project=project, network=name))
    with pytest.raises(exceptions.NotFound):
        networks.get(project=project, network=name)


def test_lists_come_in_pages_and_unfiltered(compute: Any, project: str) -> None:
    regions = {"project": project, "region": "us-central1"}
    begun = compute("Networks").insert(
        project=project, network_resource={"name": _name(), "auto_create_subnetworks": True}
    )
    _await(compute, project, begun)
    one = compute("Subnetworks").list(request={**regions, "max_results": 1})
    pages = [len(page.items) for page in one.pages]
    assert pages == [1] * len(list(compute("Subnetworks").list(request=regions)))
    assert len(pages) >= 2
    with pytest.raises(exceptions.BadRequest):
        compute("Networks").list(request={"project": project, "max_results": 501})
    with pytest.raises(exceptions.MethodNotImplemented):
        compute("Networks").list(request={"project": project, "filter": "name = a"})


def test_a_repeated_request_id_begins_nothing_twice(compute: Any, project: str) -> None:
    request = {"project": project, "network_resource": {"name": _name()},
               "request_id": str(uuid.uuid4())}  # fmt: skip
    first = compute("Networks").insert(request=request)
    assert compute("Networks").insert(request=request).name == first.name
    _await(compute, project, first)
    again = {**request, "request_id": str(uuid.uuid4())}
    with pytest.raises(exceptions.Conflict):
        compute("Networks").insert(request=again)


def _network(own: dict[str, Any]) -> Callable[[Any, str], Any]:
    return lambda compute, project: compute("Networks").insert(
        project=project, network_resource=own
    )


def _subnetwork(own: dict[str, Any], region: str = "us-central1") -> Callable[[Any, str], Any]:
    return lambda compute, project: compute("Subnetworks").insert(
        project=project, region=region,
        subnetwork_resource={"name": "s", "network": f"projects/{project}/global/networks/default",
                             **own},
    )  # fmt: skip


def _range(own: dict[str, Any]) -> Callable[[Any, str], Any]:
    return lambda compute, project: compute("GlobalAddresses").insert(
        project=project,
        address_resource={"name": "r", "network": f"projects/{project}/global/networks/default",
                          "purpose": "VPC_PEERING", "address_type": "INTERNAL",
                          "prefix_length": 16, **own},
    )  # fmt: skip


REFUSED: list[tuple[str, Callable[[Any, str], Any], type[Exception]]] = [
    ("name missing", _network({}), exceptions.BadRequest),
    ("malformed name", _network({"name": "Not_A_Name"}), exceptions.BadRequest),
    ("duplicate", _network({"name": "default"}), exceptions.Conflict),
    ("missing project", lambda compute, _: _network({"name": "n"})(compute, "no-such-project"),
     exceptions.Forbidden),
    ("missing network", _subnetwork({"network": "projects/{p}/global/networks/none"}),
     exceptions.NotFound),
    ("range missing", _subnetwork({}), exceptions.BadRequest),
    ("range malformed", _subnetwork({"ip_cidr_range": "10.0.0.1/8"}), exceptions.BadRequest),
    ("range taken", _subnetwork({"ip_cidr_range": "10.128.0.0/24"}), exceptions.BadRequest),
    ("missing region", _subnetwork({"ip_cidr_range": "10.9.0.0/24"}, "nowhere1"),
     exceptions.NotFound),
    ("other purpose", _range({"purpose": "PRIVATE_SERVICE_CONNECT"}), exceptions.BadRequest),
    ("prefix too long", _range({"prefix_length": 31}), exceptions.BadRequest),
    ("address taken", _range({"address": "10.128.0.0"}), exceptions.BadRequest),
    ("not found", lambda compute, p: compute("Networks").get(project=p, network="none"),
     exceptions.NotFound),
    ("delete not found", lambda compute, p: compute("Networks").delete(project=p, network="none"),
     exceptions.NotFound),
]  # fmt: skip


@pytest.mark.parametrize("call, kind", [each[1:] for each in REFUSED],
                         ids=[each[0].replace(" ", "-") for each in REFUSED])  # fmt: skip
def test_what_google_refuses(compute: Any, project: str, call: Any, kind: Any) -> None:
    with pytest.raises(kind):
        call(compute, project)


def test_a_connection_is_by_project_number_and_needs_its_ranges(
    cloud: Server, http: Any, project: str
) -> None:
    network = f"projects/{project}/global/networks/default"
    body = {"network": network, "reservedPeeringRanges": ["none"]}
    assert http("POST", CONNECTIONS, json=body)[0] == 404
    assert http("POST", CONNECTIONS, json={"network": network})[0] == 400
    assert http("POST", CONNECTIONS, json={"network": "nonsense"})[0] == 400
    assert http("GET", CONNECTIONS, params={"network": network}) == (200, {})
    stranger = cloud.command("token", "--principal", "user:nobody@example.com").strip()
    status, told = http("GET", CONNECTIONS, stranger, params={"network": network})
    assert (status, told["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_unknown_callers_paths_and_bodies_are_refused(http: Any, project: str) -> None:
    path = f"/compute/v1/projects/{project}/global/networks"
    assert http("GET", path, "nobody")[0] == 401
    assert http("GET", "/nowhere")[0] == 404
    assert http("POST", path, data=b"{")[0] == 400


def test_faults_and_counts_hold_for_rest_too(cloud: Server, http: Any, project: str) -> None:
    path = f"/compute/v1/projects/{project}/global/networks/default"
    cloud.command("calls", "--reset")
    cloud.command("faults", "add", "error", "--method", "compute/Get", "--times", "1")
    assert [http("GET", path)[0] for _ in range(2)] == [503, 200]
    cloud.command("faults", "add", "cut", "--method", "Networks/Get", "--times", "1")
    with pytest.raises(requests.ConnectionError):
        http("GET", path)
    assert "3  google.cloud.compute.v1.Networks/Get" in cloud.command("calls")
    cloud.command("faults", "clear")


def test_networks_are_in_the_status_and_survive_a_restart(fresh: Server) -> None:
    fresh.start()
    project = fresh.new_project("compute")
    told = fresh.command("status")
    assert f"projects/{project}/global/networks/default" in told
    assert told.count("subnetworks/default") == 1, "one line for all regions"
    fresh.kill()
    fresh.start()
    assert f"projects/{project}/global/networks/default" in fresh.command("status")
    assert Path(fresh.state / "state.db").exists()
