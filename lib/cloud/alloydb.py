"""AlloyDB: the cluster in its network, its instances, its users, and a backup of it."""

from collections.abc import Callable, Sequence
from typing import Any

from lib.cloud import locations, projects
from lib.cloud.clients import Clients
from lib.cloud.kind import Kind, always_ready, by_state
from lib.cloud.resource import Resource
from lib.engine.changes import FieldChange

_CONSOLE = "https://console.cloud.google.com/alloydb/clusters"
ADMINISTRATOR = "postgres"
IAM_ROLE = "alloydbiamuser"
"""The role that AlloyDB itself gives to every IAM user."""

CLUSTER = Kind(
    noun="AlloyDB cluster",
    service="alloydb",
    thing="cluster",
    collection="clusters",
    # A cluster without instances says EMPTY; on it a primary instance can be made.
    condition=by_state(["READY", "EMPTY", "STOPPED"], ["FAILED"]),
    immutable=("network_config", "psc_config"),
    request_ids=True,
    console=_CONSOLE,
)
INSTANCE = Kind(
    noun="AlloyDB instance",
    service="alloydb",
    thing="instance",
    collection="instances",
    condition=by_state(["READY"], ["FAILED"]),
    immutable=("instance_type",),
    wholes=("machine_config", "read_pool_config"),
    request_ids=True,
    console=_CONSOLE,
)
USER = Kind(
    noun="AlloyDB user",
    service="alloydb",
    thing="user",
    collection="users",
    condition=always_ready,
    immutable=("user_type",),
    labels=False,
    request_ids=True,
    console=_CONSOLE,
)
BACKUP = Kind(
    noun="AlloyDB backup",
    service="alloydb",
    thing="backup",
    collection="backups",
    condition=by_state(["READY"], ["FAILED"]),
    immutable=("cluster_name",),
    request_ids=True,
    console="https://console.cloud.google.com/alloydb/backups",
)


def cluster(
    clients: Clients,
    project: Any,
    network: Any,
    alloydb: Any,
    password: Callable[[], str],
    protected: bool,
) -> Resource[Any]:
    """The cluster, on the network or in Private Service Connect.

    ``password`` becomes the administrator's when it is created.
    """
    on_network = {"network_config": {"network": locations.network(project, network)}}
    way_in = {"psc_config": {"psc_enabled": True}} if alloydb.ip_type == "PSC" else on_network
    return Resource(
        clients,
        CLUSTER,
        locations.region(project),
        alloydb.cluster,
        {
            **way_in,
            "labels": dict(project.labels),
        },
        project=project.id,
        at_creation=lambda: {"initial_user": {"user": ADMINISTRATOR, "password": password()}},
        protected=protected,
    )


def instance(clients: Clients, project: Any, alloydb: Any, protected: bool) -> Resource[Any]:
    """The primary instance; its state exposes ``ip_address`` and ``database_flags``."""
    reached_from_outside = alloydb.ip_type == "PUBLIC"
    public = {"network_config": {"enable_public_ip": True}} if reached_from_outside else {}
    own = {"instance_type": "PRIMARY", **public}
    return _instance(clients, project, alloydb, alloydb.primary, own, protected)


def read_pool(clients: Clients, project: Any, alloydb: Any, protected: bool) -> Resource[Any]:
    """The read pool beside the primary; its state exposes ``ip_address``."""
    nodes = {"node_count": alloydb.read_pool_nodes}
    own = {"instance_type": "READ_POOL", "read_pool_config": nodes}
    return _instance(clients, project, alloydb, alloydb.read_pool, own, protected)


def _instance(
    clients: Clients, project: Any, alloydb: Any, id: str, own: dict[str, Any], protected: bool
) -> Resource[Any]:
    flags = dict(alloydb.flags)
    if alloydb.iam_users:
        flags["alloydb.iam_authentication"] = "on"
    return Resource(
        clients,
        INSTANCE,
        _cluster(project, alloydb),
        id,
        {
            "machine_config": {"cpu_count": alloydb.cpu_count},
            "database_flags": flags,
            "labels": dict(project.labels),
            **own,
        },
        project=project.id,
        at_creation=(lambda: _allowed(clients, project)) if alloydb.ip_type == "PSC" else None,
        protected=protected,
    )


def _allowed(clients: Clients, project: Any) -> dict[str, Any]:
    """Endpoints in our own project may connect; AlloyDB takes projects by their numbers alone."""
    allowed = [projects.number(clients, project)]
    return {"psc_instance_config": {"allowed_consumer_projects": allowed}}


class User(Resource[Any]):
    """A user of the database; roles that somebody else gave it stay."""

    def _differences(self, observed: Any) -> tuple[FieldChange, ...]:
        return tuple(
            each
            for each in super()._differences(observed)
            if each.path != "database_roles"
            or not set(self.body["database_roles"]) <= set(observed.database_roles)
        )


def iam_user(
    clients: Clients, project: Any, alloydb: Any, address: str, roles: Sequence[str], guard: bool
) -> User:
    """The user by which the principal ``address`` logs in, with no password; it has ``roles``."""
    body = {"user_type": "ALLOYDB_IAM_USER", "database_roles": [IAM_ROLE, *roles]}
    name = address.removesuffix(".gserviceaccount.com")
    parent = _cluster(project, alloydb)
    return User(clients, USER, parent, name, body, project=project.id, protected=guard)


def built_in_user(
    clients: Clients,
    project: Any,
    alloydb: Any,
    name: str,
    password: Callable[[], str],
    roles: Sequence[str],
    guard: bool,
) -> User:
    """A user with a password, which is asked for when the user is created; it has ``roles``."""
    return User(
        clients,
        USER,
        _cluster(project, alloydb),
        name,
        {"user_type": "ALLOYDB_BUILT_IN", "database_roles": list(roles)},
        project=project.id,
        at_creation=lambda: {"password": password()},
        protected=guard,
    )


def backup(clients: Clients, project: Any, alloydb: Any, protected: bool) -> Resource[Any]:
    """The backup of the cluster under the name that the settings give it."""
    return Resource(
        clients,
        BACKUP,
        locations.region(project),
        alloydb.backup,
        {"cluster_name": _cluster(project, alloydb), "labels": dict(project.labels)},
        project=project.id,
        at_creation=lambda: {"type_": "ON_DEMAND"},
        protected=protected,
    )


def _cluster(project: Any, alloydb: Any) -> str:
    return f"{locations.region(project)}/clusters/{alloydb.cluster}"
