"""Compute v1, networks alone: VPC networks, subnetworks, global address ranges, operations.

They are kept and checked (names, ranges that overlap, what is in use); no packet passes through
them.
"""

import ipaddress
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from google.protobuf import empty_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from lib.localcloud import errors
from lib.localcloud.core import Call, Core
from lib.localcloud.documents import Document, Documents
from lib.localcloud.locations import REGIONS
from lib.localcloud.operations import Finish
from lib.localcloud.paging import read_token, write_token
from lib.localcloud.rest import HTTP, RestRequest, RestService, Route
from lib.localcloud.services.private_access import (
    NETWORKS,
    SUBNETWORKS,
    require_network,
    users_of_network,
    users_of_subnetwork,
)
from lib.localcloud.store import OperationRow

ROOT: Final = "/compute/v1"
LINK: Final = "https://www.googleapis.com/compute/v1/"
NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
NETWORK: Final = re.compile(
    r"(?:https://[\w./-]+/compute/v1/)?(projects/[^/]+/global/networks/[^/]+)"
)
ADDRESSES: Final = "google.cloud.compute.v1.GlobalAddresses"
REGIONAL_ADDRESSES: Final = "google.cloud.compute.v1.Addresses"
FORWARDING_RULES: Final = "google.cloud.compute.v1.ForwardingRules"
LARGEST_PAGE: Final = 500
AUTOMATIC: Final = ipaddress.ip_network("10.128.0.0/9")
GIVEN: Final = ipaddress.ip_network("10.0.0.0/9")


def routes_of(scope: str, collection: str, variable: str) -> tuple[Route, ...]:
    """Where a collection answers."""
    path = f"{ROOT}/projects/{{project}}/{scope}/{collection}"
    one = f"{path}/{{{variable}}}"
    return (
        Route("GET", one, "Get"), Route("GET", path, "List"),
        Route("POST", path, "Insert", operation=True),
        Route("DELETE", one, "Delete", operation=True),
    )  # fmt: skip


class Compute(RestService):
    """What the collections share: insert and delete are operations, get and list are not."""

    title = "compute.googleapis.com"
    kind: ClassVar[str]
    collection: ClassVar[str]
    variable: ClassVar[str]
    permission: ClassVar[str]
    besides: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Permissions that a verb needs besides its own."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.documents = self.keeps()
        self.of_kind = {self.kind: self.documents}  # type: ignore[dict-item]

    def scope(self, request: RestRequest) -> str:
        """Where the collection stands: ``projects/P/global`` or a region."""
        region = request.values.get("region")
        if region is not None and region not in REGIONS:
            raise errors.not_found(f"projects/{request.values['project']}/regions/{region}")
        return f"projects/{self.project(request)}/{scope_of(request)}"

    def subject(self, rpc: str, request: Any) -> str:
        """The full name, also of what is to be inserted."""
        own = request.body.get("name", "") if rpc == "Insert" else request.values.get(self.variable)
        project = self.core.project_id(request.values.get("project", "")) or "-"
        return f"projects/{project}/{scope_of(request)}/{self.collection}/{own or '-'}"

    def Get(self, call: Call, request: RestRequest) -> Any:
        """One document."""
        name = self._name(request)
        self._require(call, request, "get")
        return self.present(name, self.documents.require(name))

    def List(self, call: Call, request: RestRequest) -> Any:
        """Those of a project's scope."""
        self._require(call, request, "list")
        below = f"{self.scope(request)}/{self.collection}/"
        if request.values.get("filter"):
            raise errors.unimplemented("the embedded cloud filters no lists of Compute")
        size = request.values.get("maxResults", str(LARGEST_PAGE))
        if not re.fullmatch(r"\d{1,3}", size) or not 1 <= int(size) <= LARGEST_PAGE:
            raise errors.invalid("maxResults", f"'{size}' is not 1 to {LARGEST_PAGE}")
        after = read_token(request.values.get("pageToken", ""))
        found = self.documents.everything()
        kept = [each for each in found if each[0].startswith(below) and each[0] > after]
        page = kept[: int(size)]
        told: Document = {"kind": f"compute#{self.variable}List"}
        told["items"] = [self.present(*each) for each in page]
        if len(kept) > len(page):
            told["nextPageToken"] = write_token(page[-1][0])
        return told

    def Insert(self, call: Call, request: RestRequest) -> Any:
        """Create; the same ``requestId`` begins nothing twice."""
        self._require(call, request, "create")
        document = dict(request.body)
        own = str(document.get("name", ""))
        if not NAME.fullmatch(own):
            raise errors.invalid("name", f"'{own}' does not match '{NAME.pattern}'")
        name = f"{self.scope(request)}/{self.collection}/{own}"
        store = self.core.store
        with store.transaction():
            if row := self._begun(request, name):
                return operation(row)
            if self.documents.find(name) or store.open_operations(name):
                raise errors.already_exists(name, self.kind)
            self.check(name, document)
            accepted = self._accept(call, request, name, document)
        self.core.operations.begin(accepted)
        return operation(accepted)

    def Delete(self, call: Call, request: RestRequest) -> Any:
        """Delete what nothing uses; the same ``requestId`` begins nothing twice."""
        self._require(call, request, "delete")
        name = self._name(request)
        with self.core.store.transaction():
            if row := self._begun(request, name):
                return operation(row)
            document = self.documents.require(name)
            user = next(self.users(name), "")
            if user:
                raise errors.invalid(
                    self.variable, f"The resource '{name}' is already being used by '{user}'"
                )
            accepted = self._accept(call, request, name, document)
        self.core.operations.begin(accepted)
        return operation(accepted)

    def keeps(self) -> Documents:
        """What the documents are kept in."""
        return Documents(self, self.kind)

    def present(self, _name: str, document: Document) -> Document:
        """A document as callers see it."""
        return document

    def check(self, _name: str, document: Document) -> None:
        """Refuse what Google refuses, and fill what the caller left out."""

    def users(self, _name: str) -> Iterator[str]:
        """What keeps a resource from being deleted."""
        yield from ()

    def collection_of(self, service: str) -> "Compute":
        """Another collection."""
        found: Any = self.core.service(service)
        assert isinstance(found, Compute)
        return found

    def within(self, network: str) -> Iterator[tuple[str, Document]]:
        """What of this collection is in a network, with its full name."""
        for name, document in self.documents.below(network.split("/")[1]):
            if document["network"] == LINK + network:
                yield name, document

    def network_of(self, document: Document) -> str:
        """The full name of a document's network, which must be there."""
        match = NETWORK.fullmatch(str(document.get("network", "")))
        if match is None:
            raise errors.invalid("network", f"'{document.get('network', '')}' is no network")
        name = require_network(self.core, match[1])
        document["network"] = LINK + name
        return name

    def work(self, row: OperationRow) -> Finish:
        """All changes are one write."""
        document = json.loads(row.payload)

        def finish() -> Message:
            if row.rpc == "Delete":
                self.drop(row.target)
            else:
                self.store_new(row.target, document)
            return empty_pb2.Empty()

        return finish

    def store_new(self, name: str, document: Document) -> None:
        """Write what was inserted."""
        self.documents.save(name, document)

    def drop(self, name: str) -> None:
        """Remove what was deleted."""
        self.documents.delete(name)

    def _accept(
        self, call: Call, request: RestRequest, name: str, document: Document
    ) -> OperationRow:
        scope = self.scope(request)
        if call.method.name == "Insert":
            document |= {
                "kind": f"compute#{self.variable}", "id": str(secrets.randbits(63)),
                "selfLink": LINK + name,
                "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            }  # fmt: skip
        own = f"operation-{time.time_ns() // 1_000_000}-{secrets.token_hex(8)}"
        rpc = call.method.name
        accepted = self.core.operations.accept(
            name=f"{scope}/operations/{own}", service=self.name, rpc=rpc,
            kind=self.kind, target=name, payload=json.dumps(document).encode(),
        )  # fmt: skip
        if request_id := request.values.get("requestId", ""):
            key = f"{name}:{request_id}"
            self.core.store.put_request(self.name, key, rpc, "", accepted.name)
        return accepted

    def _begun(self, request: RestRequest, name: str) -> OperationRow | None:
        """The operation that the same ``requestId`` began."""
        request_id, store = request.values.get("requestId", ""), self.core.store
        known = store.request(self.name, f"{name}:{request_id}") if request_id else None
        return store.operation(known[2]) if known else None

    def _name(self, request: RestRequest) -> str:
        return f"{self.scope(request)}/{self.collection}/{request.values[self.variable]}"

    def _require(self, call: Call, request: RestRequest, verb: str) -> None:
        project = f"projects/{self.project(request)}"
        for each in (f"compute.{self.permission}.{verb}", *self.besides.get(verb, ())):
            call.require(each, self.name, project)


class Networks(Compute):
    """VPC networks."""

    proto = NETWORKS
    routes = routes_of("global", "networks", "network")
    kind, collection, variable, permission = "Network", "networks", "network", "networks"

    def check(self, _name: str, document: Document) -> None:
        document.setdefault("autoCreateSubnetworks", True)
        document.setdefault("routingConfig", {"routingMode": "REGIONAL"})

    def users(self, name: str) -> Iterator[str]:
        yield from users_of_network(self.core, name)
        for own, _ in self.collection_of(FORWARDING_RULES).within(name):
            yield own
        for service in (SUBNETWORKS, ADDRESSES):
            for own, _ in self.collection_of(service).within(name):
                yield own

    def store_new(self, name: str, document: Document) -> None:
        super().store_new(name, document)
        if document["autoCreateSubnetworks"]:
            subnetworks: Any = self.core.service(SUBNETWORKS)
            ranges = AUTOMATIC.subnets(new_prefix=20)
            for region, cidr in zip(REGIONS, ranges, strict=False):
                subnetworks.make(name, region, str(cidr))

    def make_default(self, project: str) -> None:
        """The network that a project gets when Compute is enabled for the first time."""
        name = f"projects/{project}/global/networks/default"
        if self.documents.find(name) is None:
            document: Document = {"name": "default", "kind": "compute#network",
                                  "selfLink": LINK + name}  # fmt: skip
            self.check(name, document)
            self.store_new(name, document)


class Subnetworks(Compute):
    """Subnetworks, whose ranges overlap nowhere in their network."""

    proto = SUBNETWORKS
    routes = routes_of("regions/{region}", "subnetworks", "subnetwork")
    kind, collection, variable, permission = (
        "Subnetwork", "subnetworks", "subnetwork", "subnetworks",
    )  # fmt: skip

    def check(self, name: str, document: Document) -> None:
        network = self.network_of(document)
        cidr = _range(document.get("ipCidrRange"))
        document["region"] = LINK + "/".join(name.split("/")[:4])
        for other, there in self.within(network):
            if cidr.overlaps(_range(there["ipCidrRange"])):
                raise errors.invalid("ipCidrRange", f"{cidr} overlaps with {other}")

    def users(self, name: str) -> Iterator[str]:
        document = self.documents.require(name)
        own = document["network"].removeprefix(LINK)
        network = self.collection_of(NETWORKS).documents.find(own)
        if network and network["autoCreateSubnetworks"]:
            yield own
        yield from users_of_subnetwork(self.core, name)
        for other, there in self.collection_of(REGIONAL_ADDRESSES).documents.everything():
            if there["subnetwork"] == LINK + name:
                yield other

    def make(self, network: str, region: str, cidr: str) -> None:
        """A subnetwork of a network that makes its own."""
        project, own = network.split("/")[1], network.rpartition("/")[2]
        name = f"projects/{project}/regions/{region}/subnetworks/{own}"
        self.documents.save(name, {
            "name": own, "kind": "compute#subnetwork", "selfLink": LINK + name,
            "network": LINK + network, "ipCidrRange": cidr,
            "region": LINK + f"projects/{project}/regions/{region}",
        })  # fmt: skip


class GlobalAddresses(Compute):
    """Global addresses: ranges for private services access alone."""

    proto = ADDRESSES
    routes = routes_of("global", "addresses", "address")
    kind, collection, variable, permission = (
        "GlobalAddress", "addresses", "address", "globalAddresses",
    )  # fmt: skip

    def check(self, _name: str, document: Document) -> None:
        if (document.get("purpose"), document.get("addressType")) != ("VPC_PEERING", "INTERNAL"):
            raise errors.invalid(
                "purpose", "the embedded cloud has INTERNAL ranges for VPC_PEERING only"
            )
        length = document.get("prefixLength")
        if not isinstance(length, int) or not 8 <= length <= 29:
            raise errors.invalid("prefixLength", f"'{length}' is not 8 to 29")
        network = self.network_of(document)
        taken = [*self._taken(network)]
        if document.get("address"):
            wanted = [_range(f"{document['address']}/{length}")]
        else:
            wanted = [*GIVEN.subnets(new_prefix=max(length, 9))]
        free = next((each for each in wanted if not any(map(each.overlaps, taken))), None)
        if free is None:
            raise errors.invalid("address", "the range overlaps with one of the network")
        document |= {"address": str(free.network_address), "status": "RESERVED"}

    def _taken(self, network: str) -> Iterator[ipaddress.IPv4Network]:
        for _, there in self.collection_of(SUBNETWORKS).within(network):
            yield _range(there["ipCidrRange"])
        for _, there in self.within(network):
            yield _range(f"{there['address']}/{there['prefixLength']}")


def scope_of(request: RestRequest) -> str:
    """``global``, or the region of a request."""
    region = request.values.get("region")
    return f"regions/{region}" if region else "global"


def operation(row: OperationRow) -> Document:
    """An operation as Compute tells it."""
    told: Document = {
        "kind": "compute#operation", "name": row.name.rpartition("/")[2],
        "operationType": row.rpc.lower(), "targetLink": LINK + row.target,
        "selfLink": LINK + row.name, "status": "RUNNING" if row.done is None else "DONE",
    }  # fmt: skip
    if row.error is not None:
        status = status_pb2.Status.FromString(row.error)
        code = code_pb2.Code.Name(status.code)
        told["error"] = {"errors": [{"code": code, "message": status.message}]}
        told |= {"httpErrorStatusCode": HTTP.get(code, 500), "httpErrorMessage": status.message}
    return told


def _range(text: Any) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(str(text))
    except ValueError as error:
        raise errors.invalid("ipCidrRange", f"'{text}' is no IPv4 range") from error
