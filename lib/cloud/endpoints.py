"""An endpoint of Private Service Connect: an internal address, and the rule that leads from it.

An AlloyDB instance in Private Service Connect has a service attachment and no address; whoever
wants to reach it makes an endpoint for it in a network of their own (Google, "Connect to an
instance using Private Service Connect").
"""

from typing import Any

from lib.cloud import locations
from lib.cloud.clients import Clients
from lib.cloud.errors import Precondition
from lib.cloud.networks import Part, Seen
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.unknown import Unknown

SUFFIX = "-psc"
"""What the names of an instance's address and rule have after the instance's id."""

_WAITING = ("PENDING", "STATUS_UNSPECIFIED", None)


class Endpoint(Part):
    """The forwarding rule from an address to an instance, connected.

    ``instance`` and ``address`` are what was observed of both; unknown in a dry run before them.
    """

    instead = "delete the forwarding rule, which leads to another instance, and run again"

    def __init__(
        self,
        clients: Clients,
        project: Any,
        network: Any,
        id: str,
        instance: Any,
        address: Seen | Unknown,
        protected: bool,
    ) -> None:
        made = {"loadBalancingScheme": ""}
        name = f"{_region(project)}/forwardingRules/{id}{SUFFIX}"
        noun = "Private Service Connect endpoint"
        super().__init__(clients, project.id, noun, name, {}, made, protected)
        self._network = locations.network(project, network)
        self._instance = instance
        self._address = address

    def plan(self, observed: Seen | None) -> Change:
        """Make it, wait until it is connected, or nothing; unknown before its instance is made."""
        if isinstance(self._instance, Unknown) or isinstance(self._address, Unknown):
            reason = "made after its instance and its address"
            return Change(ChangeKind.UNKNOWN, self.subject, reason=reason)
        link = str(self._instance.psc_instance_config.service_attachment_link)
        self._wanted = {
            "target": link.rpartition("/compute/v1/")[2],
            "IPAddress": self._address.values["address"],
            "network": self._network,
        }
        change = super().plan(observed)
        if observed is None or change.kind is not ChangeKind.NONE:
            return change
        if _status(observed) == "ACCEPTED":
            return change
        field = FieldChange("pscConnectionStatus", _status(observed), "ACCEPTED")
        return Change(ChangeKind.UPDATE, self.subject, (field,), "waits until it is connected")

    def _change(self, observed: Seen | None, change: Change, journal: Journal) -> None:
        if observed is None:
            super()._change(observed, change, journal)
        elif _status(observed) not in _WAITING:
            instance = self._instance.name.split("/")
            raise Precondition(
                f"{self.subject} is {_status(observed)}: the instance does not let it in.",
                expected="an instance that allows endpoints in this project",
                remedy=f"gcloud alloydb instances update {instance[-1]} --cluster={instance[-3]} "
                f"--region={instance[3]} --allowed-psc-projects=PROJECT_NUMBER",
            )


def endpoint_address(
    clients: Clients, project: Any, network: Any, id: str, protected: bool
) -> Part:
    """The internal address, in the subnetwork, of the endpoint of the instance ``id``."""
    name = f"{_region(project)}/addresses/{id}{SUFFIX}"
    wanted = {"subnetwork": locations.subnetwork(project, network)}
    made = {"addressType": "INTERNAL"}
    return Part(clients, project.id, "internal address", name, wanted, made, protected)


def _region(project: Any) -> str:
    return f"projects/{project.id}/regions/{project.region}"


def _status(observed: Seen) -> Any:
    return observed.values.get("pscConnectionStatus")
