"""Operations listed, waited for, cancelled and forgotten, by Google's own clients."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.longrunning import operations_pb2

from lib.cloud.cloud import Cloud
from lib.cloud.errors import OperationCancelled
from lib.cloud.target import Target
from lib.engine.changes import ChangeKind
from lib.settings import AlloyDBSettings, NetworkSettings, ProjectSettings
from tests.cloud.small_engine import MemoryJournal, converge
from tests.localcloud.conftest import FAST, ORGANIZATION, Server, code_of

CANCELLED = 1
VIEWER = "user:viewer@example.com"


@pytest.fixture(scope="module")
def place(cloud: Server) -> str:
    """A region of a project with networks."""
    apis = ("alloydb", "redis", "workstations", "run")
    return f"projects/{cloud.connected_project(*apis)}/locations/us-central1"


@pytest.fixture
def hanging(cloud: Server) -> Iterator[Callable[[str], Any]]:
    """Lets the operations of one method hang until the test is over."""
    yield lambda method: cloud.command("faults", "add", "operation-hangs", "--method", method)
    cloud.command("faults", "clear")


def _ended(client: Any, name: str) -> Any:
    """The operation once it is done."""
    deadline = time.monotonic() + 30
    while not (found := client.get_operation({"name": name})).done:
        assert time.monotonic() < deadline, name
    return found


def _cluster(place: str) -> dict[str, Any]:
    network = f"projects/{place.split('/')[1]}/global/networks/default"
    subnetwork = f"projects/{place.split('/')[1]}/regions/us-central1/subnetworks/default"
    return {"network": network, "subnetwork": subnetwork}


def test_a_cancelled_update_leaves_the_resource_ready_as_it_was(cloud, place, hanging):
    client = cloud.client("workstations")
    made = client.create_workstation_cluster(
        parent=place, workstation_cluster_id="w", workstation_cluster=_cluster(place)
    ).result(polling=FAST)
    hanging("UpdateWorkstationCluster")
    begun = client.update_workstation_cluster(
        workstation_cluster={"name": made.name, "display_name": "other"},
        update_mask={"paths": ["display_name"]},
    )
    assert client.get_workstation_cluster(name=made.name).reconciling
    client.cancel_operation({"name": begun.operation.name})
    ended = _ended(client, begun.operation.name)
    assert (ended.error.code, ended.HasField("response")) == (CANCELLED, False)
    with pytest.raises(GoogleAPICallError, match="cancelled"):
        begun.result(polling=FAST)
    assert begun.metadata.requested_cancellation
    there = client.get_workstation_cluster(name=made.name)
    assert (there.display_name, there.reconciling) == ("", False)


def test_a_cancelled_creation_is_taken_back_though_its_work_was_done(fresh: Server):
    fresh.start("--operation-seconds", "0")
    project = fresh.new_project("compute", "redis")
    fresh.command("stop")
    fresh.about = None
    fresh.start("--operation-seconds", "600")
    client, parent = fresh.client("redis"), f"projects/{project}/locations/us-central1"
    instance = {"tier": "BASIC", "memory_size_gb": 1}
    begun = client.create_instance(parent=parent, instance_id="r", instance=instance)
    deadline = time.monotonic() + 30
    while not list(Path(fresh.state).glob("redis/*/*")):  # the server behind it is being made
        assert time.monotonic() < deadline
    client.cancel_operation({"name": begun.operation.name})
    assert _ended(client, begun.operation.name).error.code == CANCELLED
    with pytest.raises(NotFound):
        client.get_instance(name=f"{parent}/instances/r")
    assert not list(Path(fresh.state).glob("redis/*"))


def test_what_is_done_stays_done(cloud, place):
    client = cloud.client("workstations")
    begun = client.create_workstation_cluster(
        parent=place, workstation_cluster_id="done", workstation_cluster=_cluster(place)
    )
    begun.result(polling=FAST)
    client.cancel_operation({"name": begun.operation.name})
    assert not client.get_operation({"name": begun.operation.name}).HasField("error")
    nowhere = {"name": f"{place}/operations/none"}
    assert code_of(lambda: client.cancel_operation(nowhere)) == "NOT_FOUND"
    client.delete_operation({"name": begun.operation.name})
    assert code_of(lambda: client.get_operation({"name": begun.operation.name})) == "NOT_FOUND"


def test_apis_answer_the_methods_that_their_clients_have(cloud, place):
    projects = cloud.client("projects")
    wanted = {"project_id": f"test-{uuid.uuid4().hex[:10]}", "parent": ORGANIZATION}
    begun = projects.create_project(project=wanted)
    begun.result(polling=FAST)
    name = {"name": begun.operation.name}
    redis = cloud.client("redis")  # its stubs reach what Resource Manager's client has no stub for
    assert code_of(lambda: redis.cancel_operation(name)) == "UNIMPLEMENTED"
    assert code_of(lambda: redis.delete_operation(name)) == "UNIMPLEMENTED"
    assert code_of(lambda: redis.get_operation(name)) == "OK"


def test_operations_are_listed_waited_for_and_guarded(cloud, place, hanging):
    client, run = cloud.client("workstations"), cloud.client("run")
    hanging("DeleteWorkstationCluster")
    parent = f"{place}/workstationClusters"
    client.create_workstation_cluster(
        parent=place, workstation_cluster_id="guarded", workstation_cluster=_cluster(place)
    ).result(polling=FAST)
    begun = client.delete_workstation_cluster(name=f"{parent}/guarded")
    name = begun.operation.name
    listed = client.list_operations({"name": place, "page_size": 1000}).operations
    assert name in [each.name for each in listed]
    assert code_of(lambda: client.delete_operation({"name": name})) == "FAILED_PRECONDITION"
    assert code_of(lambda: run.wait_operation({"name": name})) == "UNIMPLEMENTED"
    stranger = cloud.client("workstations", principal=VIEWER)
    assert code_of(lambda: stranger.get_operation({"name": name})) == "PERMISSION_DENIED"
    assert code_of(lambda: stranger.cancel_operation({"name": name})) == "PERMISSION_DENIED"
    assert not stranger.list_operations({"name": place}).operations
    client.cancel_operation({"name": name})
    assert _ended(client, name).error.code == CANCELLED
    cloud.command("faults", "clear")
    client.delete_workstation_cluster(name=f"{parent}/guarded").result(polling=FAST)


def test_wait_operation_returns_when_the_operation_is_done(cloud, place):
    run = cloud.client("run")
    service = {
        "template": {"containers": [{"image": "embedded://tests.localcloud.sample_service"}]}
    }
    begun = run.create_service(parent=place, service_id="waited", service=service)
    wait = operations_pb2.WaitOperationRequest(name=begun.operation.name)
    wait.timeout.FromSeconds(30)
    answer = run.wait_operation(wait)  # the client's stub leaves it as it is on the wire
    assert operations_pb2.Operation.FromString(answer).done
    name = {"name": begun.operation.name}
    redis = cloud.client("redis")
    assert code_of(lambda: redis.cancel_operation(name)) == "UNIMPLEMENTED"
    run.delete_service(name=f"{place}/services/waited").result(polling=FAST)


def test_a_migration_whose_operation_was_cancelled_says_so_and_the_next_one_works(
    cloud, place, hanging
):
    about = cloud.about or cloud.start()
    project = ProjectSettings(id=place.split("/")[1])
    target = Target.embedded(
        about["endpoint"], about["ca"], about["token"], project=project.id, rest=about["rest"]
    )
    migration = Cloud(target)
    network, alloydb = NetworkSettings(), AlloyDBSettings(cluster="cancelled")
    cluster = lambda: migration.alloydb_cluster(project, network, alloydb, lambda: "pw")  # noqa: E731
    hanging("alloydb/CreateCluster")
    journal, client = MemoryJournal(), cloud.client("alloydb")

    def cancel() -> None:
        name = journal.get("operation")
        if name and not stopped.is_set():
            stopped.set()
            client.cancel_operation({"name": name})

    stopped = threading.Event()
    journal.at_safe_point = cancel
    with pytest.raises(OperationCancelled, match="cancelled") as caught:
        converge(cluster(), journal)
    assert not caught.value.transient
    assert "CancelOperation" in caught.value.remedy
    assert cluster().observe() is None, "what was half made is taken away"
    cloud.command("faults", "clear")
    assert converge(cluster())[0].kind is ChangeKind.CREATE
    client.delete_cluster(name=f"{place}/clusters/cancelled").result(polling=FAST)
    migration.close()
