"""Where the platform can stand: the region, the network, and the addresses of AlloyDB."""

from functools import partial
from typing import Any

from lib.engine.unknown import Unknown


def address_of(step: Any, cloud: Any, settings: Any, id: str, instance: Any) -> Any:
    """The address of the instance ``id``; in Private Service Connect its endpoint is made here.

    ``instance`` is what was made of it.  In a dry run the address may be unknown.
    """
    if settings.alloydb.ip_type != "PSC":
        return instance.ip_address
    project, network = settings.project, settings.network
    address = step.make(cloud.alloydb_endpoint_address(project, network, id))
    step.make(cloud.alloydb_endpoint(project, network, id, instance, address))
    return address if isinstance(address, Unknown) else address.values["address"]


def needs_private_access(settings: Any) -> bool:
    """Whether the network has to be connected to Google's services by a range of addresses.

    AlloyDB needs it but in Private Service Connect, Memorystore on the network of another project.
    """
    from lib.cloud import locations

    shared = locations.is_shared(settings.project, settings.network)
    return shared or settings.alloydb.ip_type != "PSC"


def check_region(step: Any, cloud: Any, settings: Any, services: Any) -> None:
    """The region has every product that can be asked for, before anything is made there.

    ``services`` are the enabled ones; nothing can be asked before.  Raises ``RegionNotOffered``.
    """
    if isinstance(services, Unknown):
        return
    products = {"alloydb": "AlloyDB", "redis": "Memorystore for Redis"}
    if settings.vectors.backend == "vertex":
        products["indexes"] = "Vertex AI vector search"
    for service, product in products.items():
        step.check(product, partial(cloud.require_region, settings.project, product, service))
