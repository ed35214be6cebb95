"""Identities, permissions, paging, request ids, etags, durability, and the command line."""

import os
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from google.api_core import exceptions, operation
from google.cloud import alloydb_v1, resourcemanager_v3

from lib.localcloud import certificates
from tests.localcloud.conftest import FAST, ORGANIZATION, Server, code_of


def _cluster(project: str) -> dict[str, Any]:
    network = {"network": f"projects/{project}/global/networks/default"}
    return {"network_config": network, "initial_user": {"password": "secret"}}


def test_unknown_token_is_unauthenticated(cloud: Server, project: str) -> None:
    client = cloud.client("projects", token="nobody")
    with pytest.raises(exceptions.Unauthenticated):
        client.get_project(name=f"projects/{project}")


def test_denied_call_names_permission_and_a_binding_grants_it(cloud: Server) -> None:
    project = cloud.new_project()
    other = cloud.client("projects", principal="user:someone@example.com")
    with pytest.raises(exceptions.PermissionDenied, match=r"resourcemanager\.projects\.get") as e:
        other.get_project(name=f"projects/{project}")
    assert e.value.reason == "IAM_PERMISSION_DENIED"
    owner = cloud.client("projects")
    policy = owner.get_iam_policy(resource=f"projects/{project}")
    policy.bindings.add(role="roles/viewer", members=["user:someone@example.com"])
    owner.set_iam_policy(request={"resource": f"projects/{project}", "policy": policy})
    assert other.get_project(name=f"projects/{project}").project_id == project
    asked = ["resourcemanager.projects.get", "resourcemanager.projects.delete"]
    tested = other.test_iam_permissions(resource=f"projects/{project}", permissions=asked)
    assert list(tested.permissions) == asked[:1]
    with pytest.raises(exceptions.Aborted):
        owner.set_iam_policy(request={"resource": f"projects/{project}", "policy": policy})


def test_disabled_api_says_which(cloud: Server) -> None:
    project = cloud.new_project()
    with pytest.raises(exceptions.PermissionDenied) as caught:
        next(iter(cloud.client("redis").list_instances(
            parent=f"projects/{project}/locations/us-central1")))  # fmt: skip
    assert caught.value.reason == "SERVICE_DISABLED"
    assert caught.value.metadata["service"] == "redis.googleapis.com"


def test_project_moves_between_organizations_and_is_undeleted(cloud: Server) -> None:
    client = cloud.client("projects")
    project = f"test-{uuid.uuid4().hex[:10]}"
    made = client.create_project(project={"project_id": project}).result(polling=FAST)
    assert made.parent == ""
    for parent in ("organizations/100000000001", ORGANIZATION):
        moved = client.move_project(name=made.name, destination_parent=parent)
        assert moved.result(polling=FAST).parent == parent
        assert project in [p.project_id for p in client.list_projects(parent=parent)]
    client.delete_project(name=made.name).result(polling=FAST)
    assert project not in [p.project_id for p in client.list_projects(parent=ORGANIZATION)]
    assert [p.state.name for p in client.search_projects(query=f"id:{project}")] == [
        "DELETE_REQUESTED"
    ]
    client.undelete_project(name=made.name).result(polling=FAST)
    assert client.get_project(name=f"projects/{project}").state.name == "ACTIVE"


def test_pages_join_to_the_whole(cloud: Server) -> None:
    project = cloud.new_project("secretmanager")
    client = cloud.client("secrets")
    secret = {"replication": {"automatic": {}}}
    names = [f"s{number}" for number in range(7)]
    for name in names:
        client.create_secret(parent=f"projects/{project}", secret_id=name, secret=secret)
    request = {"parent": f"projects/{project}", "page_size": 3}
    pages = [page.secrets for page in client.list_secrets(request=request).pages]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [s.name.rpartition("/")[2] for page in pages for s in page] == names


def test_request_id_repeats_the_operation(cloud: Server, project: str) -> None:
    client = cloud.client("alloydb")
    request = {
        "parent": f"projects/{project}/locations/us-central1", "cluster_id": "once",
        "cluster": _cluster(project), "request_id": str(uuid.uuid4()),
    }  # fmt: skip
    first = client.create_cluster(request=request)
    assert client.create_cluster(request=request).operation.name == first.operation.name
    first.result(polling=FAST)
    assert client.create_cluster(request=request).operation.name == first.operation.name
    other = {**request, "cluster_id": "twice"}
    assert code_of(lambda: client.create_cluster(request=other)) == "INVALID_ARGUMENT"


def test_secret_versions(cloud: Server) -> None:
    project = cloud.new_project("secretmanager")
    client = cloud.client("secrets")
    secret = client.create_secret(
        parent=f"projects/{project}", secret_id="s", secret={"replication": {"automatic": {}}}
    )
    for payload in (b"one", b"two"):
        version = client.add_secret_version(parent=secret.name, payload={"data": payload})
    latest = f"{secret.name}/versions/latest"
    assert client.access_secret_version(name=latest).payload.data == b"two"
    client.disable_secret_version(name=version.name)
    assert code_of(lambda: client.access_secret_version(name=latest)) == "FAILED_PRECONDITION"
    client.enable_secret_version(name=version.name)
    client.destroy_secret_version(name=version.name)
    assert code_of(lambda: client.enable_secret_version(name=version.name)) == (
        "FAILED_PRECONDITION"
    )
    client.delete_secret(name=secret.name)
    assert code_of(lambda: client.get_secret(name=secret.name)) == "NOT_FOUND"


def test_operation_of_a_killed_server_completes(fresh: Server) -> None:
    fresh.start("--operation-seconds", "600")
    project = f"test-{uuid.uuid4().hex[:10]}"
    wanted = {"project_id": project, "parent": ORGANIZATION}
    begun = fresh.client("projects").create_project(project=wanted)
    assert not begun.operation.done
    fresh.kill()
    fresh.start("--operation-seconds", "0")
    client = fresh.client("projects")
    again = operation.from_gapic(
        begun.operation, client.transport.operations_client, resourcemanager_v3.Project,
        metadata_type=resourcemanager_v3.CreateProjectMetadata,
    )  # fmt: skip
    assert again.result(polling=FAST).state.name == "ACTIVE"
    assert client.get_project(name=f"projects/{project}").parent == ORGANIZATION


def test_instance_being_made_is_finished_after_a_kill(fresh: Server) -> None:
    fresh.start()
    project = fresh.connected_project("alloydb")
    client = fresh.client("alloydb")
    parent = f"projects/{project}/locations/us-central1"
    cluster = client.create_cluster(
        parent=parent, cluster_id="c", cluster=_cluster(project)
    ).result(polling=FAST)
    primary = {"instance_type": "PRIMARY"}
    begun = client.create_instance(parent=cluster.name, instance_id="p", instance=primary)
    fresh.kill()
    fresh.start()
    client = fresh.client("alloydb")
    again = operation.from_gapic(
        begun.operation, client.transport.operations_client, alloydb_v1.Instance,
        metadata_type=alloydb_v1.OperationMetadata,
    )  # fmt: skip
    assert again.result(polling=FAST).state.name == "READY"
    assert [i.state.name for i in client.list_instances(parent=cluster.name)] == ["READY"]
    fresh.kill()  # the instance outlives its server and is adopted
    assert "running" in fresh.command("status", check=False)
    fresh.start()
    assert fresh.command("stop") == "stopped\n"
    assert "down" in fresh.command("status", check=False)
    fresh.start()
    assert "running" in fresh.command("status")


def test_start_is_idempotent_and_private(fresh: Server) -> None:
    first, second = fresh.start(), fresh.start()
    assert first == second
    for name in ("token", "ca.key", "server.key", "state.db"):
        mode = stat.S_IMODE((fresh.state / name).stat().st_mode)
        assert mode == 0o600, name
    told = fresh.command("serve", check=False)
    assert "Another embedded cloud serves" in told
    assert f"process {first['pid']}" in told


def test_address_in_use_is_told(fresh: Server, cloud: Server) -> None:
    host, _, port = cloud.start()["endpoint"].partition(":")
    told = fresh.command("start", "--host", host, "--port", port, check=False)
    assert f"cannot listen on {host}:{port}" in told
    assert "Traceback" not in told


def test_reset_asks_first(fresh: Server) -> None:
    fresh.start()
    done = subprocess.run(
        [sys.executable, "-m", "lib.localcloud", "reset", "--state", str(fresh.state)],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    assert fresh.state.exists()
    fresh.command("reset", "--yes")
    assert not fresh.state.exists()


def test_certificates_are_kept_and_renewed(tmp_path: Path) -> None:
    first = certificates.server(tmp_path, "127.0.0.5").certificate.read_bytes()
    assert certificates.server(tmp_path, "127.0.0.5").certificate.read_bytes() == first
    moved = certificates.server(tmp_path, "127.0.0.6").certificate.read_bytes()
    names = x509.load_pem_x509_certificate(moved).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "127.0.0.6" in str(names.value)
    os.replace(tmp_path / "ca.key", tmp_path / "server.key")  # halves of two pairs
    again = certificates.server(tmp_path, "127.0.0.6")
    assert again.current("127.0.0.6")
