"""Private Service Connect: endpoints that reach an AlloyDB instance, by Google's own clients."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from google.api_core import exceptions

from tests.localcloud.conftest import FAST, Server
from tests.localcloud.doors import Answer, Door, Embedded
from tests.localcloud.test_connector import LOGIN, _attempts

REGION = "us-central1"
SUBNETWORK = "projects/{p}/regions/us-central1/subnetworks/default"
NETWORK = "projects/{p}/global/networks/default"


@pytest.fixture(scope="module")
def project(cloud: Server) -> str:
    """A project whose network has no private connection, which nothing here needs."""
    return cloud.new_project("alloydb", "compute")


@pytest.fixture(scope="module")
def instance(cloud: Server, project: str) -> Any:
    """A primary that endpoints of its own project may connect to."""
    client, parent = cloud.client("alloydb"), f"projects/{project}/locations/{REGION}"
    wanted = {"psc_config": {"psc_enabled": True}, "initial_user": {"password": "first"}}
    cluster = client.create_cluster(parent=parent, cluster_id="c", cluster=wanted).result(
        polling=FAST
    )
    number = cloud.client("projects").get_project(name=f"projects/{project}").name
    allowed = {"allowed_consumer_projects": [number.removeprefix("projects/")]}
    return client.create_instance(
        parent=cluster.name, instance_id="i",
        instance={"instance_type": "PRIMARY", "psc_instance_config": allowed},
    ).result(polling=FAST)  # fmt: skip


@pytest.fixture(scope="module")
def door(cloud: Server) -> Iterator[Door]:
    """Google's clients by REST."""
    place = Embedded(cloud.start())
    with place.trusted(), contextlib.closing(Door(place, "rest")) as opened:
        yield opened


@pytest.fixture
def call(door: Door, project: str) -> Callable[..., Answer]:
    """A call in the region of a project."""
    return lambda client, method, own=project, **request: door.call(
        client, method, {"project": own, "region": REGION, **request}
    )


def _address(project: str, name: str, **changed: Any) -> dict[str, Any]:
    subnetwork = SUBNETWORK.replace("{p}", project)
    return {"name": name, "address_type": "INTERNAL", "subnetwork": subnetwork, **changed}


def _rule(project: str, name: str, instance: Any, address: str, **changed: Any) -> dict[str, Any]:
    return {
        "name": name, "network": NETWORK.replace("{p}", project), "I_p_address": address,
        "target": instance.psc_instance_config.service_attachment_link, **changed,
    }  # fmt: skip


def _link(project: str, name: str) -> str:
    return f"projects/{project}/regions/{REGION}/addresses/{name}"


def _login(host: str) -> Any:
    return psycopg.connect(
        host=host, user="postgres", password="first", dbname="postgres", connect_timeout=5
    )


@pytest.fixture
def endpoint(call: Callable[..., Answer], project: str, instance: Any) -> Iterator[str]:
    """The address of an endpoint that stands for one test."""
    call("regional_addresses", "insert", address_resource=_address(project, "a"))
    rule = _rule(project, "r", instance, _link(project, "a"))
    made = call("forwarding_rules", "insert", forwarding_rule_resource=rule)
    assert made.code == "OK", made
    yield call("regional_addresses", "get", address="a").response["address"]
    call("forwarding_rules", "delete", forwarding_rule="r")
    assert call("regional_addresses", "delete", address="a").code == "OK"


def test_an_instance_is_reached_by_its_endpoint_alone(
    cloud: Server, call: Callable[..., Answer], project: str, instance: Any
) -> None:
    assert (instance.ip_address, "/serviceAttachments/" in _target(instance)) == ("", True)
    assert instance.psc_instance_config.psc_dns_name.endswith(".alloydb-psc.goog.")
    made = call("regional_addresses", "insert", address_resource=_address(project, "only"))
    assert made.code == "OK", made
    told = call("regional_addresses", "get", address="only").response
    assert told["status"] == "RESERVED"
    with pytest.raises(psycopg.OperationalError, match="refused"):
        _login(told["address"])
    rule = _rule(project, "only", instance, told["address"])
    assert call("forwarding_rules", "insert", forwarding_rule_resource=rule).code == "OK"
    assert call("forwarding_rules", "get", forwarding_rule="only").response == {
        **call("forwarding_rules", "list").pages[0]["items"][0],
        "pscConnectionStatus": "ACCEPTED", "IPAddress": told["address"],
    }  # fmt: skip
    with _login(told["address"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert call("regional_addresses", "get", address="only").response["status"] == "IN_USE"
    assert call("regional_addresses", "delete", address="only").code == "INVALID_ARGUMENT"
    assert call("forwarding_rules", "delete", forwarding_rule="only").code == "OK"
    with pytest.raises(psycopg.OperationalError, match="refused"):
        _login(told["address"])
    assert call("regional_addresses", "delete", address="only").code == "OK"


def _target(instance: Any) -> str:
    return str(instance.psc_instance_config.service_attachment_link)


def test_googles_connector_comes_in_by_the_endpoint(
    cloud: Server, instance: Any, endpoint: str
) -> None:
    client = cloud.client("alloydb")
    assert client.get_instance(name=instance.name).psc_instance_config.psc_dns_name == (
        f"{endpoint}."
    )
    login = {"token": "owner", "connect": {**LOGIN, "ip_type": "PSC"}}
    private = {"token": "owner", "driver": "psycopg", "connect": LOGIN}
    found = _attempts(cloud, instance, {
        "psycopg": {**login, "driver": "psycopg"}, "asyncpg": {**login, "driver": "asyncpg"},
        "private": private,
    })  # fmt: skip
    assert (found["psycopg"], found["asyncpg"]) == ("postgres", "postgres")
    assert "IPTypeNotFoundError" in found["private"]


def test_a_project_that_is_not_allowed_is_rejected(
    cloud: Server, call: Callable[..., Answer], project: str, instance: Any
) -> None:
    other = cloud.new_project("compute")
    call("regional_addresses", "insert", other, address_resource=_address(other, "a"))
    rule = _rule(other, "r", instance, _link(other, "a"))
    made = call("forwarding_rules", "insert", other, forwarding_rule_resource=rule)
    assert made.code == "OK", made
    status = lambda: call("forwarding_rules", "get", other, forwarding_rule="r").response[  # noqa: E731
        "pscConnectionStatus"
    ]
    assert status() == "REJECTED"
    host = call("regional_addresses", "get", other, address="a").response["address"]
    with pytest.raises(psycopg.OperationalError, match="refused"):
        _login(host)
    allowed = {"allowed_consumer_projects": [project, other]}
    client = cloud.client("alloydb")
    paths = {"paths": ["psc_instance_config.allowed_consumer_projects"]}
    client.update_instance(
        instance={"name": instance.name, "psc_instance_config": allowed}, update_mask=paths
    ).result(polling=FAST)
    assert status() == "ACCEPTED"
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(psycopg.OperationalError), _login(host) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            break
        assert time.monotonic() < deadline, "the endpoint never passed anything on"
        time.sleep(0.1)
    assert call("forwarding_rules", "delete", other, forwarding_rule="r").code == "OK"


def test_endpoints_are_there_again_after_a_restart_and_close_with_the_instance(
    fresh: Server,
) -> None:
    fresh.start()
    project = fresh.new_project("alloydb", "compute")
    client, parent = fresh.client("alloydb"), f"projects/{project}/locations/{REGION}"
    wanted = {"psc_config": {"psc_enabled": True}, "initial_user": {"password": "first"}}
    cluster = client.create_cluster(parent=parent, cluster_id="c", cluster=wanted).result(
        polling=FAST
    )
    own = {"psc_instance_config": {"allowed_consumer_projects": [project]}}
    made = client.create_instance(
        parent=cluster.name, instance_id="i", instance={"instance_type": "PRIMARY", **own}
    ).result(polling=FAST)
    place = f"/compute/v1/projects/{project}/regions/{REGION}"
    subnetwork = SUBNETWORK.replace("{p}", project)
    for collection, body in (
        ("addresses", {"name": "a", "addressType": "INTERNAL", "subnetwork": subnetwork}),
        ("forwardingRules", {
            "name": "r", "network": NETWORK.replace("{p}", project), "target": _target(made),
            "IPAddress": _link(project, "a")}),
    ):  # fmt: skip
        begun = fresh.posted(f"{place}/{collection}", body)
        fresh.posted(f"{place}/operations/{begun['name']}/wait", {})
    host = fresh.asked("GET", f"{place}/addresses/a")["address"]
    _login(host).close()
    fresh.command("stop")
    with pytest.raises(psycopg.OperationalError):
        _login(host)
    fresh.about = None
    fresh.start()
    _login(host).close()
    assert "running" in fresh.command("status")
    fresh.client("alloydb").delete_cluster(
        request={"name": cluster.name, "force": True}
    ).result(polling=FAST)  # fmt: skip
    rule = fresh.asked("GET", f"{place}/forwardingRules/r")
    assert rule["pscConnectionStatus"] == "CLOSED"


def test_what_google_refuses(
    call: Callable[..., Answer], project: str, instance: Any, endpoint: str
) -> None:
    def address(**changed: Any) -> str:
        wanted = {**_address(project, "bad"), **changed}
        return call("regional_addresses", "insert", address_resource=wanted).code

    def rule(at: str = _link(project, "free"), **changed: Any) -> str:
        wanted = {**_rule(project, "bad", instance, at), **changed}
        return call("forwarding_rules", "insert", forwarding_rule_resource=wanted).code

    elsewhere = SUBNETWORK.replace("{p}", project).replace("us-central1", "us-east1")
    gone = SUBNETWORK.replace("{p}", project) + "x"
    refused = "INVALID_ARGUMENT"
    assert address(address_type="EXTERNAL") == refused
    assert address(subnetwork="") == refused
    assert address(subnetwork=elsewhere) == refused
    assert address(subnetwork=gone) == "NOT_FOUND"
    assert address(name="a") == "ALREADY_EXISTS"
    assert address(name="free") == "OK"
    assert rule(target=_target(instance) + "0") == "NOT_FOUND"
    assert rule(target="nonsense") == refused
    assert rule(at=endpoint) == refused, "another rule has the address"
    assert rule(at="10.9.9.9") == refused
    assert rule(load_balancing_scheme="INTERNAL") == refused
    assert rule(network=NETWORK.replace("{p}", project) + "x") == "NOT_FOUND"
    assert rule(name="r") == "ALREADY_EXISTS"
    assert call("regional_addresses", "delete", address="free").code == "OK"


def test_only_clusters_with_private_service_connect_allow_projects(
    cloud: Server, project: str
) -> None:
    connected = cloud.connected_project("alloydb")
    client, parent = cloud.client("alloydb"), f"projects/{connected}/locations/{REGION}"
    network = {"network": NETWORK.replace("{p}", connected)}
    cluster = client.create_cluster(
        parent=parent, cluster_id="c",
        cluster={"network_config": network, "initial_user": {"password": "p"}},
    ).result(polling=FAST)  # fmt: skip
    own = {"psc_instance_config": {"allowed_consumer_projects": [project]}}
    with pytest.raises(exceptions.InvalidArgument, match="no Private Service Connect"):
        client.create_instance(
            parent=cluster.name, instance_id="i", instance={"instance_type": "PRIMARY", **own}
        )
