"""The rows of the contract table for kinds with Google's standard methods.

A kind's row is written once; its calls follow from it, as they do in Google's own design rules
(AIP-131 to AIP-136, AIP-154).
"""

from dataclasses import dataclass, field
from typing import Any

NOBODY = "user:nobody@example.com"
LOCATION = "projects/{p}/locations/us-central1"
NETWORK = "projects/{p}/global/networks/default"
SUBNETWORK = "projects/{p}/regions/us-central1/subnetworks/default"
GPU = [{"type_": "nvidia-tesla-t4", "count": 1}]
MACHINE = {"gce_instance": {"machine_type": "n1-standard-8", "accelerators": GPU}}
IMAGE = "embedded://tests.localcloud.sample_service"
ALLOYDB = LOCATION + "/clusters/t"
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


CASES = [case for row in ROWS for case in _standard(row)]
