"""AlloyDB: the cluster in its network, and its primary instance."""

from collections.abc import Callable
from typing import Any

from lib.cloud import locations
from lib.cloud.clients import Clients
from lib.cloud.kind import Kind, by_state
from lib.cloud.resource import Resource

_CONSOLE = "https://console.cloud.google.com/alloydb/clusters"
ADMINISTRATOR = "postgres"

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
    wholes=("machine_config",),
    request_ids=True,
    console=_CONSOLE,
)


def cluster(
    clients: Clients,
    project: Any,
    network: Any,
    alloydb: Any,
    password: Callable[[], str],
    protected: bool,
) -> Resource[Any]:
    """The cluster on the network; ``password`` becomes the administrator's when it is created."""
    return Resource(
        clients,
        CLUSTER,
        locations.region(project),
        alloydb.cluster,
        {
            "network_config": {"network": locations.network(project, network)},
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
    return Resource(
        clients,
        INSTANCE,
        f"{locations.region(project)}/clusters/{alloydb.cluster}",
        alloydb.primary,
        {
            "instance_type": "PRIMARY",
            "machine_config": {"cpu_count": alloydb.cpu_count},
            "database_flags": dict(alloydb.flags),
            "labels": dict(project.labels),
            **public,
        },
        project=project.id,
        protected=protected,
    )
