"""Every method that the migration calls x what may be wrong with a call -> the documented code.

A kind's row is written once; its calls follow from it, as they do in Google's own design rules
(AIP-131 to AIP-136, AIP-154).  What is special about a method stands in ``SPECIAL``.
"""

import importlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.localcloud.conftest import FAST, ORGANIZATION, Server, code_of, filled

NOBODY = "user:nobody@example.com"
LOCATION = "projects/{p}/locations/us-central1"
NETWORK = "projects/{p}/global/networks/default"
SUBNETWORK = "projects/{p}/regions/us-central1/subnetworks/default"
GPU = [{"type_": "nvidia-tesla-t4", "count": 1}]
MACHINE = {"gce_instance": {"machine_type": "n1-standard-8", "accelerators": GPU}}
IMAGE = "embedded://tests.localcloud.sample_service"
ALLOYDB = LOCATION + "/clusters/t"
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsc82IJJXl50Adkmis/qCPl86fI8k
yex1L3o3RaCMHA1qzs99k3CuT1ACzqMOmXv43URlVOyb9REbGISuk9uCNA==
-----END PUBLIC KEY-----
"""
WORKSTATIONS = LOCATION + "/workstationClusters/t/workstationConfigs/t"


@dataclass(frozen=True)
class Row:
    """One kind: how its resource ``t`` is made, and what of it is refused.

    ``required`` is a field without which nothing is made; ``change`` an update that is accepted,
    ``fixed`` one that is not; ``etags`` where updates and deletions take an etag; ``above``
    whether the parent is a resource that may be missing; ``nowhere`` names a network that is.
    """

    client: str
    thing: str
    collection: str
    parent: str
    body: dict[str, Any]
    required: str
    change: dict[str, Any] = field(default_factory=lambda: {"labels": {"a": "b"}})
    fixed: dict[str, Any] = field(default_factory=dict)
    etags: bool = True
    above: str = ""
    nowhere: dict[str, Any] = field(default_factory=dict)
    once: bool = False
    bad_id: str = "Not_An_Id"

    @property
    def name(self) -> str:
        """The resource that is there."""
        return f"{self.parent}/{self.collection}/t"


ROWS = (
    Row("alloydb", "cluster", "clusters", LOCATION,
        {"network_config": {"network": NETWORK}, "initial_user": {"password": "secret"}},
        "network_config", fixed={"network_config": {"network": NETWORK + "x"}},
        nowhere={"network_config": {"network": NETWORK + "x"}}),
    Row("alloydb", "instance", "instances", LOCATION + "/clusters/t",
        {"instance_type": "PRIMARY"}, "instance_type", fixed={"instance_type": "READ_POOL"},
        above=LOCATION + "/clusters/none", once=True),
    Row("alloydb", "user", "users", ALLOYDB, {"password": "one"}, "password",
        change={"database_roles": ["alloydbiamuser"]}, fixed={"user_type": "ALLOYDB_IAM_USER"},
        etags=False, above=LOCATION + "/clusters/none", bad_id="no spaces"),
    Row("alloydb", "backup", "backups", LOCATION, {"cluster_name": ALLOYDB}, "cluster_name",
        fixed={"cluster_name": ALLOYDB + "x"}, once=True),
    Row("redis", "instance", "instances", LOCATION, {"tier": "BASIC", "memory_size_gb": 1},
        "memory_size_gb", fixed={"tier": "STANDARD_HA"}, etags=False, once=True,
        nowhere={"authorized_network": NETWORK + "x"}),
    Row("workstations", "workstation_cluster", "workstationClusters", LOCATION,
        {"network": NETWORK, "subnetwork": SUBNETWORK}, "network",
        fixed={"network": NETWORK + "x"}, nowhere={"subnetwork": SUBNETWORK + "x"}),
    Row("workstations", "workstation_config", "workstationConfigs",
        LOCATION + "/workstationClusters/t", {"host": MACHINE}, "",
        fixed={"replica_zones": ["us-central1-b", "us-central1-f"]},
        above=LOCATION + "/workstationClusters/none"),
    Row("workstations", "workstation", "workstations", WORKSTATIONS, {}, "",
        above=LOCATION + "/workstationClusters/t/workstationConfigs/none"),
    Row("run", "service", "services", LOCATION, {"template": {"containers": [{"image": IMAGE}]}},
        "template", once=True),
)  # fmt: skip

Case = tuple[str, str, str, dict[str, Any], str, str]


def _standard(row: Row) -> list[Case]:
    """The calls of a kind: client, method, what about it, request, code, principal."""
    thing, own_id = row.thing, f"{row.thing}_id"
    elsewhere = row.parent.replace("{p}", "no-such-project")
    create = {"parent": row.parent, own_id: "{new}", thing: row.body}
    update = {thing: {"name": row.name, **row.change}, "update_mask": {"paths": [*row.change]}}
    less = {k: v for k, v in row.body.items() if k != row.required}
    nowhere = row.name.removesuffix("/t") + "/none"
    found: list[tuple[str, str, dict[str, Any], str, str]] = [
        ("create", "malformed name", {**create, own_id: row.bad_id}, "INVALID_ARGUMENT", ""),
        ("create", "id missing", {**create, own_id: ""}, "INVALID_ARGUMENT", ""),
        ("create", "malformed parent", {**create, "parent": "nonsense"}, "INVALID_ARGUMENT", ""),
        ("create", "missing project", {**create, "parent": elsewhere}, "PERMISSION_DENIED", ""),
        ("create", "duplicate", {**create, own_id: "t"}, "ALREADY_EXISTS", ""),
        ("create", "denied", create, "PERMISSION_DENIED", NOBODY),
        ("get", "accepted", {"name": row.name}, "OK", ""),
        ("get", "malformed name", {"name": "nonsense"}, "INVALID_ARGUMENT", ""),
        ("get", "name missing", {}, "INVALID_ARGUMENT", ""),
        ("get", "not found", {"name": nowhere}, "NOT_FOUND", ""),
        ("get", "denied", {"name": row.name}, "PERMISSION_DENIED", NOBODY),
        ("update", "accepted", update, "OK", ""),
        ("update", "malformed name", {**update, thing: {"name": "nonsense"}}, "INVALID_ARGUMENT",
         ""),
        ("update", "not found", {**update, thing: {"name": nowhere, **row.change}}, "NOT_FOUND",
         ""),
        ("update", "unknown field", {**update, "update_mask": {"paths": ["nonsense"]}},
         "INVALID_ARGUMENT", ""),
        ("update", "denied", update, "PERMISSION_DENIED", NOBODY),
        ("delete", "malformed name", {"name": "nonsense"}, "INVALID_ARGUMENT", ""),
        ("delete", "not found", {"name": nowhere}, "NOT_FOUND", ""),
        ("delete", "denied", {"name": row.name}, "PERMISSION_DENIED", NOBODY),
    ]  # fmt: skip
    if not row.once:
        found.append(("create", "accepted", create, "OK", ""))
    if row.required:
        found.append(("create", "required field missing", {**create, thing: less},
                      "INVALID_ARGUMENT", ""))  # fmt: skip
    if row.above:
        found.append(("create", "missing parent", {**create, "parent": row.above},
                      "NOT_FOUND", ""))  # fmt: skip
    if row.nowhere:
        lost = {**create, thing: {**row.body, **row.nowhere}}
        found.append(("create", "missing network", lost, "NOT_FOUND", ""))
    if row.fixed:
        other = {thing: {"name": row.name, **row.fixed}, "update_mask": {"paths": [*row.fixed]}}
        found.append(("update", "immutable field", other, "INVALID_ARGUMENT", ""))
    if row.etags:
        stale = {**update, thing: {**update[thing], "etag": '"old"'}}
        found.append(("update", "wrong etag", stale, "ABORTED", ""))
        found.append(("delete", "wrong etag", {"name": row.name, "etag": '"old"'}, "ABORTED", ""))
    return [(row.client, f"{verb}_{thing}", *rest) for verb, *rest in found]


P, NO_PROJECT = "projects/{p}", "projects/no-such-project"
SECRET = P + "/secrets/t"
ACCOUNT = P + "/serviceAccounts/t-account@{p}.iam.gserviceaccount.com"
NO_ACCOUNT = P + "/serviceAccounts/none@{p}.iam.gserviceaccount.com"
AUTOMATIC = {"replication": {"automatic": {}}}
LABELS = {"paths": ["labels"]}
API = {"parent": P, "service_ids": ["dns.googleapis.com"]}
BINDING = [{"role": "roles/viewer", "members": ["user:a@example.com"]}]
POLICY = {"bindings": BINDING}
ABSENT = "nope.googleapis.com"
CREATE = {"project": {"project_id": "{new}", "parent": ORGANIZATION}}
MEMBERLESS = {"bindings": [{"role": "roles/viewer", "members": ["nonsense"]}]}


def _policies(client: str, resource: str, absent: str, code: str) -> list[Case]:
    """Reading and writing the policy of one resource."""
    stale = {"bindings": BINDING, "etag": b"12345678"}
    found: list[tuple[str, str, dict[str, Any], str, str]] = [
        ("get_iam_policy", "accepted", {"resource": resource}, "OK", ""),
        ("get_iam_policy", "malformed name", {"resource": "nonsense"}, "INVALID_ARGUMENT", ""),
        ("get_iam_policy", "not found", {"resource": absent}, code, ""),
        ("get_iam_policy", "denied", {"resource": resource}, "PERMISSION_DENIED", NOBODY),
        ("set_iam_policy", "accepted", {"resource": resource, "policy": POLICY}, "OK", ""),
        ("set_iam_policy", "wrong etag", {"resource": resource, "policy": stale}, "ABORTED", ""),
        ("set_iam_policy", "malformed member", {"resource": resource, "policy": MEMBERLESS},
         "INVALID_ARGUMENT", ""),
        ("set_iam_policy", "not found", {"resource": absent, "policy": POLICY}, code, ""),
        ("set_iam_policy", "denied", {"resource": resource, "policy": POLICY},
         "PERMISSION_DENIED", NOBODY),
    ]  # fmt: skip
    return [(client, *each) for each in found]


RESTORE = {"parent": LOCATION, "cluster_id": "{new}",
           "cluster": {"network_config": {"network": NETWORK}}}  # fmt: skip


def _source(backup: str) -> dict[str, Any]:
    return {"backup_source": {"backup_name": f"{LOCATION}/backups/{backup}"}}


SPECIAL: list[Case] = [
    ("projects", "get_project", "accepted", {"name": P}, "OK", ""),
    ("projects", "get_project", "not found", {"name": NO_PROJECT}, "PERMISSION_DENIED", ""),
    ("projects", "get_project", "malformed name", {"name": "nonsense"}, "INVALID_ARGUMENT", ""),
    ("projects", "get_project", "denied", {"name": P}, "PERMISSION_DENIED", NOBODY),
    ("projects", "search_projects", "accepted", {"query": "id:{p}"}, "OK", ""),
    ("projects", "search_projects", "malformed query", {"query": "("}, "INVALID_ARGUMENT", ""),
    ("projects", "create_project", "accepted", CREATE, "OK", ""),
    ("projects", "create_project", "required field missing", {"project": {}}, "INVALID_ARGUMENT",
     ""),
    ("projects", "create_project", "malformed name", {"project": {"project_id": "X"}},
     "INVALID_ARGUMENT", ""),
    ("projects", "create_project", "malformed parent",
     {"project": {"project_id": "{new}", "parent": "x"}}, "INVALID_ARGUMENT", ""),
    ("projects", "create_project", "missing parent",
     {"project": {"project_id": "{new}", "parent": "organizations/5"}}, "PERMISSION_DENIED", ""),
    ("projects", "create_project", "duplicate", {"project": {"project_id": "{p}"}},
     "ALREADY_EXISTS", ""),
    ("projects", "create_project", "denied", CREATE, "PERMISSION_DENIED", NOBODY),
    ("projects", "update_project", "accepted",
     {"project": {"name": P, "labels": {"a": "b"}}, "update_mask": LABELS}, "OK", ""),
    ("projects", "update_project", "not found",
     {"project": {"name": NO_PROJECT}, "update_mask": LABELS}, "PERMISSION_DENIED", ""),
    ("projects", "update_project", "wrong etag",
     {"project": {"name": P, "etag": "old"}, "update_mask": LABELS}, "ABORTED", ""),
    ("projects", "update_project", "immutable field",
     {"project": {"name": P, "project_id": "other-id"}, "update_mask": {"paths": ["project_id"]}},
     "INVALID_ARGUMENT", ""),
    ("projects", "update_project", "denied",
     {"project": {"name": P}, "update_mask": LABELS}, "PERMISSION_DENIED", NOBODY),
    ("projects", "move_project", "required field missing", {"name": P}, "INVALID_ARGUMENT", ""),
    ("projects", "move_project", "malformed parent",
     {"name": P, "destination_parent": "x"}, "INVALID_ARGUMENT", ""),
    ("projects", "move_project", "missing parent",
     {"name": P, "destination_parent": "organizations/5"}, "PERMISSION_DENIED", ""),
    ("projects", "move_project", "not found",
     {"name": NO_PROJECT, "destination_parent": ORGANIZATION}, "PERMISSION_DENIED", ""),
    ("projects", "move_project", "there already",
     {"name": P, "destination_parent": ORGANIZATION}, "FAILED_PRECONDITION", ""),
    ("projects", "move_project", "denied",
     {"name": P, "destination_parent": ORGANIZATION}, "PERMISSION_DENIED", NOBODY),
    ("projects", "delete_project", "not found", {"name": NO_PROJECT}, "PERMISSION_DENIED", ""),
    ("projects", "delete_project", "denied", {"name": P}, "PERMISSION_DENIED", NOBODY),
    *_policies("projects", P, NO_PROJECT, "PERMISSION_DENIED"),
    ("projects", "test_iam_permissions", "accepted",
     {"resource": P, "permissions": ["resourcemanager.projects.get"]}, "OK", ""),
    ("projects", "test_iam_permissions", "malformed permission",
     {"resource": P, "permissions": ["*"]}, "INVALID_ARGUMENT", ""),
    ("projects", "test_iam_permissions", "not found",
     {"resource": NO_PROJECT, "permissions": ["resourcemanager.projects.get"]},
     "PERMISSION_DENIED", ""),
    ("organizations", "test_iam_permissions", "accepted",
     {"resource": ORGANIZATION, "permissions": ["resourcemanager.projects.create"]}, "OK", ""),
    ("usage", "batch_get_services", "accepted",
     {"parent": P, "names": [P + "/services/redis.googleapis.com"]}, "OK", ""),
    ("usage", "batch_get_services", "malformed name", {"parent": P, "names": ["x"]},
     "INVALID_ARGUMENT", ""),
    ("usage", "batch_get_services", "denied", {"parent": P}, "PERMISSION_DENIED", NOBODY),
    ("usage", "batch_enable_services", "accepted", API, "OK", ""),
    ("usage", "batch_enable_services", "required field missing", {"parent": P},
     "INVALID_ARGUMENT", ""),
    ("usage", "batch_enable_services", "malformed parent", {**API, "parent": "x"},
     "INVALID_ARGUMENT", ""),
    ("usage", "batch_enable_services", "missing project", {**API, "parent": NO_PROJECT},
     "PERMISSION_DENIED", ""),
    ("usage", "batch_enable_services", "not found", {"parent": P, "service_ids": [ABSENT]},
     "NOT_FOUND", ""),
    ("usage", "batch_enable_services", "denied", API, "PERMISSION_DENIED", NOBODY),
    ("usage", "disable_service", "not found", {"name": P + "/services/" + ABSENT}, "NOT_FOUND",
     ""),
    ("usage", "disable_service", "denied", {"name": P + "/services/redis.googleapis.com"},
     "PERMISSION_DENIED", NOBODY),
    ("accounts", "create_service_account", "accepted", {"name": P, "account_id": "{new}"}, "OK",
     ""),
    ("accounts", "create_service_account", "required field missing", {"name": P},
     "INVALID_ARGUMENT", ""),
    ("accounts", "create_service_account", "malformed name", {"name": P, "account_id": "X"},
     "INVALID_ARGUMENT", ""),
    ("accounts", "create_service_account", "malformed parent",
     {"name": "x", "account_id": "{new}"}, "INVALID_ARGUMENT", ""),
    ("accounts", "create_service_account", "missing project",
     {"name": NO_PROJECT, "account_id": "{new}"}, "PERMISSION_DENIED", ""),
    ("accounts", "create_service_account", "duplicate", {"name": P, "account_id": "t-account"},
     "ALREADY_EXISTS", ""),
    ("accounts", "create_service_account", "denied", {"name": P, "account_id": "{new}"},
     "PERMISSION_DENIED", NOBODY),
    ("accounts", "get_service_account", "accepted", {"name": ACCOUNT}, "OK", ""),
    ("accounts", "get_service_account", "not found", {"name": NO_ACCOUNT}, "NOT_FOUND", ""),
    ("accounts", "get_service_account", "malformed name", {"name": "x"}, "INVALID_ARGUMENT", ""),
    ("accounts", "get_service_account", "denied", {"name": ACCOUNT}, "PERMISSION_DENIED", NOBODY),
    ("accounts", "patch_service_account", "accepted",
     {"service_account": {"name": ACCOUNT, "display_name": "new"},
      "update_mask": {"paths": ["display_name"]}}, "OK", ""),
    ("accounts", "patch_service_account", "immutable field",
     {"service_account": {"name": ACCOUNT, "email": "a@b"}, "update_mask": {"paths": ["email"]}},
     "INVALID_ARGUMENT", ""),
    ("accounts", "patch_service_account", "wrong etag",
     {"service_account": {"name": ACCOUNT, "etag": b"old", "display_name": "x"},
      "update_mask": {"paths": ["display_name"]}}, "ABORTED", ""),
    ("accounts", "patch_service_account", "not found",
     {"service_account": {"name": NO_ACCOUNT}, "update_mask": {"paths": ["display_name"]}},
     "NOT_FOUND", ""),
    ("accounts", "delete_service_account", "not found", {"name": NO_ACCOUNT}, "NOT_FOUND", ""),
    ("accounts", "delete_service_account", "denied", {"name": ACCOUNT}, "PERMISSION_DENIED",
     NOBODY),
    ("secrets", "create_secret", "accepted",
     {"parent": P, "secret_id": "{new}", "secret": AUTOMATIC}, "OK", ""),
    ("secrets", "create_secret", "required field missing",
     {"parent": P, "secret_id": "{new}", "secret": {}}, "INVALID_ARGUMENT", ""),
    ("secrets", "create_secret", "malformed name",
     {"parent": P, "secret_id": "a b", "secret": AUTOMATIC}, "INVALID_ARGUMENT", ""),
    ("secrets", "create_secret", "missing project",
     {"parent": NO_PROJECT, "secret_id": "{new}", "secret": AUTOMATIC}, "PERMISSION_DENIED", ""),
    ("secrets", "create_secret", "duplicate",
     {"parent": P, "secret_id": "t", "secret": AUTOMATIC}, "ALREADY_EXISTS", ""),
    ("secrets", "create_secret", "denied",
     {"parent": P, "secret_id": "{new}", "secret": AUTOMATIC}, "PERMISSION_DENIED", NOBODY),
    ("secrets", "get_secret", "accepted", {"name": SECRET}, "OK", ""),
    ("secrets", "get_secret", "not found", {"name": P + "/secrets/none"}, "NOT_FOUND", ""),
    ("secrets", "delete_secret", "wrong etag", {"name": SECRET, "etag": '"old"'}, "ABORTED", ""),
    ("secrets", "delete_secret", "not found", {"name": P + "/secrets/none"}, "NOT_FOUND", ""),
    ("secrets", "delete_secret", "denied", {"name": SECRET}, "PERMISSION_DENIED", NOBODY),
    ("secrets", "add_secret_version", "accepted", {"parent": SECRET, "payload": {"data": b"x"}},
     "OK", ""),
    ("secrets", "add_secret_version", "required field missing", {"parent": SECRET},
     "INVALID_ARGUMENT", ""),
    ("secrets", "add_secret_version", "missing parent",
     {"parent": P + "/secrets/none", "payload": {"data": b"x"}}, "NOT_FOUND", ""),
    ("secrets", "add_secret_version", "denied", {"parent": SECRET, "payload": {"data": b"x"}},
     "PERMISSION_DENIED", NOBODY),
    ("secrets", "list_secret_versions", "accepted",
     {"parent": SECRET, "filter": "state:ENABLED"}, "OK", ""),
    ("secrets", "list_secret_versions", "missing parent", {"parent": P + "/secrets/none"},
     "NOT_FOUND", ""),
    ("secrets", "list_secret_versions", "malformed filter", {"parent": SECRET, "filter": "("},
     "INVALID_ARGUMENT", ""),
    ("secrets", "access_secret_version", "accepted", {"name": SECRET + "/versions/latest"}, "OK",
     ""),
    ("secrets", "access_secret_version", "not found", {"name": SECRET + "/versions/99"},
     "NOT_FOUND", ""),
    ("secrets", "access_secret_version", "denied", {"name": SECRET + "/versions/latest"},
     "PERMISSION_DENIED", NOBODY),
    *_policies("secrets", SECRET, P + "/secrets/none", "NOT_FOUND"),
    ("alloydb", "get_connection_info", "accepted", {"parent": ALLOYDB + "/instances/t"}, "OK", ""),
    ("alloydb", "get_connection_info", "malformed name", {"parent": "nonsense"},
     "INVALID_ARGUMENT", ""),
    ("alloydb", "get_connection_info", "not found", {"parent": ALLOYDB + "/instances/none"},
     "NOT_FOUND", ""),
    ("alloydb", "get_connection_info", "denied", {"parent": ALLOYDB + "/instances/t"},
     "PERMISSION_DENIED", NOBODY),
    ("alloydb", "generate_client_certificate", "accepted",
     {"parent": ALLOYDB, "public_key": PUBLIC_KEY}, "OK", ""),
    ("alloydb", "generate_client_certificate", "required field missing", {"parent": ALLOYDB},
     "INVALID_ARGUMENT", ""),
    ("alloydb", "generate_client_certificate", "malformed key",
     {"parent": ALLOYDB, "public_key": "nonsense"}, "INVALID_ARGUMENT", ""),
    ("alloydb", "generate_client_certificate", "not found",
     {"parent": ALLOYDB + "x", "public_key": PUBLIC_KEY}, "NOT_FOUND", ""),
    ("alloydb", "generate_client_certificate", "denied",
     {"parent": ALLOYDB, "public_key": PUBLIC_KEY}, "PERMISSION_DENIED", NOBODY),
    ("alloydb", "restore_cluster", "not found", {**RESTORE, **_source("none")}, "NOT_FOUND", ""),
    ("alloydb", "restore_cluster", "malformed name", {**RESTORE, "backup_source":
     {"backup_name": "nonsense"}}, "INVALID_ARGUMENT", ""),
    ("alloydb", "restore_cluster", "duplicate", {**RESTORE, **_source("t"), "cluster_id": "t"},
     "ALREADY_EXISTS", ""),
    ("alloydb", "restore_cluster", "denied", {**RESTORE, **_source("t")}, "PERMISSION_DENIED",
     NOBODY),
    ("redis", "get_instance_auth_string", "AUTH is off", {"name": LOCATION + "/instances/t"},
     "FAILED_PRECONDITION", ""),
    ("redis", "get_instance_auth_string", "not found", {"name": LOCATION + "/instances/none"},
     "NOT_FOUND", ""),
    ("redis", "get_instance_auth_string", "denied", {"name": LOCATION + "/instances/t"},
     "PERMISSION_DENIED", NOBODY),
    ("workstations", "start_workstation", "not found",
     {"name": WORKSTATIONS + "/workstations/none"}, "NOT_FOUND", ""),
    ("workstations", "start_workstation", "wrong etag",
     {"name": WORKSTATIONS + "/workstations/t", "etag": '"old"'}, "ABORTED", ""),
    ("workstations", "start_workstation", "denied", {"name": WORKSTATIONS + "/workstations/t"},
     "PERMISSION_DENIED", NOBODY),
    ("workstations", "stop_workstation", "stopped already",
     {"name": WORKSTATIONS + "/workstations/t"}, "FAILED_PRECONDITION", ""),
    ("workstations", "stop_workstation", "denied", {"name": WORKSTATIONS + "/workstations/t"},
     "PERMISSION_DENIED", NOBODY),
    *_policies("run", LOCATION + "/services/t", LOCATION + "/services/none", "NOT_FOUND"),
]  # fmt: skip

CASES = [case for row in ROWS for case in _standard(row)] + SPECIAL


@pytest.fixture(scope="module")
def made(cloud: Server) -> str:
    """A project where one resource ``t`` of each kind is there."""
    project = cloud.connected_project(
        "alloydb", "redis", "workstations", "run", "secretmanager", "iam"
    )
    words = {"{p}": project}
    for row in ROWS:
        request = {"parent": row.parent, f"{row.thing}_id": "t", row.thing: row.body}
        create = getattr(cloud.client(row.client), f"create_{row.thing}")
        answer = create(request=filled(request, words))
        if hasattr(answer, "result"):
            answer.result(polling=FAST)
    parent = f"projects/{project}"
    cloud.client("secrets").create_secret(parent=parent, secret_id="t", secret=AUTOMATIC)
    cloud.client("accounts").create_service_account(name=parent, account_id="t-account")
    return project


@pytest.fixture(scope="module")
def client_of(cloud: Server) -> Callable[[str, str], Any]:
    """Each client once for each principal."""
    kept: dict[tuple[str, str], Any] = {}

    def get(name: str, principal: str) -> Any:
        if (name, principal) not in kept:
            kept[name, principal] = cloud.client(name, principal=principal)
        return kept[name, principal]

    return get


@pytest.mark.parametrize(
    "client, method, about, request_, code, principal",
    CASES,
    ids=[f"{client}.{method}-{about}".replace(" ", "-") for client, method, about, *_ in CASES],
)
def test_code(
    made: str, client_of: Callable[[str, str], Any], client: str, method: str, about: str,
    request_: dict[str, Any], code: str, principal: str,
) -> None:  # fmt: skip
    words = {"{p}": made, "{new}": f"new-{uuid.uuid4().hex[:8]}"}
    call = getattr(client_of(client, principal), method)
    assert code_of(lambda: call(request=filled(request_, words))) == code


def test_every_method_that_the_migration_calls_is_in_the_table() -> None:
    names = {"services": "usage", "iam": "accounts"}
    table = {(client, method) for client, method, *_ in CASES}
    for module in ("alloydb", "redis", "workstations", "run", "projects", "iam"):
        loaded = importlib.import_module(f"lib.cloud.{module}")
        for kind in vars(loaded).values():
            if type(kind).__name__ == "Kind":
                verbs = ["get", "create", "update", "delete"]
                if kind.thing == "service_account":
                    verbs[2] = "patch"
                client = names.get(kind.service, kind.service)
                missing = {(client, f"{verb}_{kind.thing}") for verb in verbs} - table
                assert not missing, json.dumps(sorted(missing))
