"""Full names of places and networks, as the services write them."""

from typing import Any


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
