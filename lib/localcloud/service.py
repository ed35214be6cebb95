"""The base of a service: finds the handler of a call, checks that the API may be called."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf.message import Message

from lib.localcloud import contract, errors
from lib.localcloud.core import Call, Core
from lib.localcloud.iam import Policies
from lib.localcloud.kind import Kind
from lib.localcloud.names import parse
from lib.localcloud.operations import Finish
from lib.localcloud.store import OperationRow


class Service:
    """One API.  Methods named as an RPC handle it; the kinds handle the standard methods."""

    client: ClassVar[tuple[str, str]]
    title: ClassVar[str] = ""
    kinds: ClassVar[Sequence[type[Kind]]] = ()
    http: ClassVar[Sequence[contract.Rule]] = ()
    """How the RPCs are called by HTTP, for a client that does not tell it."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.api = contract.load(*self.client)
        self.name = self.api.name
        self.of_kind = {kind.name: kind(self) for kind in self.kinds}

    @property
    def policies(self) -> Policies:
        """The allow policies of the whole cloud."""
        return self.core.policies

    @property
    def names(self) -> tuple[str, ...]:
        """What people call the service: protobuf name, class, host, short name."""
        return self.name, self.name.rpartition(".")[2], self.title, self.title.partition(".")[0]

    def subject(self, rpc: str, request: Any) -> str:
        """The full name of the resource that a call is about, also of one to be created."""
        name = _name_in(request)
        for kind in self.of_kind.values():
            own_id = getattr(request, f"{kind.field}_id", "")
            if rpc == f"Create{kind.name}" and own_id:
                name = f"{name}/{kind.collection}/{own_id}"
        return self.core.canonical(name)

    def rules(self) -> Sequence[contract.Rule]:
        """How the RPCs are called by HTTP and JSON."""
        return self.http or contract.rules(*self.client)

    def method(self, rpc: str) -> contract.Method | None:
        """The RPC as the client knows it, or None where the API does not have it."""
        return self.api.methods.get(rpc)

    def handle(self, call: Call, request: Any) -> Message:
        """Answer one call; UNIMPLEMENTED for what the embedded cloud does not do."""
        handler = self._handler(call.method.name)
        if handler is None:
            raise errors.unimplemented(
                f"{self.name}/{call.method.name} is not implemented by the embedded cloud"
            )
        self._check_enabled(request)
        return handler(call, request)

    def _handler(self, rpc: str) -> Callable[[Call, Any], Message] | None:
        own: Callable[[Call, Any], Message] | None = getattr(self, rpc, None)
        if own is not None:
            return own
        for kind in self.of_kind.values():
            for verb, handler in kind.handlers().items():
                if rpc == verb + kind.name or (verb == "List" and rpc == verb + kind.plural):
                    return handler
        return None

    def _check_enabled(self, request: Any) -> None:
        if not self.title:
            return
        name = _name_in(request)
        if name.startswith("projects/"):
            self.require_enabled(name.split("/")[1])

    def require_enabled(self, given: str) -> None:
        """PERMISSION_DENIED where a project (id or number) has not enabled the API."""
        project = self.core.project_id(given)
        if project is not None and not self.core.enabled(project, self.title):
            raise errors.service_disabled(self.title, project, self.core.project_number(project))

    # operations

    def work(self, row: OperationRow) -> Finish:
        """Do an operation's work; see ``Operations``."""
        kind = self.of_kind[row.kind]
        return kind.work(row)

    def failed(self, row: OperationRow, error: errors.RpcError) -> None:
        """Leave the resource of a failed operation as Google would."""
        self.of_kind[row.kind].failed(row, error)

    def metadata(self, _row: OperationRow) -> Message | None:
        """An operation's metadata where the API has a form of its own."""
        return None

    # policies of resources

    def owns(self, resource: str) -> Kind | None:
        """The kind whose pattern a name matches."""
        for kind in self.of_kind.values():
            if parse(kind.pattern, resource):
                return kind
        return None

    def GetIamPolicy(
        self, call: Call, request: iam_policy_pb2.GetIamPolicyRequest
    ) -> policy_pb2.Policy:
        """The policy of a resource."""
        kind, name = self._policy_target(request.resource)
        call.require(f"{kind.permission}.getIamPolicy", kind.policy_scope, name)
        return self.policies.get(kind.policy_scope, name)

    def SetIamPolicy(
        self, call: Call, request: iam_policy_pb2.SetIamPolicyRequest
    ) -> policy_pb2.Policy:
        """Replace the policy of a resource."""
        kind, name = self._policy_target(request.resource)
        call.require(f"{kind.permission}.setIamPolicy", kind.policy_scope, name)
        return self.policies.set(kind.policy_scope, name, request.policy)

    def TestIamPermissions(
        self, call: Call, request: iam_policy_pb2.TestIamPermissionsRequest
    ) -> iam_policy_pb2.TestIamPermissionsResponse:
        """Those of the permissions that the caller has."""
        kind, name = self._policy_target(request.resource)
        for permission in request.permissions:
            if permission.count(".") < 2 or "*" in permission:
                raise errors.invalid("permissions", f"'{permission}' is not a permission")
        return iam_policy_pb2.TestIamPermissionsResponse(
            permissions=[
                permission
                for permission in request.permissions
                if self.policies.allowed(call.principal, permission, kind.policy_scope, name)
            ]
        )

    def _policy_target(self, resource: str) -> tuple[Kind, str]:
        name = self.core.canonical(resource)
        kind = self.owns(name)
        if kind is None:
            raise errors.invalid("resource", f"'{resource}' is not a resource of {self.name}")
        kind.require(name)
        return kind, name


def _name_in(request: Any) -> str:
    """The resource name that a request is about, wherever the API keeps it."""
    for field in ("name", "parent", "resource", "workstation", "index_endpoint", "index",
                  "instance"):  # fmt: skip
        value = getattr(request, field, "")
        if isinstance(value, str) and value:
            return value
    for descriptor, value in request.ListFields():
        if descriptor.message_type is not None and hasattr(value, "name"):
            return str(value.name)
    return ""
