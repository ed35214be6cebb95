"""The contract table of what a run calls by REST: Compute, and the private connection.

Compute has neither updates nor etags for these; a connection is known by its network.  Requests
are plain HTTP, as the migration sends them; Google's own client drives the same services in
``test_rest`` and ``test_endpoints``.
"""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from tests.cloud.matrix.cells import MUTATIONS
from tests.localcloud.conftest import FAST, Server, filled
from tests.localcloud.contract import CASES as BY_CLIENT

NOBODY = "user:nobody@example.com"
ROOT = "/compute/v1/projects/{p}"
NOWHERE = "/compute/v1/projects/no-such-project"
GLOBAL, REGION = ROOT + "/global", ROOT + "/regions/us-central1"
NETWORK = "projects/{p}/global/networks/t"
SUBNETWORK = "projects/{p}/regions/us-central1/subnetworks/t"
CONNECTIONS = "/v1/services/servicenetworking.googleapis.com/connections"
PEERING = CONNECTIONS + "/servicenetworking-googleapis-com"
RANGE = {"purpose": "VPC_PEERING", "addressType": "INTERNAL", "prefixLength": 20}
BAD, ABSENT, TAKEN = "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS"
DENIED, REFUSED = "PERMISSION_DENIED", "FAILED_PRECONDITION"

Case = tuple[str, str, str, str, dict[str, Any] | None, str, str]


@dataclass(frozen=True)
class Row:
    """A collection of Compute: what is made in it, and what of it is refused.

    ``required`` is a field without which nothing is made, ``nowhere`` one that names something
    that is not there; ``used`` whether something keeps ``t`` from being deleted; ``once`` where
    a second one of the same body can't stand beside the first.
    """

    service: str
    place: str
    body: dict[str, Any]
    required: str = ""
    nowhere: tuple[str, dict[str, Any]] = ("", {})
    used: bool = True
    once: bool = False


ROWS = (
    Row("Networks", GLOBAL + "/networks", {"autoCreateSubnetworks": False}),
    Row("Subnetworks", REGION + "/subnetworks",
        {"network": NETWORK, "ipCidrRange": "10.64.0.0/24"}, "network",
        ("missing network", {"network": NETWORK + "x"}), once=True),
    Row("GlobalAddresses", GLOBAL + "/addresses", {"network": NETWORK, **RANGE}, "prefixLength",
        ("missing network", {"network": NETWORK + "x"}), used=False),
    Row("Addresses", REGION + "/addresses",
        {"addressType": "INTERNAL", "subnetwork": SUBNETWORK}, "subnetwork",
        ("missing subnetwork", {"subnetwork": SUBNETWORK + "x"})),
    Row("ForwardingRules", REGION + "/forwardingRules",
        {"target": "{target}", "IPAddress": "projects/{p}/regions/us-central1/addresses/t",
         "network": NETWORK, "loadBalancingScheme": ""}, "target",
        ("missing target", {"target": "{target}0"}), used=False, once=True),
)  # fmt: skip


def _standard(row: Row) -> list[Case]:
    """The calls of a collection: service, RPC, what about it, path, body, code, principal."""
    place, elsewhere = row.place, row.place.replace(ROOT, NOWHERE)
    body = {"name": "{new}", **row.body}
    found = [
        ("Insert", "malformed name", place, {**body, "name": "Not_A_Name"}, BAD, ""),
        ("Insert", "name missing", place, {**row.body}, BAD, ""),
        ("Insert", "missing project", elsewhere, body, DENIED, ""),
        ("Insert", "duplicate", place, {**body, "name": "t"}, TAKEN, ""),
        ("Insert", "denied", place, body, DENIED, NOBODY),
        ("Get", "accepted", place + "/t", None, "OK", ""),
        ("Get", "not found", place + "/none", None, ABSENT, ""),
        ("Get", "missing project", elsewhere + "/t", None, DENIED, ""),
        ("Get", "denied", place + "/t", None, DENIED, NOBODY),
        ("Delete", "not found", place + "/none", None, ABSENT, ""),
        ("Delete", "denied", place + "/t", None, DENIED, NOBODY),
    ]
    if not row.once:
        found.append(("Insert", "accepted", place, body, "OK", ""))
    if row.required:
        less = {key: value for key, value in body.items() if key != row.required}
        found.append(("Insert", "required field missing", place, less, BAD, ""))
    if about := row.nowhere[0]:
        found.append(("Insert", about, place, {**body, **row.nowhere[1]}, ABSENT, ""))
    if row.used:
        found.append(("Delete", "in use", place + "/t", None, BAD, ""))
    if "regions" in place:
        gone = place.replace("us-central1", "nowhere1")
        found.append(("Insert", "missing region", gone, body, ABSENT, ""))
    return [(row.service, *each) for each in found]


def _connection(name: str, about: str, network: str, code: str, principal: str = "") -> Case:
    body = {"network": network, "reservedPeeringRanges": ["t"]}
    path = CONNECTIONS
    if name == "ListConnections":
        return (SERVICE, name, about, f"{path}?network={network}", None, code, principal)
    if name == "UpdateConnection":
        path = f"{path}/-?updateMask=reservedPeeringRanges"
    if name == "DeleteConnection":
        path, body = PEERING, {"consumerNetwork": network}
    return (SERVICE, name, about, path, body, code, principal)


SERVICE = "servicenetworking"
OTHER = "projects/{p}/global/networks/unconnected"
CASES = [
    *(case for row in ROWS for case in _standard(row)),
    _connection("ListConnections", "accepted", NETWORK, "OK"),
    _connection("ListConnections", "malformed name", "nonsense", BAD),
    _connection("ListConnections", "denied", NETWORK, DENIED, NOBODY),
    _connection("CreateConnection", "duplicate", NETWORK, REFUSED),
    _connection("CreateConnection", "malformed name", "nonsense", BAD),
    _connection("CreateConnection", "missing parent", NETWORK + "x", ABSENT),
    _connection("CreateConnection", "range of another network", OTHER, BAD),
    _connection("CreateConnection", "denied", NETWORK, DENIED, NOBODY),
    (SERVICE, "CreateConnection", "required field missing", CONNECTIONS, {"network": OTHER}, BAD,
     ""),
    (SERVICE, "CreateConnection", "missing range", CONNECTIONS,
     {"network": OTHER, "reservedPeeringRanges": ["none"]}, ABSENT, ""),
    _connection("UpdateConnection", "accepted", NETWORK, "OK"),
    _connection("UpdateConnection", "malformed name", "nonsense", BAD),
    _connection("UpdateConnection", "not found", OTHER, ABSENT),
    _connection("UpdateConnection", "missing parent", NETWORK + "x", ABSENT),
    _connection("UpdateConnection", "denied", NETWORK, DENIED, NOBODY),
    _connection("DeleteConnection", "not found", OTHER, ABSENT),
    _connection("DeleteConnection", "malformed name", "nonsense", BAD),
    _connection("DeleteConnection", "in use", NETWORK, REFUSED),
    _connection("DeleteConnection", "denied", NETWORK, DENIED, NOBODY),
    (SERVICE, "DeleteConnection", "malformed connection", PEERING + "-x",
     {"consumerNetwork": NETWORK}, ABSENT, ""),
]  # fmt: skip
VERBS = {"Insert": "POST", "Get": "GET", "Delete": "DELETE", "ListConnections": "GET",
         "CreateConnection": "POST", "UpdateConnection": "PATCH",
         "DeleteConnection": "POST"}  # fmt: skip


@pytest.fixture(scope="module")
def made(cloud: Server) -> dict[str, str]:
    """A project with one ``t`` of everything, each used by the next; the words for them."""
    project = cloud.new_project("compute", "servicenetworking", "alloydb")
    words = {"{p}": project}

    def insert(row: Row, name: str = "t") -> None:
        path = filled(row.place, words)
        scope = path.rpartition("/")[0]
        begun = cloud.posted(path, filled({"name": name, **row.body}, words))
        done = cloud.posted(f"{scope}/operations/{begun['name']}/wait", {})
        assert "error" not in done, done

    network, *rest, rule = ROWS
    insert(network)
    insert(network, "unconnected")
    for row in rest:
        insert(row)
    body = {"network": filled(NETWORK, words), "reservedPeeringRanges": ["t"]}
    begun = cloud.posted(CONNECTIONS, body)["name"]
    while not cloud.asked("GET", f"/v1/{begun}").get("done"):
        pass
    words["{target}"] = _instance(cloud, project, filled(NETWORK, words))
    insert(rule)
    return words


def _instance(cloud: Server, project: str, network: str) -> str:
    """Use the connection by one cluster; give the attachment of another one's instance."""
    client, parent = cloud.client("alloydb"), f"projects/{project}/locations/us-central1"
    for name, way in (
        ("used", {"network_config": {"network": network}}),
        ("psc", {"psc_config": {"psc_enabled": True}}),
    ):
        cluster = {**way, "initial_user": {"password": "p"}}
        client.create_cluster(parent=parent, cluster_id=name, cluster=cluster).result(polling=FAST)
    allowed = {"allowed_consumer_projects": [project]}
    instance = client.create_instance(
        parent=f"{parent}/clusters/psc", instance_id="t",
        instance={"instance_type": "PRIMARY", "psc_instance_config": allowed},
    ).result(polling=FAST)  # fmt: skip
    link = str(instance.psc_instance_config.service_attachment_link)
    return link.rpartition("/compute/v1/")[2]


@pytest.fixture(scope="module")
def tokens(cloud: Server) -> dict[str, str]:
    """The owner's token and that of somebody without any role."""
    return {
        "": str(cloud.start()["token"]),
        NOBODY: cloud.command("token", "--principal", NOBODY).strip(),
    }


@pytest.mark.parametrize(
    "service, rpc, about, path, body, code, principal",
    CASES,
    ids=[f"{service}.{rpc}-{about}".replace(" ", "-") for service, rpc, about, *_ in CASES],
)
def test_code(
    cloud: Server, made: dict[str, str], tokens: dict[str, str], service: str, rpc: str,
    about: str, path: str, body: dict[str, Any] | None, code: str, principal: str,
) -> None:  # fmt: skip
    words = {**made, "{new}": f"new-{uuid.uuid4().hex[:8]}"}
    about_server = cloud.start()
    answer = requests.request(
        VERBS[rpc], f"https://{about_server['rest']}{filled(path, words)}",
        json=filled(body, words) if body is not None else None,
        headers={"Authorization": f"Bearer {tokens[principal]}"},
        verify=about_server["ca"], timeout=20,
    )  # fmt: skip
    told = answer.json().get("error", {})
    assert told.get("status", "OK") == code, json.dumps(told)


def test_every_call_that_changes_something_is_in_a_table() -> None:
    services = {
        "projects": "projects", "usage": "serviceusage", "accounts": "iam",
        "secrets": "secretmanager", "indexes": "indexservice",
        "index_endpoints": "indexendpointservice",
    }  # fmt: skip
    table = {f"{service}/{rpc}".lower() for service, rpc, *_ in CASES}
    for client, method, *_ in BY_CLIENT:
        table.add(f"{services.get(client, client)}/{re.sub('_', '', method)}")
    missing = [each.method for each in MUTATIONS if each.method.lower() not in table]
    assert missing == []
