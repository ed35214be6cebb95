"""What is asked of each service that the migration uses: once for every door and both clouds."""

from collections.abc import Iterator

from tests.localcloud.steps import STRANGER, Row, Scenario, Step


def _operations(client: str, nowhere: str) -> tuple[Step, ...]:
    """The operation that was waited for last, and one that is not there."""
    return (
        Step("operation: get", client, "get_operation", {"name": "{operation}"},
             shows={"done": True}),
        Step("operation: not found", client, "get_operation", {"name": nowhere}, "NOT_FOUND"),
    )  # fmt: skip


NO_OPERATION = "{l}/operations/operation-1-none"
P, ORGANIZATION = "projects/{p}", "{organization}"
SECRET = P + "/secrets/{id}-a"
VERSION = SECRET + "/versions/1"
VIEWERS = [{"role": "roles/viewer", "members": ["domain:example.com"]}]
STALE = {"policy": {"bindings": VIEWERS, "etag": b"12345678"}}


def _secrets() -> Iterator[Step]:
    s = "secrets"
    yield Step("version: latest of none", s, "access_secret_version",
               {"name": SECRET + "/versions/latest"}, "NOT_FOUND")  # fmt: skip
    yield Step("version: add", s, "add_secret_version",
               {"parent": SECRET, "payload": {"data": b"one"}},
               shows={"state": "ENABLED"})  # fmt: skip
    yield Step("version: access", s, "access_secret_version",
               {"name": SECRET + "/versions/latest"},
               shows={"payload": {"data": "b25l"}})  # fmt: skip
    yield Step("version: list", s, "list_secret_versions",
               {"parent": SECRET, "filter": "state:ENABLED"}, items=1)  # fmt: skip
    yield Step("version: access, denied", s, "access_secret_version",
               {"name": SECRET + "/versions/latest"}, "PERMISSION_DENIED",
               who=STRANGER)  # fmt: skip
    yield Step("version: disable", s, "disable_secret_version", {"name": VERSION},
               shows={"state": "DISABLED"})  # fmt: skip
    yield Step("version: access what is disabled", s, "access_secret_version", {"name": VERSION},
               "FAILED_PRECONDITION")  # fmt: skip
    yield Step("version: destroy", s, "destroy_secret_version", {"name": VERSION},
               shows={"state": "DESTROYED"})  # fmt: skip
    yield Step("version: enable what is destroyed", s, "enable_secret_version",
               {"name": VERSION}, "FAILED_PRECONDITION")  # fmt: skip
    yield Step("policy: get", s, "get_iam_policy", {"resource": SECRET})
    yield Step("policy: set, etag of another", s, "set_iam_policy",
               {"resource": SECRET, **STALE}, "ABORTED")  # fmt: skip


def _projects() -> Iterator[Step]:
    c, own, name = "projects", {"project_id": "{id}-p", "parent": ORGANIZATION}, "projects/{id}-p"
    yield Step("project: get, not there or not ours", c, "get_project", {"name": name},
               "PERMISSION_DENIED")  # fmt: skip
    yield Step("project: get, malformed name", c, "get_project", {"name": "nonsense"},
               "INVALID_ARGUMENT")  # fmt: skip
    yield Step("project: create, malformed id", c, "create_project",
               {"project": {**own, "project_id": "X"}}, "INVALID_ARGUMENT")  # fmt: skip
    yield Step("project: create", c, "create_project", {"project": own},
               shows={"state": "ACTIVE"}, unmake=("delete_project", {"name": name}))  # fmt: skip
    yield Step("operation: get", c, "get_operation", {"name": "{operation}"}, shows={"done": True})
    yield Step("project: create, duplicate", c, "create_project", {"project": own},
               "ALREADY_EXISTS")  # fmt: skip
    yield Step("project: get", c, "get_project", {"name": name}, shows={"state": "ACTIVE"},
               remember={"etag": "etag"})  # fmt: skip
    yield Step("project: get, denied", c, "get_project", {"name": name}, "PERMISSION_DENIED",
               who=STRANGER)  # fmt: skip
    yield Step("project: search", c, "search_projects", {"query": "id:{id}-p"}, items=1)
    labels = {"project": {"name": name, "labels": {"run": "{id}"}},
              "update_mask": {"paths": ["labels"]}}  # fmt: skip
    yield Step("project: update by mask", c, "update_project", labels,
               shows={"labels": {"run": "{id}"}})  # fmt: skip
    yield Step("project: update, etag of before", c, "update_project",
               {**labels, "project": {**labels["project"], "etag": "{etag}"}},
               "ABORTED")  # fmt: skip
    yield Step("project: move to where it is", c, "move_project",
               {"name": name, "destination_parent": ORGANIZATION},
               "FAILED_PRECONDITION")  # fmt: skip
    yield Step("policy: get", c, "get_iam_policy", {"resource": name})
    yield Step("policy: set, etag of another", c, "set_iam_policy", {"resource": name, **STALE},
               "ABORTED")  # fmt: skip
    yield Step("policy: test", c, "test_iam_permissions",
               {"resource": name, "permissions": ["resourcemanager.projects.get"]},
               shows={"permissions": ["resourcemanager.projects.get"]})  # fmt: skip
    yield Step("policy of the organization: test", "organizations", "test_iam_permissions",
               {"resource": ORGANIZATION, "permissions": ["resourcemanager.projects.create"]},
               shows={"permissions": ["resourcemanager.projects.create"]})  # fmt: skip
    yield Step("project: delete", c, "delete_project", {"name": name})
    yield Step("project: get what is deleted softly", c, "get_project", {"name": name},
               shows={"state": "DELETE_REQUESTED"})  # fmt: skip
    yield Step("project: undelete", c, "undelete_project", {"name": name},
               shows={"state": "ACTIVE"}, unmake=("delete_project", {"name": name}))  # fmt: skip
    yield Step("project: delete again", c, "delete_project", {"name": name})


def _usage() -> Iterator[Step]:
    c, one = "usage", P + "/services/dns.googleapis.com"
    yield Step("service: get, not there", c, "get_service",
               {"name": P + "/services/{id}.googleapis.com"}, "NOT_FOUND")  # fmt: skip
    yield Step("service: get, malformed name", c, "get_service", {"name": "nonsense"},
               "INVALID_ARGUMENT")  # fmt: skip
    yield Step("service: enable, missing project", c, "enable_service",
               {"name": "projects/{absent}/services/dns.googleapis.com"},
               "PERMISSION_DENIED")  # fmt: skip
    unused = ("{dns}", "DISABLED")  # somebody may need it: then it is left as it is
    yield Step("service: state before", c, "get_service", {"name": one},
               remember={"dns": "state"})  # fmt: skip
    yield Step("service: enable", c, "enable_service", {"name": one}, given=unused,
               unmake=("disable_service", {"name": one}))  # fmt: skip
    yield Step("operation: get", c, "get_operation", {"name": "{operation}"},
               shows={"done": True}, given=unused)  # fmt: skip
    yield Step("service: get", c, "get_service", {"name": one}, shows={"state": "ENABLED"})
    yield Step("service: get several", c, "batch_get_services", {"parent": P, "names": [one]})
    yield Step("service: enable none", c, "batch_enable_services", {"parent": P},
               "INVALID_ARGUMENT")  # fmt: skip
    yield Step("service: get, denied", c, "get_service", {"name": one}, "PERMISSION_DENIED",
               who=STRANGER)  # fmt: skip
    yield Step("service: disable", c, "disable_service", {"name": one}, given=unused)
    yield Step("service: disable again", c, "disable_service", {"name": one},
               "FAILED_PRECONDITION", given=unused)  # fmt: skip


def _accounts() -> Iterator[Step]:
    c, host = "accounts", "@{p}.iam.gserviceaccount.com"
    name, create = f"{P}/serviceAccounts/{{id}}-a{host}", {"name": P, "account_id": "{id}-a"}
    nowhere = f"{P}/serviceAccounts/{{id}}-none{host}"
    yield Step("account: get, not found", c, "get_service_account", {"name": nowhere},
               "NOT_FOUND")  # fmt: skip
    yield Step("account: create, malformed id", c, "create_service_account",
               {**create, "account_id": "X"}, "INVALID_ARGUMENT")  # fmt: skip
    yield Step("account: create, denied", c, "create_service_account", create,
               "PERMISSION_DENIED", who=STRANGER)  # fmt: skip
    yield Step("account: create", c, "create_service_account", create, remember={"etag": "etag"},
               unmake=("delete_service_account", {"name": name}))  # fmt: skip
    yield Step("account: create, duplicate", c, "create_service_account", create,
               "ALREADY_EXISTS")  # fmt: skip
    yield Step("account: list", c, "list_service_accounts", {"name": P}, items=1)
    patch = {"service_account": {"name": name, "display_name": "changed"},
             "update_mask": {"paths": ["display_name"]}}  # fmt: skip
    yield Step("account: patch", c, "patch_service_account", patch,
               shows={"displayName": "changed"})  # fmt: skip
    yield Step("account: patch, not found", c, "patch_service_account",
               {**patch, "service_account": {"name": nowhere}}, "NOT_FOUND")  # fmt: skip
    yield Step("account: delete", c, "delete_service_account", {"name": name})
    yield Step("account: delete, not found", c, "delete_service_account", {"name": name},
               "NOT_FOUND")  # fmt: skip


def _networks() -> Iterator[Step]:
    project, name = {"project": "{p}"}, {"project": "{p}", "network": "{id}-a"}
    insert = {**project, "network_resource": {"name": "{id}-a", "auto_create_subnetworks": False}}
    n, bad = "networks", "INVALID_ARGUMENT"
    yield Step("network: get, not found", n, "get", {**project, "network": "{id}-none"},
               "NOT_FOUND")  # fmt: skip
    yield Step("network: insert, malformed name", n, "insert",
               {**project, "network_resource": {"name": "Not A Name"}}, bad)  # fmt: skip
    yield Step("network: insert, missing project", n, "insert",
               {**insert, "project": "{absent}"}, "PERMISSION_DENIED")  # fmt: skip
    yield Step("network: insert, denied", n, "insert", insert, "PERMISSION_DENIED", who=STRANGER)
    yield Step("network: insert", n, "insert", insert, unmake=("delete", name))
    yield Step("network: insert, duplicate", n, "insert", insert, "ALREADY_EXISTS")
    yield Step("network: get", n, "get", name, shows={"name": "{id}-a"},
               remember={"network-link": "selfLink"})  # fmt: skip
    yield Step("network: list", n, "list", project, items=1)
    yield Step("network: list, malformed size", n, "list", {**project, "max_results": 10000}, bad)
    where = {"project": "{p}", "region": "{region}"}
    part = {"name": "{id}-s", "network": "{network-link}", "ip_cidr_range": "10.20.0.0/24"}
    yield Step("subnetwork: insert, malformed range", "subnetworks", "insert",
               {**where, "subnetwork_resource": {**part, "ip_cidr_range": "10.20.0.1/24"}},
               bad)  # fmt: skip
    yield Step("subnetwork: insert", "subnetworks", "insert",
               {**where, "subnetwork_resource": part},
               unmake=("delete", {**where, "subnetwork": "{id}-s"}))  # fmt: skip
    yield Step("subnetwork: insert, range taken", "subnetworks", "insert",
               {**where, "subnetwork_resource": {**part, "name": "{id}-t"}}, bad)  # fmt: skip
    given = {"name": "{id}-r", "network": "{network-link}", "purpose": "VPC_PEERING",
             "address_type": "INTERNAL", "prefix_length": 24}  # fmt: skip
    one = {**project, "address": "{id}-r"}
    yield Step("range: insert, prefix too long", "addresses", "insert",
               {**project, "address_resource": {**given, "prefix_length": 31}}, bad)  # fmt: skip
    yield Step("range: insert", "addresses", "insert", {**project, "address_resource": given},
               unmake=("delete", one))  # fmt: skip
    yield Step("range: get", "addresses", "get", one, shows={"status": "RESERVED"})
    r, own = "regional_addresses", {**where, "address": "{id}-e"}
    inner = {"name": "{id}-e", "address_type": "INTERNAL",
             "subnetwork": "projects/{p}/regions/{region}/subnetworks/{id}-s"}  # fmt: skip
    yield Step("address: insert, no such subnetwork", r, "insert",
               {**where, "address_resource": {**inner, "subnetwork": inner["subnetwork"] + "x"}},
               "NOT_FOUND")  # fmt: skip
    yield Step("address: insert", r, "insert", {**where, "address_resource": inner},
               unmake=("delete", own))  # fmt: skip
    yield Step("address: get", r, "get", own, shows={"status": "RESERVED"})
    yield Step("rule: get, not found", "forwarding_rules", "get",
               {**where, "forwarding_rule": "{id}-none"}, "NOT_FOUND")  # fmt: skip
    rule = {"name": "{id}-f", "network": "{network-link}", "load_balancing_scheme": "",
            "I_p_address": "projects/{p}/regions/{region}/addresses/{id}-e",
            "target": "projects/1/regions/{region}/serviceAttachments/none"}  # fmt: skip
    yield Step("rule: insert, no such attachment", "forwarding_rules", "insert",
               {**where, "forwarding_rule_resource": rule}, "NOT_FOUND")  # fmt: skip
    yield Step("address: delete", r, "delete", own)
    yield Step("network: delete while it is used", n, "delete", name, bad)
    yield Step("range: delete", "addresses", "delete", one)
    yield Step("subnetwork: delete", "subnetworks", "delete", {**where, "subnetwork": "{id}-s"})
    yield Step("network: delete", n, "delete", name)
    yield Step("network: delete, not found", n, "delete", name, "NOT_FOUND")


def _alloydb() -> Row:
    cluster = "{l}/clusters/{id}-a"
    ada = cluster + "/users/ada"
    backup = Row(
        "alloydb", "backup", "backups", "{l}",
        {"cluster_name": cluster, "labels": {"run": "{id}"}}, "cluster_name",
    )  # fmt: skip
    instance = Row(
        "alloydb", "instance", "instances", cluster,
        {"instance_type": "PRIMARY", "machine_config": {"cpu_count": 2},
         "labels": {"run": "{id}"}},
        "instance_type", above="{l}/clusters/{id}-none",
        inside=(
            Step("cluster: delete, an instance in it", "alloydb", "delete_cluster",
                 {"name": cluster}, "FAILED_PRECONDITION"),
            Step("user: create", "alloydb", "create_user",
                 {"parent": cluster, "user_id": "ada", "user": {"password": "Conformance-1"}}),
            Step("user: create, duplicate", "alloydb", "create_user",
                 {"parent": cluster, "user_id": "ada", "user": {"password": "Conformance-1"}},
                 "ALREADY_EXISTS"),
            Step("user: list", "alloydb", "list_users", {"parent": cluster}),
            Step("user: get", "alloydb", "get_user", {"name": ada}),
            Step("user: get, not found", "alloydb", "get_user",
                 {"name": cluster + "/users/none"}, "NOT_FOUND"),
            Step("user: update by mask", "alloydb", "update_user",
                 {"user": {"name": ada, "database_roles": ["pg_monitor"]},
                  "update_mask": {"paths": ["database_roles"]}},
                 shows={"databaseRoles": ["pg_monitor"]}),
            Step("user: delete", "alloydb", "delete_user", {"name": ada}),
            *backup.steps(),
            Step("instance: connection", "alloydb", "get_connection_info",
                 {"parent": cluster + "/instances/{id}-a"}),
        ),
    )  # fmt: skip
    return Row(
        "alloydb", "cluster", "clusters", "{l}",
        {"network_config": {"network": "{network}"}, "labels": {"run": "{id}"},
         "initial_user": {"password": "Conformance-1"}},
        "network_config", inside=(*_operations("alloydb", NO_OPERATION), *instance.steps()),
    )  # fmt: skip


def _workstations() -> Row:
    w, cluster = "workstations", "{l}/workstationClusters/{id}-a"
    config = cluster + "/workstationConfigs/{id}-a"
    one = {"name": config + "/workstations/{id}-a"}
    labels = {"labels": {"run": "{id}"}}
    station = Row(
        w, "workstation", "workstations", config, labels,
        above=cluster + "/workstationConfigs/{id}-none",
        inside=(
            Step("workstation: stop what is stopped", w, "stop_workstation", one,
                 "FAILED_PRECONDITION"),
            Step("workstation: start", w, "start_workstation", one,
                 shows={"state": "STATE_RUNNING"}),
            Step("workstation: start, denied", w, "start_workstation", one, "PERMISSION_DENIED",
                 who=STRANGER),
            Step("workstation: stop", w, "stop_workstation", one,
                 shows={"state": "STATE_STOPPED"}),
        ),
    )  # fmt: skip
    machine = {"machine_type": "e2-standard-4", "disable_public_ip_addresses": False}
    configuration = Row(
        w, "workstation_config", "workstationConfigs", cluster,
        {"host": {"gce_instance": machine}, **labels},
        above="{l}/workstationClusters/{id}-none", inside=tuple(station.steps()),
    )  # fmt: skip
    return Row(
        w, "workstation_cluster", "workstationClusters", "{l}",
        {"network": "{network}", "subnetwork": "{subnetwork}", **labels}, "network",
        inside=(*_operations(w, NO_OPERATION), *configuration.steps()),
    )  # fmt: skip


def _vertex() -> Iterator[Step]:
    config = {"dimensions": 4, "approximateNeighborsCount": 10,
              "distanceMeasureType": "SQUARED_L2_DISTANCE",
              "algorithmConfig": {"bruteForceConfig": {}}}  # fmt: skip
    points = [{"datapoint_id": f"p{n}", "feature_vector": [float(n), 0, 0, 1]} for n in range(5)]
    deployed = {"index_endpoint": "{index_endpoint}", "deployed_index_id": "deployed_{word}"}
    query = {"datapoint": {"datapoint_id": "q", "feature_vector": [3.0, 0, 0, 1]},
             "neighbor_count": 2}  # fmt: skip
    endpoint = Row(
        "index_endpoints", "index_endpoint", "indexEndpoints", "{l}",
        {"display_name": "{id}", "public_endpoint_enabled": True, "labels": {"run": "{id}"}},
        "display_name", numbered=True, etags=False, two=True,
        inside=(
            Step("endpoint: address", "index_endpoints", "get_index_endpoint",
                 {"name": "{index_endpoint}"}, remember={"address": "publicEndpointDomainName"}),
            Step("deploy, no such index", "index_endpoints", "deploy_index",
                 {"index_endpoint": "{index_endpoint}", "deployed_index":
                  {"id": "deployed_{word}", "index": "{l}/indexes/1234567890123456789"}},
                 "NOT_FOUND"),
            Step("deploy", "index_endpoints", "deploy_index",
                 {"index_endpoint": "{index_endpoint}",
                  "deployed_index": {"id": "deployed_{word}", "index": "{index}"}},
                 unmake=("undeploy_index", deployed)),
            Step("index: delete while it is deployed", "indexes", "delete_index",
                 {"name": "{index}"}, "FAILED_PRECONDITION"),
            Step("search", "match", "find_neighbors", {**deployed, "queries": [query]},
                 at="{address}"),
            Step("search, wrong dimensions", "match", "find_neighbors",
                 {**deployed, "queries": [{"datapoint": {"feature_vector": [1.0]}}]},
                 "INVALID_ARGUMENT", at="{address}"),
            Step("read", "match", "read_index_datapoints", {**deployed, "ids": ["p3"]},
                 at="{address}"),
            Step("mutate, not found", "index_endpoints", "mutate_deployed_index",
                 {"index_endpoint": "{index_endpoint}", "deployed_index":
                  {"id": "none_{word}", "index": "{index}"}}, "NOT_FOUND"),
            Step("undeploy", "index_endpoints", "undeploy_index", deployed),
            Step("undeploy again", "index_endpoints", "undeploy_index", deployed, "NOT_FOUND"),
        ),
    )  # fmt: skip
    index = Row(
        "indexes", "index", "indexes", "{l}",
        {"display_name": "{id}", "index_update_method": "STREAM_UPDATE",
         "metadata": {"config": config}, "labels": {"run": "{id}"}},
        "display_name", plural="indexes", numbered=True, etags=False, two=True,
        inside=(
            *_operations("indexes", "{l}/operations/1234567890123456789"),
            Step("upsert", "indexes", "upsert_datapoints",
                 {"index": "{index}", "datapoints": points}),
            Step("upsert, wrong dimensions", "indexes", "upsert_datapoints",
                 {"index": "{index}", "datapoints":
                  [{"datapoint_id": "x", "feature_vector": [1.0]}]}, "INVALID_ARGUMENT"),
            Step("remove", "indexes", "remove_datapoints",
                 {"index": "{index}", "datapoint_ids": ["p4", "none"]}),
            *endpoint.steps(),
        ),
    )  # fmt: skip
    yield from index.steps()


ROWS = {
    "secrets": Row("secrets", "secret", "secrets", P,
                   {"replication": {"automatic": {}}, "labels": {"run": "{id}"}}, "replication",
                   two=True, inside=tuple(_secrets())),
    "redis": Row("redis", "instance", "instances", "{l}",
                 {"tier": "BASIC", "memory_size_gb": 1, "authorized_network": "{network}",
                  "labels": {"run": "{id}"}},
                 "memory_size_gb", etags=False,
                 inside=(*_operations("redis", NO_OPERATION),
                         Step("auth string while AUTH is off", "redis",
                              "get_instance_auth_string", {"name": "{l}/instances/{id}-a"},
                              "FAILED_PRECONDITION"))),
    "alloydb": _alloydb(),
    "workstations": _workstations(),
    "run": Row("run", "service", "services", "{l}",
               {"template": {"containers": [{"image": "{image}"}]}, "labels": {"run": "{id}"}},
               "template",
               inside=(*_operations("run", NO_OPERATION),
                       Step("policy: get", "run", "get_iam_policy",
                            {"resource": "{l}/services/{id}-a"}),
                       Step("policy: set, etag of another", "run", "set_iam_policy",
                            {"resource": "{l}/services/{id}-a", **STALE}, "ABORTED"))),
}  # fmt: skip

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        Scenario("secrets", tuple(ROWS["secrets"].steps()), ("secretmanager",),
                 "two secrets and one version for seconds: nothing"),
        Scenario("usage", tuple(_usage()), (),
                 "nothing; enables and disables Cloud DNS where the project does not use it"),
        Scenario("accounts", tuple(_accounts()), ("iam",), "nothing; one service account"),
        Scenario("projects", tuple(_projects()), (),
                 "nothing; one project, whose id is gone for 30 days and which counts against the "
                 "quota of projects until then",
                 "an organization where projects may be made"),
        Scenario("networks", tuple(_networks()), ("compute",),
                 "nothing; one network with a subnetwork and a range of addresses"),
        Scenario("redis", tuple(ROWS["redis"].steps()), ("redis",),
                 "one BASIC instance of 1 GB, for about a quarter of an hour: cents"),
        Scenario("run", tuple(ROWS["run"].steps()), ("run",),
                 "one service that nobody calls: nothing"),
        Scenario("vertex", tuple(_vertex()), ("aiplatform",),
                 "two tiny indexes, two endpoints, one deployed index (a node of the default "
                 "machine), for an hour or two: less than a dollar"),
        Scenario("alloydb", tuple(ROWS["alloydb"].steps()), ("alloydb",),
                 "one cluster with a primary instance of 2 vCPUs, for about half an hour: less "
                 "than a dollar",
                 "a network with private services access"),
        Scenario("workstations", tuple(ROWS["workstations"].steps()), ("workstations",),
                 "one cluster (its control plane is billed by the hour), one e2-standard-4 "
                 "workstation that runs for minutes, its disk; about an hour: about a dollar"),
    )
}  # fmt: skip
