"""Compute v1, endpoints of Private Service Connect: an internal address and its forwarding rule.

An address is one of this machine instead of the subnetwork's range; the rule passes connections to
it on to an AlloyDB instance as long as that allows its project.  Rules for load balancers, and
external addresses, are refused.
"""

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from typing import Any, ClassVar, Final

from lib.localcloud import certificates, errors
from lib.localcloud.documents import Document, Documents
from lib.localcloud.operations import Finish
from lib.localcloud.process import LocalProcess
from lib.localcloud.services import alloydb_attachments as attachments
from lib.localcloud.services.alloydb_proxies import PORT as PROXY_PORT
from lib.localcloud.services.alloydb_proxies import Authority
from lib.localcloud.services.compute import (
    FORWARDING_RULES,
    LINK,
    REGIONAL_ADDRESSES,
    Compute,
    routes_of,
)
from lib.localcloud.services.private_access import SUBNETWORKS, require_subnetwork
from lib.localcloud.store import OperationRow

DATABASE_PORT: Final = 5432
HOST: Final = re.compile(r"https://[\w./-]+/compute/(v1|beta)/")
ATTACHMENT: Final = re.compile(r"projects/[^/]+/regions/([^/]+)/serviceAttachments/[^/]+")


def _relative(link: Any) -> str:
    """A link without the host before it."""
    return HOST.sub("", str(link or ""))


class Addresses(Compute):
    """Internal addresses of a region, each in a subnetwork."""

    proto = REGIONAL_ADDRESSES
    routes = routes_of("regions/{region}", "addresses", "address")
    kind, collection, variable, permission = "Address", "addresses", "address", "addresses"
    besides: ClassVar = {
        "create": ("compute.addresses.createInternal", "compute.subnetworks.use"),
        "delete": ("compute.addresses.deleteInternal",),
    }

    def check(self, name: str, document: Document) -> None:
        place = "/".join(name.split("/")[:4])
        document.setdefault("purpose", "GCE_ENDPOINT")
        if (document.get("addressType"), document["purpose"]) != ("INTERNAL", "GCE_ENDPOINT"):
            raise errors.invalid(
                "addressType", "the embedded cloud has INTERNAL addresses for GCE_ENDPOINT only"
            )
        if document.get("address"):
            raise errors.invalid("address", "the embedded cloud chooses addresses; leave it out")
        subnetwork = self.core.canonical(_relative(document.get("subnetwork")))
        if subnetwork.split("/")[2:4] != place.split("/")[2:4]:
            raise errors.invalid("subnetwork", f"'{subnetwork}' is no subnetwork of {place}")
        found = self.collection_of(SUBNETWORKS).documents.require(subnetwork)
        require_subnetwork(self.core, subnetwork, _relative(found["network"]))
        document |= {"subnetwork": LINK + subnetwork, "region": LINK + place, "status": "RESERVED"}

    def store_new(self, name: str, document: Document) -> None:
        document["address"] = self.core.addresses.of(name, DATABASE_PORT)
        super().store_new(name, document)

    def drop(self, name: str) -> None:
        super().drop(name)
        self.core.addresses.release(name)

    def present(self, name: str, document: Document) -> Document:
        users = [*self.users(name)]
        if not users:
            return document
        return {**document, "status": "IN_USE", "users": [LINK + user for user in users]}

    def users(self, name: str) -> Iterator[str]:
        rules = self.collection_of(FORWARDING_RULES)
        address = self.documents.require(name)["address"]
        for own, rule in rules.documents.everything():
            if rule["IPAddress"] == address:
                yield own
        for row in self.core.store.open_operations():
            begun = (row.service, row.rpc) == (FORWARDING_RULES, "Insert")
            if begun and json.loads(row.payload)["IPAddress"] == address:
                yield row.target

    def named(self, given: str, place: str) -> tuple[str, Document]:
        """The address of a region (``place``) that a link or the address itself names."""
        name = self.core.canonical(_relative(given))
        for own, document in self.documents.everything():
            if own.startswith(f"{place}/") and given and name in (own, document["address"]):
                return own, document
        raise errors.invalid("IPAddress", f"'{given}' is no address that is reserved in {place}")


class Endpoints(Documents):
    """Forwarding rules, behind each of which a process passes connections on."""

    backed: ClassVar[bool] = True

    def alive(self, document: Document) -> bool:
        """Whether connections are passed on just where they should be."""
        return self._process(document).running() is (self._reached(document) is not None)

    def revive(self, document: Document) -> None:
        """Pass connections on, or no more, as the instance allows."""
        instance, process = self._reached(document), self._process(document)
        if instance is None:
            process.stop()
            return
        core, host = self.service.core, document["IPAddress"]
        signer = Authority(core.state, attachments.cluster_of(core, instance).uid).pair()
        own = certificates.server(
            process.folder, host, signer=signer, lifetime=certificates.LONG
        )  # whoever comes by the endpoint looks for its address in the certificate
        files = (signer.certificate, own.certificate, own.key)
        process.start(
            "lib.localcloud.endpoint",
            [str(core.state), instance.name, *map(str, files), instance.ip_address, host],
        )
        for port in (DATABASE_PORT, PROXY_PORT):
            process.await_listening(host, port)

    def halt(self, document: Document) -> None:
        """Pass no more connections on."""
        self._process(document).stop()

    def remove(self, document: Document) -> None:
        """Pass no more connections on, for good."""
        self.halt(document)
        shutil.rmtree(self._process(document).folder, ignore_errors=True)

    def state_name(self, document: Document) -> str:
        """The state of the connection."""
        rules: Any = self.service
        return str(rules.status(_relative(document["selfLink"]), document))

    def where(self, document: Document) -> str:
        """Its address."""
        return str(document["IPAddress"])

    def _reached(self, document: Document) -> Any | None:
        """The instance where connections go, if they may."""
        if self.state_name(document) != "ACCEPTED":
            return None
        return attachments.find(self.service.core, document["target"])

    def _process(self, document: Document) -> LocalProcess:
        return LocalProcess(self.service.core.state / "endpoints" / document["id"])


class ForwardingRules(Compute):
    """Forwarding rules of a region whose target is a service attachment."""

    proto = FORWARDING_RULES
    routes = routes_of("regions/{region}", "forwardingRules", "forwardingRule")
    kind, collection, variable, permission = (
        "ForwardingRule", "forwardingRules", "forwardingRule", "forwardingRules",
    )  # fmt: skip
    besides: ClassVar = {
        "create": ("compute.forwardingRules.pscCreate", "compute.addresses.use",
                   "compute.networks.use", "compute.subnetworks.use"),
        "delete": ("compute.forwardingRules.pscDelete",),
    }  # fmt: skip

    def keeps(self) -> Documents:
        return Endpoints(self, self.kind)

    def check(self, name: str, document: Document) -> None:
        place = "/".join(name.split("/")[:4])
        if document.pop("loadBalancingScheme", ""):
            raise errors.invalid("loadBalancingScheme", "must be empty for a service attachment")
        target = _relative(document.get("target"))
        match = ATTACHMENT.fullmatch(target)
        if match is None or match[1] != place.split("/")[3]:
            raise errors.invalid("target", f"'{target}' is no service attachment of the region")
        if attachments.find(self.core, target) is None:
            raise errors.not_found(target, "ServiceAttachment")
        network = self.network_of(document)
        addresses = self.collection_of(REGIONAL_ADDRESSES)
        assert isinstance(addresses, Addresses)
        own, address = addresses.named(str(document.get("IPAddress", "")), place)
        require_subnetwork(self.core, _relative(address["subnetwork"]), network)
        if user := next(addresses.users(own), ""):
            raise errors.invalid(
                "IPAddress", f"'{address['address']}' is already being used by '{user}'"
            )
        document |= {
            "IPAddress": address["address"], "target": LINK + target, "region": LINK + place,
            "pscConnectionId": str(secrets.randbits(56)),
        }  # fmt: skip

    def status(self, name: str, document: Document) -> str:
        """The state of the connection, as the instance behind it allows."""
        instance = attachments.find(self.core, document["target"])
        if instance is None:
            return "CLOSED"
        allowed = attachments.allows(self.core, instance, name.split("/")[1])
        return "ACCEPTED" if allowed else "REJECTED"

    def present(self, name: str, document: Document) -> Document:
        return {**document, "pscConnectionStatus": self.status(name, document)}

    def within(self, network: str) -> Iterator[tuple[str, Document]]:
        """Also those of projects that share the network."""
        for name, document in self.documents.everything():
            if document["network"] == LINK + network:
                yield name, document

    def work(self, row: OperationRow) -> Finish:
        """Pass connections on, or no more, before it is told."""
        document, kept = json.loads(row.payload), self._endpoints
        if row.rpc == "Delete":
            kept.remove(document)
        else:
            kept.revive(document)
        return super().work(row)

    def failed(self, row: OperationRow, _error: errors.RpcError) -> None:
        """Nothing is passed on for a rule that was not made."""
        if row.rpc == "Insert" and self.documents.find(row.target) is None:
            self._endpoints.remove(json.loads(row.payload))

    @property
    def _endpoints(self) -> Endpoints:
        kept = self.documents
        assert isinstance(kept, Endpoints)
        return kept
