"""What exists in the project and how to connect to it, for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lib.cloud.errors import PermissionMissing
from lib.cloud.resource import Resource


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the inventory; ``connect`` is a command or an address, without secrets."""

    kind: str
    name: str
    state: str
    address: str
    connect: str


def rows(resources: Iterable[Resource[Any]], database: str = "postgres") -> tuple[Item, ...]:
    """A row for each resource, also for those that don't exist (network)."""
    return tuple(_row(each, database) for each in resources)


def _row(resource: Resource[Any], database: str) -> Item:
    noun, id = resource.kind.noun, resource.id
    try:
        found: Any = resource.observe()
    except PermissionMissing:
        return Item(noun, id, "not allowed to look", "", "")
    if found is None:
        return Item(noun, id, "absent", "", "")
    address, connect = _reach(resource, found, database)
    return Item(noun, id, _state(resource, found), address, connect)


def _state(resource: Resource[Any], found: Any) -> str:
    state = getattr(found, "state", None)
    return str(state.name if state is not None else resource.kind.condition(found).name)


def _reach(resource: Resource[Any], found: Any, database: str) -> tuple[str, str]:
    kind = resource.kind
    project = resource.name.split("/")[1]
    if kind.noun == "AlloyDB instance":
        return f"{found.ip_address}:5432", f"psql -h {found.ip_address} -U postgres {database}"
    if kind.service == "redis":
        address = f"{found.host}:{found.port}"
        tls = " --tls --cacert server-ca.pem" if found.server_ca_certs else ""
        return address, f"redis-cli -h {found.host} -p {found.port} --askpass{tls}"
    if kind.thing == "workstation":
        _, _, _, region, _, cluster, _, config, _, id = resource.name.split("/")
        command = (
            f"gcloud workstations ssh {id} --cluster={cluster} --config={config} "
            f"--region={region} --project={project}"
        )
        return found.host, command
    if kind.service == "run":
        return found.uri, f"curl {found.uri}"
    if kind.service == "projects":
        return found.parent, f"gcloud config set project {resource.id}"
    return "", ""
