"""Faults on demand, seen through Google's clients and set through the command line."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core import exceptions

from lib.localcloud.errors import EmbeddedCloudError
from lib.localcloud.faults import EFFECTS, Fault, Faults, Standing, read
from lib.localcloud.rehearsal import Rehearsal
from tests.localcloud.conftest import FAST, ORGANIZATION, Server, code_of

REDIS = {"tier": "BASIC", "memory_size_gb": 1}


@pytest.fixture(autouse=True)
def _cleared(cloud: Server) -> Any:
    yield
    cloud.command("faults", "clear")


def _secret(cloud: Server, project: str, secret_id: str) -> str:
    request = {
        "parent": f"projects/{project}", "secret_id": secret_id,
        "secret": {"replication": {"automatic": {}}},
    }  # fmt: skip
    return code_of(lambda: cloud.client("secrets").create_secret(request=request))


def _there(cloud: Server, project: str, secret_id: str) -> bool:
    name = f"projects/{project}/secrets/{secret_id}"
    return code_of(lambda: cloud.client("secrets").get_secret(name=name)) == "OK"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_error_comes_before_or_after_the_effect(
    cloud: Server, project: str, when: str, code: str
) -> None:
    name = f"s-{when}-{code}"
    method = "SecretManagerService/Create*"
    cloud.command("faults", "add", "error", "--code", code, "--when", when, "--method", method)
    assert _secret(cloud, project, name) == code
    assert _there(cloud, project, name) is (when == "after")


def test_a_fault_strikes_by_resource_and_count(cloud: Server, project: str) -> None:
    cloud.command("faults", "add", "error", "--method", "secretmanager/CreateSecret",
                  "--resource", "chosen-*", "--skip", "1", "--times", "1")  # fmt: skip
    codes = [_secret(cloud, project, f"chosen-{number}") for number in range(3)]
    assert codes == ["OK", "UNAVAILABLE", "OK"]
    assert _secret(cloud, project, "other") == "OK"
    assert "(used up)" in cloud.command("faults", "list")


def test_schedule_and_rate() -> None:
    begins = Standing(1, Fault("error", begin=10, last=5), added=100.0, seen=0, struck=0)
    assert [begins.due(100.0 + age) for age in (9, 10, 14, 15)] == [False, True, True, False]
    assert Fault("error", rate=0.0).rate == 0


def test_a_delay_takes_its_time(cloud: Server, project: str) -> None:
    cloud.command("faults", "add", "delay", "--seconds", "0.4", "--method", "GetProject")
    client = cloud.client("projects")
    begun = time.monotonic()
    client.get_project(name=f"projects/{project}")
    assert time.monotonic() - begun >= 0.4
    with pytest.raises(exceptions.DeadlineExceeded):
        client.get_project(name=f"projects/{project}", timeout=0.1, retry=None)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cut_connection_is_really_cut(cloud: Server, project: str, when: str) -> None:
    client = cloud.client("secrets")
    seen: list[grpc.ChannelConnectivity] = []
    client.transport.grpc_channel.subscribe(seen.append, try_to_connect=True)
    cloud.command("faults", "add", "cut", "--when", when, "--method", "CreateSecret",
                  "--times", "1")  # fmt: skip
    request = {"parent": f"projects/{project}", "secret_id": f"cut-{when}",
               "secret": {"replication": {"automatic": {}}}}  # fmt: skip
    with pytest.raises(exceptions.ServiceUnavailable):
        client.create_secret(request=request)
    assert _there(cloud, project, f"cut-{when}") is (when == "after")
    deadline = time.monotonic() + 10
    while grpc.ChannelConnectivity.IDLE not in seen and time.monotonic() < deadline:
        time.sleep(0.01)
    assert grpc.ChannelConnectivity.IDLE in seen  # the client noticed that it was disconnected
    expected = "OK" if when == "before" else "ALREADY_EXISTS"
    assert code_of(lambda: client.create_secret(request=request)) == expected


def _begin_redis(cloud: Server, project: str) -> Any:
    return cloud.client("redis").create_instance(
        parent=f"projects/{project}/locations/us-central1",
        instance_id=f"i{uuid.uuid4().hex[:8]}",
        instance=REDIS,
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_operation_fails(cloud: Server, project: str, when: str) -> None:
    cloud.command("faults", "add", "operation-fails", "--code", "RESOURCE_EXHAUSTED",
                  "--when", when, "--method", "redis/CreateInstance", "--times", "1")  # fmt: skip
    begun = _begin_redis(cloud, project)
    with pytest.raises(exceptions.ResourceExhausted):
        begun.result(polling=FAST)
    client, name = cloud.client("redis"), begun.metadata.target
    assert (code_of(lambda: client.get_instance(name=name)) == "OK") is (when == "after")
    if when == "after":
        client.delete_instance(name=name).result(polling=FAST)


def test_an_operation_hangs_until_the_fault_is_cleared(cloud: Server, project: str) -> None:
    cloud.command("faults", "add", "operation-hangs", "--method", "redis/CreateInstance",
                  "--times", "1")  # fmt: skip
    begun = _begin_redis(cloud, project)
    client = cloud.client("redis")
    with pytest.raises(TimeoutError):
        begun.result(polling=FAST.with_timeout(0.5))
    assert client.get_instance(name=begun.metadata.target).state.name == "CREATING"
    cloud.command("faults", "clear")
    assert begun.result(polling=FAST).state.name == "READY"
    client.delete_instance(name=begun.metadata.target).result(polling=FAST)


def test_a_hanging_operation_hangs_on_after_a_kill(fresh: Server) -> None:
    fresh.start()
    fresh.command("faults", "add", "operation-hangs", "--method", "CreateProject")
    project = f"test-{uuid.uuid4().hex[:10]}"
    wanted = {"project_id": project, "parent": ORGANIZATION}
    begun = fresh.client("projects").create_project(project=wanted)
    fresh.kill()
    fresh.start()
    client = fresh.client("projects").transport.operations_client
    assert not client.get_operation(begun.operation.name).done
    fresh.command("faults", "clear")
    deadline = time.monotonic() + 20
    while not (done := client.get_operation(begun.operation.name).done):
        assert time.monotonic() < deadline
    assert done


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_operation_is_lost(cloud: Server, when: str) -> None:
    cloud.command("faults", "add", "operation-lost", "--method", "CreateProject",
                  "--when", when, "--times", "1")  # fmt: skip
    client = cloud.client("projects")
    project = f"test-{uuid.uuid4().hex[:10]}"
    begun = client.create_project(project={"project_id": project, "parent": ORGANIZATION})
    with pytest.raises(exceptions.NotFound):
        begun.result(polling=FAST)
    deadline = time.monotonic() + 10
    wanted = "OK" if when == "after" else "PERMISSION_DENIED"
    while (code := code_of(lambda: client.get_project(name=f"projects/{project}"))) != wanted:
        assert time.monotonic() < deadline, code
    again = code_of(
        lambda: client.create_project(project={"project_id": project, "parent": ORGANIZATION})
    )
    assert again == ("ALREADY_EXISTS" if when == "after" else "OK")


def test_a_stale_read_answers_the_past(cloud: Server, project: str) -> None:
    cloud.command("faults", "add", "stale-read", "--method", "GetSecret", "--times", "2")
    assert _secret(cloud, project, "fresh") == "OK"
    assert [_there(cloud, project, "fresh") for _ in range(3)] == [False, False, True]


def test_a_permission_is_withdrawn_also_from_the_owner(cloud: Server, project: str) -> None:
    cloud.command("faults", "add", "deny", "--permission", "secretmanager.secrets.*")
    client = cloud.client("projects")
    assert _secret(cloud, project, "denied") == "PERMISSION_DENIED"
    asked = ["secretmanager.secrets.create", "redis.instances.get"]
    tested = client.test_iam_permissions(resource=f"projects/{project}", permissions=asked)
    assert list(tested.permissions) == asked[1:]
    cloud.command("faults", "clear")
    assert _secret(cloud, project, "denied") == "OK"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_server_comes_back_with_what_was_done(fresh: Server, when: str) -> None:
    fresh.start()
    project = fresh.new_project("secretmanager")
    fresh.command("faults", "add", "kill", "--method", "CreateSecret", "--when", when,
                  "--times", "1")  # fmt: skip
    assert _secret(fresh, project, "s") == "UNAVAILABLE"
    fresh.about = None
    fresh.start()
    assert _there(fresh, project, "s") is (when == "after")


def test_a_file_of_faults_is_loaded_whole_or_not_at_all(cloud: Server, tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text('[[fault]]\neffect = "error"\nmethod = "Get*"\ntimes = 1\n'
                    '[[fault]]\neffect = "delay"\nseconds = 2\nrate = 0.5\n')  # fmt: skip
    assert "fault" in cloud.command("faults", "load", str(path))
    listed = json.loads(cloud.command("faults", "list", "--json"))
    assert [each["fault"]["effect"] for each in listed] == ["error", "delay"]
    cloud.command("faults", "load", "--replace", str(path))
    assert len(json.loads(cloud.command("faults", "list", "--json"))) == 2
    path.write_text('[[fault]]\neffect = "error"\n[[fault]]\neffect = "explode"\n')
    assert "fault 2: effect of a fault is 'explode'" in cloud.command(
        "faults", "load", str(path), check=False
    )
    assert len(json.loads(cloud.command("faults", "list", "--json"))) == 2


@pytest.mark.parametrize(
    "text, told",
    [
        ("[[fault]]\n", "effect is missing"),
        ('[[fault]]\neffect = "error"\ncode = "OOPS"\n', "ABORTED"),
        ('[[fault]]\neffect = "error"\ntimes = "2"\n', "times = a int"),
        ('[[fault]]\neffect = "error"\nnonsense = 1\n', "one of effect"),
        ('[[fault]]\neffect = "error"\nrate = 2\n', "0 to 1"),
        ('[[fault]]\neffect = "delay"\n', "how many seconds"),
        ("fault = 1\n", r"\[\[fault\]\]"),
        ("[", "TOML"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    with pytest.raises(EmbeddedCloudError, match=told):
        read(path)


def test_help_teaches_every_effect(cloud: Server) -> None:
    told = cloud.command("faults", "add", "--help")
    assert all(effect in told for effect in EFFECTS)
    assert "examples:" in told


def test_clearing_an_unknown_fault_is_told(tmp_path: Path) -> None:
    faults = Faults(Rehearsal(tmp_path))
    faults.add([Fault("error")])
    with pytest.raises(EmbeddedCloudError, match="no fault 7"):
        faults.clear([7])
    assert faults.clear([1]) == 1
