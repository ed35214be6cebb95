"""Service Networking v1: private connections of networks to Google's services.

A connection is kept and checked; what it would peer with is on loopback anyway.
"""

import json
from typing import Any, Final

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.core import Call, Core
from lib.localcloud.documents import Document, Documents
from lib.localcloud.operations import Finish, new_name
from lib.localcloud.rest import RestRequest, RestService, Route
from lib.localcloud.services.compute import ADDRESSES, LINK
from lib.localcloud.services.private_access import (
    CONNECTIONS,
    require_network,
    users_of_connection,
)
from lib.localcloud.store import OperationRow

SERVICE: Final = "servicenetworking.googleapis.com"
PATH: Final = f"/v1/services/{SERVICE}/connections"
PEERING: Final = "servicenetworking-googleapis-com"


class ServiceNetworking(RestService):
    """Connections of networks to ``servicenetworking.googleapis.com``, one for each network."""

    proto = CONNECTIONS
    title = SERVICE
    routes = (
        Route("GET", PATH, "ListConnections"),
        Route("POST", PATH, "CreateConnection", operation=True),
        Route("PATCH", f"{PATH}/-", "UpdateConnection", operation=True),
        Route("POST", f"{PATH}/{{connection}}", "DeleteConnection", operation=True),
    )

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.documents = Documents(self, "Connection")
        self.of_kind = {"Connection": self.documents}  # type: ignore[dict-item]

    def subject(self, _rpc: str, request: Any) -> str:
        """The network."""
        return self.core.canonical(self._given(request))

    def ListConnections(self, call: Call, request: RestRequest) -> Any:
        """The connection of one network, if it has one."""
        name = self._network(call, request, "get")
        found = self.documents.find(name)
        return {"connections": [found]} if found else {}

    def CreateConnection(self, call: Call, request: RestRequest) -> Any:
        """Connect a network that has no connection yet."""
        name = self._network(call, request, "addPeering")
        with self.core.store.transaction():
            if self.documents.find(name) or self._busy(name):
                raise errors.failed_precondition(
                    name, "Cannot create a connection: the network has one; update it instead"
                )
            row = self._prepared(call, request, name)
        return self._begun(row)

    def UpdateConnection(self, call: Call, request: RestRequest) -> Any:
        """Give the connection other ranges."""
        name = self._network(call, request, "addPeering")
        with self.core.store.transaction():
            self.documents.require(name)
            self._require_idle(name)
            row = self._prepared(call, request, name)
        return self._begun(row)

    def DeleteConnection(self, call: Call, request: RestRequest) -> Any:
        """Disconnect a network of which nothing uses the connection any more."""
        if request.values["connection"] != PEERING:
            raise errors.not_found(request.values["connection"], "Connection")
        name = self._network(call, request, "deleteConnection")
        with self.core.store.transaction():
            self.documents.require(name)
            self._require_idle(name)
            user = next(users_of_connection(self.core, name), "")
            if user:
                raise errors.failed_precondition(
                    name,
                    f"Failed to delete connection; producer services are still using it: {user}",
                )
            row = self._accepted(call, name, {})
        return self._begun(row)

    def work(self, row: OperationRow) -> Finish:
        """One write."""
        document = json.loads(row.payload)

        def finish() -> Message:
            if document:
                self.documents.save(row.target, document)
            else:
                self.documents.delete(row.target)
            return empty_pb2.Empty()

        return finish

    def _busy(self, name: str) -> bool:
        return any(row.service == self.name for row in self.core.store.open_operations(name))

    def _require_idle(self, name: str) -> None:
        if self._busy(name):
            raise errors.aborted(
                f"another operation on the connection of '{name}' is in progress",
                "OPERATION_IN_PROGRESS",
            )

    def _prepared(self, call: Call, request: RestRequest, name: str) -> OperationRow:
        ranges = request.body.get("reservedPeeringRanges")
        if not isinstance(ranges, list) or not ranges:
            raise errors.invalid("reservedPeeringRanges", "give at least one range")
        require_network(self.core, name)
        addresses: Any = self.core.service(ADDRESSES)
        project = name.split("/")[1]
        for each in ranges:
            found = addresses.documents.require(f"projects/{project}/global/addresses/{each}")
            if found["network"] != LINK + name:
                raise errors.invalid("reservedPeeringRanges", f"{each} is of another network")
        number = self.core.project_number(project)
        document: Document = {
            "network": name.replace(f"projects/{project}/", f"projects/{number}/", 1),
            "reservedPeeringRanges": ranges, "peering": PEERING, "service": f"services/{SERVICE}",
        }  # fmt: skip
        return self._accepted(call, name, document)

    def _accepted(self, call: Call, name: str, document: Document) -> OperationRow:
        return self.core.operations.accept(
            name=new_name(""), service=self.name, rpc=call.method.name, kind="Connection",
            target=name, payload=json.dumps(document).encode(),
        )  # fmt: skip

    def _begun(self, row: OperationRow) -> Document:
        self.core.operations.begin(row)
        return _told(self.core.operations.message(row))

    @staticmethod
    def _given(request: RestRequest) -> str:
        names = (request.body.get("consumerNetwork"), request.body.get("network"))
        return str(next(filter(None, names), request.values.get("network") or ""))

    def _network(self, call: Call, request: RestRequest, verb: str) -> str:
        given = self._given(request)
        name = self.core.canonical(given)
        parts = name.split("/")
        if len(parts) != 5 or parts[0] != "projects" or parts[2:4] != ["global", "networks"]:
            raise errors.invalid("network", f"'{given}' is not projects/P/global/networks/N")
        if self.core.project_id(parts[1]) is None:
            raise errors.denied(f"servicenetworking.services.{verb}", given)
        call.require(f"servicenetworking.services.{verb}", self.name, f"projects/{parts[1]}")
        self.require_enabled(parts[1])
        return require_network(self.core, name)


def _told(operation: operations_pb2.Operation) -> Document:
    told: Document = {"name": operation.name, "done": operation.done}
    if operation.HasField("error"):
        told["error"] = MessageToDict(operation.error)
    return told
