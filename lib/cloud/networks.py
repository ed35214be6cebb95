"""The network: VPC, subnetwork, a range for Google's services, and the connection to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.cloud.clients import Clients
from lib.cloud.converging import Converging
from lib.cloud.errors import (
    AlreadyTaken,
    NotFound,
    OperationFailed,
    translate,
)
from lib.cloud.kind import MADE_BY
from lib.cloud.operations import pauses
from lib.cloud.rest import RestClient, Values
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange, Json
from lib.engine.errors import CannotUndo

SERVICE = "servicenetworking.googleapis.com"
_CONNECTIONS = f"/v1/services/{SERVICE}/connections"
PEERING = "servicenetworking-googleapis-com"
"""The name that Google gives the connection (vpc-peerings list shows it)."""
_MARK = f"created-by: {next(iter(MADE_BY.values()))}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A part of the network as it is: its full name, and what the API tells of it."""

    name: str
    values: Mapping[str, Any]


class Part(Converging[Seen]):
    """One part of a network in Compute; ``wanted`` is compared and made, ``made`` only made.

    What it is asked to be is never changed in place: a range or network that differs is refused.
    """

    api = "compute"
    instead = "set what is there under [network] in the environment file, or another name"

    def __init__(
        self,
        clients: Clients,
        project: str,
        noun: str,
        name: str,
        wanted: Values,
        made: Values,
        protected: bool,
    ) -> None:
        super().__init__(clients, f"{noun} {name.rpartition('/')[2]}", project, protected)
        self.name = name
        self._collection, _, self._id = name.rpartition("/")
        self._scope = self._collection.rpartition("/")[0]
        self._wanted = wanted
        self._made = made

    # -- the engine's contract ---------------------------------------------------------------

    def observe(self) -> Seen | None:
        """The part as it is now, or None (one read)."""
        try:
            return Seen(self.name, self.client.read(f"/compute/v1/{self.name}", self._situation))
        except NotFound:
            return None

    def plan(self, observed: Seen | None) -> Change:
        """Create it, or nothing; REPLACE where it differs in what can't be changed."""
        there = observed.values if observed is not None else {}
        changed = tuple(
            FieldChange(name, there.get(name), value)
            for name, value in self._wanted.items()
            if not _same(value, there.get(name))
        )
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject, changed)
        if changed:
            reason = "differs in what can't be changed in place"
            return Change(ChangeKind.REPLACE, self.subject, changed, reason)
        return Change(ChangeKind.NONE, self.subject)

    def _take_back(self, change: Change, journal: Journal) -> None:
        """Delete what was created, and nothing else."""
        self._finish(journal)
        observed = self.observe()
        if change.kind is not ChangeKind.CREATE or observed is None:
            return
        if self._protected or observed.values.get("description") != _MARK:
            raise CannotUndo(f"{self.subject} is kept: it is protected, or not of our making.")
        answer = self.client.write(
            "DELETE", f"/compute/v1/{self.name}", {}, self._situation,
            requestId=self._request_id(journal),
        )  # fmt: skip
        self._follow(answer["name"], journal)

    # -- inside --------------------------------------------------------------------------------

    @property
    def client(self) -> RestClient:
        """The REST calls of the part's API."""
        return self._clients.rest(self.api)

    def _change(self, observed: Seen | None, change: Change, journal: Journal) -> None:  # noqa: ARG002
        body = {"name": self._id, "description": _MARK, **self._wanted, **self._made}
        try:
            answer = self.client.write(
                "POST", f"/compute/v1/{self._collection}", body, self._situation,
                requestId=self._request_id(journal),
            )  # fmt: skip
        except AlreadyTaken:
            return  # An attempt before this one made it unheard: it is looked at again.
        self._follow(answer["name"], journal)

    def _wait(self, name: str, journal: Journal) -> None:
        path = f"/compute/v1/{self._scope}/operations/{name}"
        for _ in pauses(self._polling, self.subject, journal):
            operation = self.client.read(path, self._situation)
            if operation["status"] == "DONE":
                if "error" in operation:
                    texts = [each.get("message", "") for each in operation["error"]["errors"]]
                    raise self._failure(operation.get("httpErrorStatusCode", 500), texts)
                return

    def _failure(self, http: int, texts: list[str]) -> Exception:
        from google.api_core import exceptions as api

        text = "; ".join(texts)
        meant = translate(api.from_http_status(http, text), self._situation)  # type: ignore[no-untyped-call]
        return OperationFailed(
            f"{self.subject}: the operation failed: {text}",
            expected="the operation to succeed",
            remedy=meant.remedy or "run again",
        )


class Connection(Part):
    """The network is connected to Google's services through a range of its own."""

    api = "servicenetworking"

    def __init__(
        self, clients: Clients, project: str, network: str, range_id: str, protected: bool
    ) -> None:
        super().__init__(
            clients, project, "private connection of network", network, {}, {}, protected
        )
        self._range = range_id

    def observe(self) -> Seen | None:
        """The connection of the network, or None (two reads: one where the network is absent)."""
        try:
            values = {"network": self.name}
            answer = self.client.read(_CONNECTIONS, self._situation, **values)
        except NotFound:
            return None
        for each in answer.get("connections", []):
            if each.get("service", f"services/{SERVICE}") == f"services/{SERVICE}":
                return Seen(self.name, each)
        return None

    def plan(self, observed: Seen | None) -> Change:
        """Connect, or add our range to those of a connection."""
        ranges = list(observed.values.get("reservedPeeringRanges", [])) if observed else []
        if self._range in ranges:
            return Change(ChangeKind.NONE, self.subject)
        kind = ChangeKind.UPDATE if observed is not None else ChangeKind.CREATE
        field = FieldChange("reservedPeeringRanges", ranges or None, [*ranges, self._range])
        return Change(kind, self.subject, (field,))

    def _take_back(self, change: Change, journal: Journal) -> None:
        """Delete a connection that was made; give one that was there its own ranges back.

        Google refuses to delete one that something still uses.
        """
        self._finish(journal)
        if self.observe() is None or change.kind is ChangeKind.NONE:
            return
        if self._protected:
            raise CannotUndo(f"{self.subject} is kept: it is protected.")
        if change.kind is ChangeKind.CREATE:
            path, body = f"{_CONNECTIONS}/{PEERING}", {"consumerNetwork": self.name}
            answer = self.client.write("POST", path, body, self._situation)
        else:
            answer = self._patch(change.fields[0].old)
        self._follow(answer["name"], journal)

    def _change(self, observed: Seen | None, change: Change, journal: Journal) -> None:  # noqa: ARG002
        there = list(observed.values.get("reservedPeeringRanges", [])) if observed else []
        if observed is None:
            body = {"network": self.name, "reservedPeeringRanges": [self._range]}
            answer = self.client.write("POST", _CONNECTIONS, body, self._situation)
        else:
            answer = self._patch([*there, self._range])
        self._follow(answer["name"], journal)

    def _patch(self, ranges: Json) -> Values:
        body = {"network": self.name, "reservedPeeringRanges": ranges}
        return self.client.write(
            "PATCH", f"{_CONNECTIONS}/-", body, self._situation,
            updateMask="reservedPeeringRanges",
        )  # fmt: skip

    def _wait(self, name: str, journal: Journal) -> None:
        for _ in pauses(self._polling, self.subject, journal):
            operation = self.client.read(f"/v1/{name}", self._situation)
            if operation.get("done"):
                if "error" in operation:
                    raise self._failure(500, [operation["error"].get("message", "")])
                return


def network(clients: Clients, project: Any, settings: Any, protected: bool) -> Part:
    """The VPC network; one that is there is taken as it is, a new one has no subnetworks."""
    name = full_network(project, settings)
    made = {"autoCreateSubnetworks": False, "routingConfig": {"routingMode": "REGIONAL"}}
    return Part(clients, project.id, "network", name, {}, made, protected)


def subnetwork(clients: Clients, project: Any, settings: Any, protected: bool) -> Part:
    """The subnetwork; one that is there keeps its range, a new one gets the one of the settings."""
    from lib.cloud import locations

    name = locations.subnetwork(project, settings)
    wanted = {"network": full_network(project, settings)}
    made = {"ipCidrRange": settings.subnetwork_range, "privateIpGoogleAccess": True}
    return Part(clients, project.id, "subnetwork", name, wanted, made, protected)


def services_range(clients: Clients, project: Any, settings: Any, protected: bool) -> Part:
    """The range of addresses that Google's services take in the network."""
    network = full_network(project, settings)
    name = f"{network.partition('/global/')[0]}/global/addresses/{settings.services_range}"
    wanted = {"network": network, "purpose": "VPC_PEERING"}
    made = {"addressType": "INTERNAL", "prefixLength": settings.services_prefix}
    return Part(clients, project.id, "address range", name, wanted, made, protected)


def connection(clients: Clients, project: Any, settings: Any, protected: bool) -> Connection:
    """The private connection of the network to Google's services."""
    network = full_network(project, settings)
    return Connection(clients, project.id, network, settings.services_range, protected)


def full_network(project: Any, settings: Any) -> str:
    """The full name of the network, also of one in another project (a shared VPC)."""
    from lib.cloud import locations

    return locations.network(project, settings)


def _same(wanted: Any, there: Any) -> bool:
    """Equal; a name counts as the link that ends in it, also by the project's number."""
    if isinstance(wanted, str) and isinstance(there, str) and there.startswith("https://"):
        own = there.rpartition("/v1/")[2].split("/")
        return own[2:] == wanted.split("/")[2:] and (
            own[1] == wanted.split("/")[1] or own[1].isdigit()
        )
    return bool(wanted == there)
