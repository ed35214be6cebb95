"""Full names of places and networks, as the services write them, and what is offered where."""

from typing import Any

from lib.cloud.clients import Clients
from lib.cloud.errors import ApiNotEnabled, Situation, region_not_offered, told
from lib.cloud.operations import patiently, pauses


def region(project: Any) -> str:
    """``projects/P/locations/R`` of project settings."""
    return f"projects/{project.id}/locations/{project.region}"


def network(project: Any, settings: Any) -> str:
    """The full name of the VPC network; a name that is full already is kept."""
    name = settings.name
    return name if "/" in name else f"projects/{project.id}/global/networks/{name}"


def is_shared(project: Any, settings: Any) -> bool:
    """Whether the network is of another project (a shared VPC)."""
    return network(project, settings).split("/")[1] != str(project.id)


def subnetwork(project: Any, settings: Any) -> str:
    """The full name of the subnetwork in the project's region."""
    name = settings.subnetwork
    if "/" in name:
        return str(name)
    return f"projects/{project.id}/regions/{project.region}/subnetworks/{name}"


def require_region(clients: Clients, project: Any, product: str, service: str) -> None:
    """Ask the ``service`` of a product for its regions (one read).

    Raises ``RegionNotOffered`` where the project's is none of them.  An API that was enabled just
    now may not be known everywhere yet: it is asked again for ``polling.patience`` seconds.
    """
    polling = clients.target.polling
    situation = Situation(product, project.id, clients.target.kind)
    request = {"name": f"projects/{project.id}", "page_size": 500}
    for waited in pauses(polling, product):
        try:
            with told(situation):
                found = clients.get(service).list_locations(
                    request=request, retry=patiently(polling), timeout=polling.call
                )
            break
        except ApiNotEnabled:
            if waited > polling.patience:
                raise
    offered = sorted(each.location_id for each in found.locations)
    if project.region not in offered:
        raise region_not_offered(product, project.region, offered)
