"""Every method that a migration calls x what may be wrong with the call -> Google's code."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from lib.localcloud import contract
from tests.localcloud.conftest import CLIENTS, FAST, ORGANIZATION, Server, code_of, filled

NETWORK = "projects/{p}/global/networks/default"
CLUSTER = {"network_config": {"network": NETWORK}, "initial_user": {"password": "secret"}}
WORKSTATION_CLUSTER = {
    "network": NETWORK,
    "subnetwork": "projects/{p}/regions/us-central1/subnetworks/default",
}
REDIS = {"tier": "BASIC", "memory_size_gb": 1}
SECRET = {"replication": {"automatic": {}}}
GPU = [{"type_": "nvidia-tesla-t4", "count": 2}]
CONFIG = {"host": {"gce_instance": {"machine_type": "n1-standard-16", "accelerators": GPU}}}
LOCATION = "projects/{p}/locations/us-central1"
ELSEWHERE = "projects/no-such-project/locations/us-central1"

# client, method, request, code; {p} is a project, {c} a cluster that exists
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    ("projects", "get_project", {"name": "projects/{p}"}, "OK"),
    ("projects", "get_project", {"name": "projects/no-such-project"}, "PERMISSION_DENIED"),
    ("projects", "get_project", {"name": "nonsense"}, "INVALID_ARGUMENT"),
    ("projects", "get_project", {}, "INVALID_ARGUMENT"),
    ("projects", "create_project", {"project": {"project_id": "{p}"}}, "ALREADY_EXISTS"),
    ("projects", "create_project", {"project": {"project_id": "X"}}, "INVALID_ARGUMENT"),
    ("projects", "create_project", {"project": {"project_id": "{new}"}}, "OK"),
    ("projects", "create_project",
     {"project": {"project_id": "{new}", "parent": "organizations/5"}}, "PERMISSION_DENIED"),
    ("projects", "create_project",
     {"project": {"project_id": "{new}", "parent": "nowhere"}}, "INVALID_ARGUMENT"),
    ("projects", "move_project",
     {"name": "projects/no-such-project", "destination_parent": ORGANIZATION},
     "PERMISSION_DENIED"),
    ("projects", "move_project", {"name": "projects/{p}"}, "INVALID_ARGUMENT"),
    ("projects", "update_project",
     {"project": {"name": "projects/{p}", "labels": {"a": "b"}},
      "update_mask": {"paths": ["labels"]}}, "OK"),
    ("projects", "update_project",
     {"project": {"name": "projects/{p}", "parent": "organizations/1"},
      "update_mask": {"paths": ["parent"]}}, "INVALID_ARGUMENT"),
    ("projects", "update_project",
     {"project": {"name": "projects/{p}", "etag": "old", "labels": {"a": "c"}},
      "update_mask": {"paths": ["labels"]}}, "ABORTED"),
    ("projects", "list_projects", {"parent": ORGANIZATION}, "OK"),
    ("projects", "list_projects", {"parent": ORGANIZATION, "page_token": "%"}, "INVALID_ARGUMENT"),
    ("organizations", "get_organization", {"name": ORGANIZATION}, "OK"),
    ("organizations", "get_organization", {"name": "organizations/1"}, "PERMISSION_DENIED"),
    ("usage", "enable_service", {"name": "projects/{p}/services/nope.googleapis.com"},
     "NOT_FOUND"),
    ("usage", "enable_service", {"name": "projects/{p}/services/compute.googleapis.com"}, "OK"),
    ("usage", "enable_service", {"name": "nonsense"}, "INVALID_ARGUMENT"),
    ("usage", "batch_enable_services", {"parent": "projects/{p}"}, "INVALID_ARGUMENT"),
    ("usage", "list_services", {"parent": "projects/no-such-project"}, "PERMISSION_DENIED"),
    ("accounts", "create_service_account",
     {"name": "projects/{p}", "account_id": "worker"}, "OK"),
    ("accounts", "create_service_account",
     {"name": "projects/{p}", "account_id": "worker"}, "ALREADY_EXISTS"),
    ("accounts", "create_service_account",
     {"name": "projects/{p}", "account_id": "X"}, "INVALID_ARGUMENT"),
    ("accounts", "get_service_account",
     {"name": "projects/{p}/serviceAccounts/x@y"}, "NOT_FOUND"),
    ("secrets", "create_secret",
     {"parent": "projects/{p}", "secret_id": "one", "secret": SECRET}, "OK"),
    ("secrets", "create_secret",
     {"parent": "projects/{p}", "secret_id": "one", "secret": SECRET}, "ALREADY_EXISTS"),
    ("secrets", "create_secret",
     {"parent": "projects/{p}", "secret_id": "two", "secret": {}}, "INVALID_ARGUMENT"),
    ("secrets", "create_secret",
     {"parent": "projects/{p}", "secret_id": "a b", "secret": SECRET}, "INVALID_ARGUMENT"),
    ("secrets", "get_secret", {"name": "projects/{p}/secrets/none"}, "NOT_FOUND"),
    ("secrets", "add_secret_version",
     {"parent": "projects/{p}/secrets/none", "payload": {"data": b"x"}}, "NOT_FOUND"),
    ("secrets", "access_secret_version",
     {"name": "projects/{p}/secrets/one/versions/latest"}, "NOT_FOUND"),
    ("alloydb", "create_cluster",
     {"parent": LOCATION, "cluster_id": "{new}", "cluster": CLUSTER}, "OK"),
    ("alloydb", "create_cluster",
     {"parent": LOCATION, "cluster_id": "{c}", "cluster": CLUSTER}, "ALREADY_EXISTS"),
    ("alloydb", "create_cluster",
     {"parent": LOCATION, "cluster_id": "Bad", "cluster": CLUSTER}, "INVALID_ARGUMENT"),
    ("alloydb", "create_cluster",
     {"parent": LOCATION, "cluster_id": "x", "cluster": {}}, "INVALID_ARGUMENT"),
    ("alloydb", "create_cluster",
     {"parent": ELSEWHERE, "cluster_id": "x", "cluster": CLUSTER}, "PERMISSION_DENIED"),
    ("alloydb", "create_cluster",
     {"parent": "projects/{p}/locations/mars", "cluster_id": "x", "cluster": CLUSTER},
     "PERMISSION_DENIED"),
    ("alloydb", "create_cluster",
     {"parent": "nonsense", "cluster_id": "x", "cluster": CLUSTER}, "INVALID_ARGUMENT"),
    ("alloydb", "get_cluster", {"name": LOCATION + "/clusters/none"}, "NOT_FOUND"),
    ("alloydb", "get_cluster", {"name": LOCATION + "/clusters/{c}"}, "OK"),
    ("alloydb", "create_instance",
     {"parent": LOCATION + "/clusters/none", "instance_id": "i",
      "instance": {"instance_type": "PRIMARY"}}, "NOT_FOUND"),
    ("alloydb", "create_instance",
     {"parent": LOCATION + "/clusters/{c}", "instance_id": "i", "instance": {}},
     "INVALID_ARGUMENT"),
    ("alloydb", "create_instance",
     {"parent": LOCATION + "/clusters/{c}", "instance_id": "i",
      "instance": {"instance_type": "READ_POOL"}}, "INVALID_ARGUMENT"),
    ("alloydb", "create_instance",
     {"parent": LOCATION + "/clusters/{c}", "instance_id": "i",
      "instance": {"instance_type": "PRIMARY", "machine_config": {"cpu_count": 3}}},
     "INVALID_ARGUMENT"),
    ("alloydb", "create_instance",
     {"parent": LOCATION + "/clusters/{c}", "instance_id": "i",
      "instance": {"instance_type": "PRIMARY", "database_flags": {"nonsense": "1"}}},
     "INVALID_ARGUMENT"),
    ("alloydb", "update_cluster",
     {"cluster": {"name": LOCATION + "/clusters/{c}", "network_config": {"network": "other"}},
      "update_mask": {"paths": ["network_config"]}}, "INVALID_ARGUMENT"),
    ("alloydb", "update_cluster",
     {"cluster": {"name": LOCATION + "/clusters/{c}"}, "update_mask": {"paths": ["nonsense"]}},
     "INVALID_ARGUMENT"),
    ("alloydb", "update_cluster",
     {"cluster": {"name": LOCATION + "/clusters/{c}", "labels": {"a": "b"}, "etag": "old"},
      "update_mask": {"paths": ["labels"]}}, "ABORTED"),
    ("alloydb", "update_cluster",
     {"cluster": {"name": LOCATION + "/clusters/none"}, "update_mask": {"paths": ["labels"]}},
     "NOT_FOUND"),
    ("alloydb", "create_user",
     {"parent": LOCATION + "/clusters/{c}", "user_id": "u", "user": {"password": "x"}},
     "FAILED_PRECONDITION"),
    ("alloydb", "delete_cluster", {"name": LOCATION + "/clusters/none"}, "NOT_FOUND"),
    ("alloydb", "create_backup",
     {"parent": LOCATION, "backup_id": "b", "backup": {}}, "INVALID_ARGUMENT"),
    ("redis", "create_instance",
     {"parent": LOCATION, "instance_id": "i", "instance": {"tier": "BASIC"}}, "INVALID_ARGUMENT"),
    ("redis", "create_instance",
     {"parent": LOCATION, "instance_id": "I", "instance": REDIS}, "INVALID_ARGUMENT"),
    ("redis", "create_instance",
     {"parent": ELSEWHERE, "instance_id": "i", "instance": REDIS}, "PERMISSION_DENIED"),
    ("redis", "get_instance", {"name": LOCATION + "/instances/none"}, "NOT_FOUND"),
    ("redis", "delete_instance", {"name": LOCATION + "/instances/none"}, "NOT_FOUND"),
    ("workstations", "create_workstation_cluster",
     {"parent": LOCATION, "workstation_cluster_id": "{new}",
      "workstation_cluster": WORKSTATION_CLUSTER}, "OK"),
    ("workstations", "create_workstation_cluster",
     {"parent": LOCATION, "workstation_cluster_id": "x", "workstation_cluster": {}},
     "INVALID_ARGUMENT"),
    ("workstations", "create_workstation_config",
     {"parent": LOCATION + "/workstationClusters/none", "workstation_config_id": "x",
      "workstation_config": CONFIG}, "NOT_FOUND"),
    ("workstations", "create_workstation_config",
     {"parent": LOCATION + "/workstationClusters/none", "workstation_config_id": "x",
      "workstation_config": {"host": {"gce_instance": {
          "machine_type": "n2d-standard-32", "accelerators": GPU}}}}, "INVALID_ARGUMENT"),
    ("workstations", "start_workstation",
     {"name": LOCATION + "/workstationClusters/a/workstationConfigs/b/workstations/c"},
     "NOT_FOUND"),
    ("run", "create_service",
     {"parent": LOCATION, "service_id": "x",
      "service": {"template": {"containers": [{"image": "gcr.io/x"}]}}}, "INVALID_ARGUMENT"),
    ("run", "create_service",
     {"parent": LOCATION, "service_id": "x",
      "service": {"template": {"containers": [{"image": "embedded://no.such"}]}}},
     "INVALID_ARGUMENT"),
    ("run", "create_service",
     {"parent": LOCATION, "service_id": "x", "service": {}}, "INVALID_ARGUMENT"),
    ("run", "get_service", {"name": LOCATION + "/services/none"}, "NOT_FOUND"),
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster(cloud: Server, project: str) -> str:
    """The id of a cluster that exists."""
    parent = f"projects/{project}/locations/us-central1"
    wanted = filled(CLUSTER, {"{p}": project})
    request = {"parent": parent, "cluster_id": "there", "cluster": wanted}
    cloud.client("alloydb").create_cluster(request=request).result(polling=FAST)
    return "there"


@pytest.fixture(scope="module")
def clients(cloud: Server) -> Callable[[str], Any]:
    """Each client once."""
    made: dict[str, Any] = {}
    return lambda name: (
        made.setdefault(name, None) or made.update({name: cloud.client(name)}) or (made[name])
    )


@pytest.mark.parametrize(
    "client, method, request_, code",
    CASES,
    ids=[f"{method}-{code}-{number}" for number, (_, method, _, code) in enumerate(CASES)],
)
def test_code(
    clients: Callable[[str], Any], project: str, cluster: str,
    client: str, method: str, request_: dict[str, Any], code: str,
) -> None:  # fmt: skip
    new = f"new-{uuid.uuid4().hex[:8]}"
    request = filled(request_, {"{p}": project, "{c}": cluster, "{new}": new})
    assert code_of(lambda: getattr(clients(client), method)(request=request)) == code


@pytest.mark.parametrize("name", CLIENTS)
def test_api_is_read_from_the_installed_client(name: str) -> None:
    package, service, kind = CLIENTS[name]
    api = contract.load(f"google.cloud.{package}.services.{service}", kind)
    assert api.name.rpartition(".")[2] in (kind, "IAM")
    for method in api.methods.values():
        assert method.path.startswith(f"/{api.name}/")
        assert method.is_operation is (method.result is not None)
