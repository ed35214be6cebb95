"""Private Service Connect on the embedded cloud: an endpoint made whole, taken as it is, undone."""

import dataclasses
import uuid

import psycopg
import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.errors import CannotChange, Precondition
from lib.cloud.target import Target
from lib.engine.changes import ChangeKind
from lib.engine.unknown import Unknown
from lib.postgres.database import Database, connect
from lib.settings import AlloyDBSettings, NetworkSettings, ProjectSettings
from tests.cloud.small_engine import MemoryJournal, converge

NETWORK = NetworkSettings()
ALLOYDB = AlloyDBSettings(ip_type="PSC")


@pytest.fixture(scope="module")
def project():
    return ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def cloud(localcloud, project):
    target = Target.embedded(
        localcloud.endpoint, localcloud.ca, localcloud.token, project=project.id
    )
    cloud = Cloud(target)
    for action in (cloud.project(project), cloud.services(project)):
        converge(action)
    yield cloud
    cloud.close()


@pytest.fixture(scope="module")
def instance(cloud, project):
    """A primary on a network that is not connected to Google's services."""
    _, cluster = converge(cloud.alloydb_cluster(project, NETWORK, ALLOYDB, lambda: "secret"))
    _, made = converge(cloud.alloydb_instance(project, ALLOYDB))
    assert converge(cloud.alloydb_instance(project, ALLOYDB))[0].kind is ChangeKind.NONE
    yield made
    forced = {"name": cluster.name, "force": True}
    cloud.clients.get("alloydb").delete_cluster(request=forced).result()


def _address(cloud, project, id="a"):
    return cloud.alloydb_endpoint_address(project, NETWORK, id)


def _endpoint(cloud, project, instance, address, id="a"):
    return cloud.alloydb_endpoint(project, NETWORK, id, instance, address)


def _database(host, **more):
    return Database(host=host, user="postgres", password="secret", name="postgres", **more)


def test_an_endpoint_is_made_once_and_undone_first(cloud, project, instance):
    assert instance.ip_address == ""
    made, address = converge(_address(cloud, project))
    rule, state = converge(_endpoint(cloud, project, instance, address))
    assert (made.kind, rule.kind) == (ChangeKind.CREATE, ChangeKind.CREATE)
    assert state.values["pscConnectionStatus"] == "ACCEPTED"
    assert converge(_address(cloud, project))[0].kind is ChangeKind.NONE
    assert converge(_endpoint(cloud, project, instance, address))[0].kind is ChangeKind.NONE
    host = address.values["address"]
    with connect(_database(host)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    with pytest.raises(Exception, match="being used"):
        _address(cloud, project).undo(made, MemoryJournal())
    _endpoint(cloud, project, instance, address).undo(rule, MemoryJournal())
    _address(cloud, project).undo(made, MemoryJournal())
    assert _address(cloud, project).observe() is None
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(host=host, user="postgres", password="secret", connect_timeout=2)


def test_the_connector_goes_to_the_endpoint(cloud, project, instance):
    _, address = converge(_address(cloud, project, "tunnel"))
    converge(_endpoint(cloud, project, instance, address, "tunnel"))
    tunnel = cloud.alloydb_tunnel(project, ALLOYDB, address.values["address"])
    tunnel.open()
    try:
        database = _database(tunnel.host, port=tunnel.port, sslmode="disable")
        with connect(database) as connection:
            assert connection.execute("select 2").fetchone() == (2,)
    finally:
        tunnel.close()


def test_a_dry_run_tells_what_comes_after_the_instance(cloud, project, instance):
    for known in ((Unknown("instance"), Unknown("address")), (instance, Unknown("address"))):
        endpoint = _endpoint(cloud, project, *known, id="none")
        assert endpoint.plan(endpoint.observe()).kind is ChangeKind.UNKNOWN


def test_an_endpoint_of_another_instance_is_not_taken(cloud, project, instance):
    _, address = converge(_address(cloud, project, "other"))
    converge(_endpoint(cloud, project, instance, address, "other"))
    link = instance.psc_instance_config.service_attachment_link
    config = type(instance.psc_instance_config)(service_attachment_link=f"{link}0")
    another = type(instance)(name=instance.name, psc_instance_config=config)
    with pytest.raises(CannotChange, match="target"):
        converge(_endpoint(cloud, project, another, address, "other"))


def test_who_is_not_let_in_is_told_how(cloud, project, instance):
    client = cloud.clients.get("alloydb")
    paths = {"paths": ["psc_instance_config.allowed_consumer_projects"]}
    own = list(instance.psc_instance_config.allowed_consumer_projects)

    def allow(projects):
        wanted = {
            "name": instance.name,
            "psc_instance_config": {"allowed_consumer_projects": projects},
        }
        client.update_instance(request={"instance": wanted, "update_mask": paths}).result()

    allow([])
    _, address = converge(_address(cloud, project, "refused"))
    with pytest.raises(Precondition, match="REJECTED") as caught:
        converge(_endpoint(cloud, project, instance, address, "refused"))
    assert "--allowed-psc-projects" in caught.value.remedy
    allow(own)
    change, state = converge(_endpoint(cloud, project, instance, address, "refused"))
    assert (change.kind, state.values["pscConnectionStatus"]) == (ChangeKind.NONE, "ACCEPTED")


def test_a_cluster_does_not_change_its_way_in(cloud, project, instance):
    private = dataclasses.replace(ALLOYDB, ip_type="PRIVATE")
    action = cloud.alloydb_cluster(project, NETWORK, private, lambda: "secret")
    assert action.plan(action.observe()).kind is ChangeKind.REPLACE
