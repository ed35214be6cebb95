"""The services that every API carries: operations, locations and policies of its resources."""

from typing import Any, ClassVar

from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.contract import Api, Method
from lib.localcloud.core import SERVICES, Call, Core
from lib.localcloud.locations import REGIONS
from lib.localcloud.paging import read_token, write_token
from lib.localcloud.service import Service
from lib.localcloud.store import OperationRow


class _Mixin(Service):
    """A service whose messages are plain protobuf, so its table is written here."""

    table: ClassVar[dict[str, tuple[type[Message], type[Message]]]]

    def __init__(self, core: Core) -> None:
        self.core = core
        self.name = self.client[0]
        methods = {
            rpc: Method(f"/{self.name}/{rpc}", request, response)
            for rpc, (request, response) in self.table.items()
        }
        self.api = Api(self.name, methods, {})
        self.of_kind = {}


class OperationsService(_Mixin):
    """google.longrunning.Operations for all services; names are unique."""

    client = ("google.longrunning.Operations", "")
    table: ClassVar = {
        "GetOperation": (operations_pb2.GetOperationRequest, operations_pb2.Operation),
        "ListOperations": (
            operations_pb2.ListOperationsRequest,
            operations_pb2.ListOperationsResponse,
        ),
        "WaitOperation": (operations_pb2.WaitOperationRequest, operations_pb2.Operation),
        "DeleteOperation": (operations_pb2.DeleteOperationRequest, empty_pb2.Empty),
        "CancelOperation": (operations_pb2.CancelOperationRequest, empty_pb2.Empty),
    }

    def GetOperation(self, call: Call, request: Any) -> Message:
        """An operation as it is now."""
        return self.core.operations.message(self._require(call, request.name, "get"))

    def subject(self, rpc: str, request: Any) -> str:
        """What the operation works on."""
        row = self.core.store.operation(request.name)
        return row.target if row is not None else super().subject(rpc, request)

    def WaitOperation(self, call: Call, request: Any) -> Message:
        """An operation once it is done, or as it is after the timeout (at most 60 s)."""
        self._require(call, request.name, "get")
        seconds = request.timeout.ToTimedelta().total_seconds() or 60.0
        return self.core.operations.message(
            self.core.operations.wait(request.name, min(seconds, 60.0))
        )

    def ListOperations(self, call: Call, request: Any) -> Message:
        """Operations below a name by name; those of APIs that list none are left out."""
        if request.filter:
            raise errors.invalid("filter", "the embedded cloud filters no operations")
        prefix = self.core.canonical(request.name.removesuffix("/operations")) + "/operations/"
        after = read_token(request.page_token)
        rows = self.core.store.operations(None, prefix.lstrip("/"))
        known = (row for row in rows if self._listed(call, row))
        rows = sorted((row for row in known if row.name > after), key=lambda row: row.name)
        size = request.page_size or 100
        response = operations_pb2.ListOperationsResponse()
        response.operations.extend(self.core.operations.message(row) for row in rows[:size])
        if len(rows) > size:
            response.next_page_token = write_token(rows[size - 1].name)
        return response

    def DeleteOperation(self, call: Call, request: Any) -> Message:
        """Forget an operation that is done."""
        row = self._require(call, request.name, "delete")
        if row.done is None:
            raise errors.failed_precondition(request.name, "the operation is under way")
        self.core.operations.forget(request.name)
        return empty_pb2.Empty()

    def CancelOperation(self, call: Call, request: Any) -> Message:
        """Ask an operation to stop; whether it did is told by the operation."""
        self._require(call, request.name, "cancel")
        self.core.operations.cancel(request.name)
        return empty_pb2.Empty()

    def _require(self, call: Call, name: str, verb: str) -> OperationRow:
        """The operation, once its API has the method and the caller may ``verb`` it."""
        row = self.core.operations.require(name)
        if call.method.name not in self._offered(row):
            raise errors.unimplemented(f"{row.service} has no {call.method.name}")
        project, permission = self._permission(row, verb)
        if project:
            call.require(permission, row.service, project)
        return row

    def _listed(self, call: Call, row: OperationRow) -> bool:
        project, permission = self._permission(row, "list")
        return (
            call.method.name in self._offered(row)
            and not self.core.operations.lost(row.name)
            and (
                not project
                or self.core.policies.allowed(call.principal, permission, row.service, project)
            )
        )

    def _offered(self, row: OperationRow) -> frozenset[str]:
        service = self.core.service(row.service)
        return service.api.operations if service is not None else frozenset()

    def _permission(self, row: OperationRow, verb: str) -> tuple[str, str]:
        """The project whose policy decides, empty for an operation at the root; the permission."""
        service = self.core.service(row.service)
        parts = row.name.split("/")
        if service is None or parts[0] != "projects":
            return "", ""
        return "/".join(parts[:2]), f"{service.title.partition('.')[0]}.operations.{verb}"


class Locations(_Mixin):
    """google.cloud.location.Locations: the regions."""

    client = ("google.cloud.location.Locations", "")
    table: ClassVar = {
        "GetLocation": (locations_pb2.GetLocationRequest, locations_pb2.Location),
        "ListLocations": (
            locations_pb2.ListLocationsRequest,
            locations_pb2.ListLocationsResponse,
        ),
    }

    def GetLocation(self, _call: Call, request: Any) -> Message:
        """A region."""
        region = request.name.rpartition("/")[2]
        if region not in REGIONS:
            raise errors.location_denied(region)
        return _location(request.name, region)

    def ListLocations(self, _call: Call, request: Any) -> Message:
        """All regions on one page."""
        response = locations_pb2.ListLocationsResponse()
        response.locations.extend(
            _location(f"{request.name}/locations/{region}", region) for region in REGIONS
        )
        return response


def _location(name: str, region: str) -> locations_pb2.Location:
    return locations_pb2.Location(
        name=name, location_id=region, display_name=region,
        labels={"cloud.googleapis.com/region": region},
    )  # fmt: skip


class IamPolicy(_Mixin):
    """google.iam.v1.IAMPolicy: passed on to the service that owns the resource."""

    client = ("google.iam.v1.IAMPolicy", "")
    table: ClassVar = {
        "GetIamPolicy": (iam_policy_pb2.GetIamPolicyRequest, policy_pb2.Policy),
        "SetIamPolicy": (iam_policy_pb2.SetIamPolicyRequest, policy_pb2.Policy),
        "TestIamPermissions": (
            iam_policy_pb2.TestIamPermissionsRequest,
            iam_policy_pb2.TestIamPermissionsResponse,
        ),
    }

    def handle(self, call: Call, request: Any) -> Message:
        """Answer by the service whose names the resource's name matches."""
        name = self.core.canonical(request.resource)
        for service_name in SERVICES:
            if self.core.store.get(service_name, name):
                service = self.core.service(service_name)
                if service is not None:
                    return service.handle(call, request)
        raise errors.not_found(request.resource)
