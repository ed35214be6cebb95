"""Who uses a network: what producers of services demand of it, and what keeps it in place.

Memorystore refuses with the words of its page on troubleshooting ("Google private service access is
not enabled").  AlloyDB's documentation demands the connection before a cluster is made; its words
and the codes for a network that is absent were never seen, and follow Google's design rules here.
"""

from collections.abc import Iterator
from typing import Any, Final

from lib.localcloud import errors
from lib.localcloud.core import Core

NETWORKS: Final = "google.cloud.compute.v1.Networks"
SUBNETWORKS: Final = "google.cloud.compute.v1.Subnetworks"
CONNECTIONS: Final = "google.cloud.servicenetworking.v1.ServicePeeringManager"
ALLOYDB: Final = "google.cloud.alloydb.v1.AlloyDBAdmin"
REDIS: Final = "google.cloud.redis.v1.CloudRedis"
WORKSTATIONS: Final = "google.cloud.workstations.v1.Workstations"
PRIVATE_SERVICE_ACCESS: Final = 2  # google.cloud.redis.v1.Instance.ConnectMode


def require_network(core: Core, network: str) -> str:
    """The canonical name of a network that stays; NOT_FOUND where it is absent or is going."""
    return _require(core, NETWORKS, "Network", network)


def require_subnetwork(core: Core, subnetwork: str, network: str) -> None:
    """NOT_FOUND where the subnetwork is absent or is going, INVALID_ARGUMENT in another network."""
    name = _require(core, SUBNETWORKS, "Subnetwork", subnetwork)
    found: Any = core.service(SUBNETWORKS)
    if not found.documents.require(name)["network"].endswith(f"/{core.canonical(network)}"):
        raise errors.invalid("subnetwork", f"{subnetwork} is not valid for network {network}")


def is_connected(core: Core, network: str) -> bool:
    """Whether a network has its connection for private services access, and keeps it."""
    name = core.canonical(network)
    connections: Any = core.service(CONNECTIONS)
    return connections.documents.find(name) is not None and not _going(core, CONNECTIONS, name)


def users_of_connection(core: Core, network: str) -> Iterator[str]:
    """What Google's services keep in a network through its connection."""
    for name, cluster in _everything(core, ALLOYDB, "Cluster"):
        if core.canonical(cluster.network_config.network) == network:
            yield name
    for name, instance in _everything(core, REDIS, "Instance"):
        if instance.connect_mode == PRIVATE_SERVICE_ACCESS and _is_in(core, instance, network):
            yield name


def users_of_network(core: Core, network: str) -> Iterator[str]:
    """What stands in a network besides what Compute itself keeps there."""
    connections: Any = core.service(CONNECTIONS)
    beginning = (row.service == CONNECTIONS for row in core.store.open_operations(network))
    if connections.documents.find(network) or any(beginning):
        yield f"{network}/peerings/servicenetworking-googleapis-com"
    yield from users_of_connection(core, network)
    for name, instance in _everything(core, REDIS, "Instance"):
        if _is_in(core, instance, network):
            yield name
    for name, cluster in _everything(core, WORKSTATIONS, "WorkstationCluster"):
        if core.canonical(cluster.network) == network:
            yield name


def users_of_subnetwork(core: Core, subnetwork: str) -> Iterator[str]:
    """The workstation clusters of a subnetwork."""
    for name, cluster in _everything(core, WORKSTATIONS, "WorkstationCluster"):
        if core.canonical(cluster.subnetwork) == subnetwork:
            yield name


def _require(core: Core, service: str, kind: str, given: str) -> str:
    name = core.canonical(given)
    found: Any = core.service(service)
    if found.documents.find(name) is None or _going(core, service, name):
        raise errors.not_found(given, kind)
    return name


def _going(core: Core, service: str, name: str) -> bool:
    """Whether it is being deleted."""
    rows = core.store.open_operations(name)
    return any(row.service == service and row.rpc.startswith("Delete") for row in rows)


def _everything(core: Core, service: str, kind: str) -> list[tuple[str, Any]]:
    owner: Any = core.service(service)
    found: list[tuple[str, Any]] = owner.of_kind[kind].everything()
    return found


def _is_in(core: Core, instance: Any, network: str) -> bool:
    return core.canonical(instance.authorized_network) == network
