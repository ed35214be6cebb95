"""The service attachments of AlloyDB instances in Private Service Connect, and who may use them."""

import uuid
from typing import Any, Final

from lib.localcloud.core import Core
from lib.localcloud.names import parent_of
from lib.localcloud.services.compute import FORWARDING_RULES, LINK

ALLOYDB: Final = "google.cloud.alloydb.v1.AlloyDBAdmin"
DOMAIN: Final = "alloydb-psc.goog."


def link(instance: Any) -> str:
    """The attachment's link: in a project of Google's, which nobody else sees."""
    own, region = uuid.UUID(instance.uid), instance.name.split("/")[3]
    tenant = 10**11 + own.int % (9 * 10**11)
    return f"{LINK}projects/{tenant}/regions/{region}/serviceAttachments/alloydb-{own.hex[:20]}"


def find(core: Core, target: str) -> Any | None:
    """The instance whose attachment a link names, or None."""
    alloydb: Any = core.service(ALLOYDB)
    for _, instance in alloydb.of_kind["Instance"].everything():
        known = instance.psc_instance_config.service_attachment_link
        if known and known.removeprefix(LINK) == target.removeprefix(LINK):
            return instance
    return None


def cluster_of(core: Core, instance: Any) -> Any:
    """The cluster of an instance."""
    alloydb: Any = core.service(ALLOYDB)
    return alloydb.of_kind["Cluster"].require(parent_of(instance.name))


def allows(core: Core, instance: Any, project: str) -> bool:
    """Whether endpoints in a project (by its id) may connect to the instance."""
    allowed = instance.psc_instance_config.allowed_consumer_projects
    return project in {core.project_id(each.removeprefix("projects/")) for each in allowed}


def dns_name(core: Core, instance: Any) -> str:
    """The instance's name in DNS.

    No DNS is served here, where the consumer's record would say which address that is: once an
    endpoint is connected its address is the name.
    """
    rules: Any = core.service(FORWARDING_RULES)
    target = instance.psc_instance_config.service_attachment_link
    for name, document in rules.documents.everything():
        if document["target"] == target and rules.status(name, document) == "ACCEPTED":
            return f"{document['IPAddress']}."
    own, region = uuid.UUID(instance.uid).hex, instance.name.split("/")[3]
    return f"{own[:20]}.{own[20:]}.{region}.{DOMAIN}"
