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

    def GetOperation(self, _call: Call, request: Any) -> Message:
        """An operation as it is now."""
        return self.core.operations.message(self.core.operations.require(request.name))

    def subject(self, rpc: str, request: Any) -> str:
        """What the operation works on."""
        row = self.core.store.operation(request.name)
        return row.target if row is not None else super().subject(rpc, request)

    def WaitOperation(self, _call: Call, request: Any) -> Message:
        """An operation once it is done, or as it is after the timeout (at most 60 s)."""
        self.core.operations.require(request.name)
        seconds = request.timeout.ToTimedelta().total_seconds() or 60.0
        return self.core.operations.message(
            self.core.operations.wait(request.name, min(seconds, 60.0))
        )

    def ListOperations(self, _call: Call, request: Any) -> Message:
        """Operations below a name, the oldest first."""
        if request.filter:
            raise errors.invalid("filter", "the embedded cloud filters no operations")
        prefix = request.name.removesuffix("/operations") + "/operations/"
        after = read_token(request.page_token)
        rows = self.core.store.operations(None, prefix.lstrip("/"))
        known = (row for row in rows if not self.core.operations.lost(row.name))
        rows = sorted((row for row in known if row.name > after), key=lambda row: row.name)
        size = request.page_size or 100
        response = operations_pb2.ListOperationsResponse()
        response.operations.extend(self.core.operations.message(row) for row in rows[:size])
        if len(rows) > size:
            response.next_page_token = write_token(rows[size - 1].name)
        return response

    def DeleteOperation(self, _call: Call, request: Any) -> Message:
        """Forget an operation that is done."""
        row = self.core.operations.require(request.name)
        if row.done is None:
            raise errors.failed_precondition(request.name, "the operation is under way")
        self.core.store.delete_operation(request.name)
        return empty_pb2.Empty()


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
