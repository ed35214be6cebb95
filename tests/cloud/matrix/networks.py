"""Rows of networks, their connection to Google's services, and Private Service Connect."""

import dataclasses
from collections.abc import Callable
from typing import Any

from lib.cloud.networks import Seen
from tests.cloud.matrix.mutation import Mutation, project, undoing
from tests.cloud.matrix.world import Build, Case

COMPUTE = ("network", "subnetwork", "services_range", "private_connection")


def _network(case: Case) -> Any:
    return case.settings("network", name=case.id, subnetwork=case.id, services_range=case.id)


def _part(name: str) -> Build:
    return lambda case: getattr(case.cloud, name)(case.project, _network(case))


def _parts(*names: str) -> Callable[[Case], list[Any]]:
    return lambda case: [*project(case), *(_part(name)(case) for name in names)]


def _second_range(case: Case) -> Any:
    return dataclasses.replace(_network(case), services_range=f"{case.id}-b")


def _address(case: Case) -> Any:
    return case.cloud.alloydb_endpoint_address(case.project, _network(case), case.id)


def _connectable(case: Case) -> list[Any]:
    """An instance in Private Service Connect, and an address for its endpoint."""
    own = case.settings("alloydb", cluster=case.id, ip_type="PSC")
    return [
        *_parts("network", "subnetwork")(case),
        case.cloud.alloydb_cluster(case.project, _network(case), own, lambda: "password"),
        case.cloud.alloydb_instance(case.project, own),
        _address(case),
    ]


def _endpoint(case: Case) -> Any:
    own = case.settings("alloydb", cluster=case.id, ip_type="PSC")
    instance = case.cloud.alloydb_instance(case.project, own).observe()
    address: Seen = _address(case).observe()
    return case.cloud.alloydb_endpoint(case.project, _network(case), case.id, instance, address)


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("Networks/Insert", "compute.networks.create", _part("network"), project),
    undoing("Networks/Delete", "compute.networks.delete", _part("network"), project),
    Mutation(
        "Subnetworks/Insert",
        "compute.subnetworks.create",
        _part("subnetwork"),
        _parts("network"),
    ),
    undoing(
        "Subnetworks/Delete",
        "compute.subnetworks.delete",
        _part("subnetwork"),
        _parts("network"),
    ),
    Mutation(
        "GlobalAddresses/Insert",
        "compute.globalAddresses.create",
        _part("services_range"),
        _parts("network"),
    ),
    undoing(
        "GlobalAddresses/Delete",
        "compute.globalAddresses.delete",
        _part("services_range"),
        _parts("network"),
    ),
    Mutation(
        "servicenetworking/CreateConnection",
        "servicenetworking.services.addPeering",
        _part("private_connection"),
        _parts("network", "services_range"),
    ),
    Mutation(
        "servicenetworking/UpdateConnection",
        "servicenetworking.services.addPeering",
        lambda c: c.cloud.private_connection(c.project, _second_range(c)),
        lambda c: [*_parts(*COMPUTE)(c), c.cloud.services_range(c.project, _second_range(c))],
        idempotent=True,
    ),
    undoing(
        "servicenetworking/DeleteConnection",
        "servicenetworking.services.deleteConnection",
        _part("private_connection"),
        _parts("network", "services_range"),
    ),
    Mutation(
        "Addresses/Insert",
        "compute.addresses.create",
        _address,
        _parts("network", "subnetwork"),
    ),
    undoing(
        "Addresses/Delete", "compute.addresses.delete", _address, _parts("network", "subnetwork")
    ),
    Mutation(
        "ForwardingRules/Insert",
        "compute.forwardingRules.create",
        _endpoint,
        _connectable,
        short=False,
    ),
    undoing("ForwardingRules/Delete", "compute.forwardingRules.delete", _endpoint, _connectable),
)
