"""A kind of resource: the standard methods, checks and states that all kinds share."""

import hashlib
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import empty_pb2
from google.protobuf.message import Message

from lib.localcloud import errors, filters, masks
from lib.localcloud.contract import clear_output_only, is_set
from lib.localcloud.locations import REGIONS
from lib.localcloud.names import parent_of, parent_pattern, parse
from lib.localcloud.operations import Finish, new_name, packed
from lib.localcloud.paging import read_token, write_token
from lib.localcloud.resource import Resource
from lib.localcloud.store import OperationRow, Row

if TYPE_CHECKING:
    from lib.localcloud.core import Call

PAGE: Final = 100
LARGEST_PAGE: Final = 1000
REQUEST_MEMORY_SECONDS: Final = 3600.0
REQUEST_ID: Final = re.compile(
    r"(?![0-]*$)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
CREATING: Final = ("Create", "Restore")


class Kind(Resource):
    """A kind of resource with the standard methods; see ``Resource`` for the hooks."""

    def handlers(self) -> Mapping[str, Callable[["Call", Any], Message]]:
        """The standard methods by verb."""
        return {
            "Create": self.create,
            "Get": self.get,
            "List": self.listing,
            "Update": self.update,
            "Delete": self.delete,
        }

    def canonical(self, text: str, pattern: str, field: str) -> str:
        """A name from a request by id; INVALID_ARGUMENT where it does not match."""
        if not text:
            raise errors.invalid(field, f"{field} is required")
        found = parse(pattern, text)
        if found is None:
            raise errors.invalid(field, f"'{text}' does not match '{pattern}'")
        location = found.get("location", "-")
        if location != "-" and location not in REGIONS:
            raise errors.location_denied(location)
        return self.core.canonical(text)

    def target(self, call: "Call", text: str, verb: str, field: str = "name") -> str:
        """The canonical name of a request's resource, once the caller may ``verb`` it."""
        name = self.canonical(text, self.pattern, field)
        self.require_project(name, f"{self.permission}.{verb}")
        call.require(f"{self.permission}.{verb}", self.policy_scope, name)
        return name

    def require_project(self, name: str, permission: str) -> None:
        """Google does not tell whether a project is missing or merely not the caller's."""
        if name.startswith("projects/"):
            project = name.split("/")[1]
            if self.core.project_id(project) is None:
                raise errors.denied(permission, f"//{self.service.title}/projects/{project}")

    def create(self, call: "Call", request: Any) -> Message:
        """Create, as AIP-133 has it."""
        parent = self.canonical(request.parent, parent_pattern(self.pattern), "parent")
        self.require_project(parent, f"{self.permission}.create")
        call.require(f"{self.permission}.create", self.policy_scope, parent)
        name = f"{parent}/{self.collection}/{self._id(request)}"
        pb = self._desired(call, request, name)
        with self.store.transaction():
            if again := self._repeated(call, request, name):
                return again
            self.require_parent(parent)
            if self.store.get(self.service.name, name):
                raise errors.already_exists(name, self.name)
            self.admit(parent, pb)
            if getattr(request, "validate_only", False):
                return self.validated(call, parent, pb)
            self._stamp(pb)
            self.set_state(pb, "creating")
            self.save(name, pb)
            return self.answer(call, request, name, pb)

    def _desired(self, call: "Call", request: Any, name: str) -> Any:
        pb = self.plain()
        pb.CopyFrom(getattr(request, self.field))
        missing = [field for field in self._required() if not is_set(pb, field)]
        if missing:
            raise errors.invalid_fields(
                [(f"{self.field}.{field}", f"{field} is required") for field in missing]
            )
        clear_output_only(pb, self.message)
        pb.name = name
        self.defaults(call, pb)
        self.check(pb)
        return pb

    def _required(self) -> list[str]:
        documented = self.rules.required - {"name", *self.documented_only}
        return sorted(documented | set(self.required))

    def _id(self, request: Any) -> str:
        field = f"{self.field}_id"
        own_id: str = getattr(request, field)
        if not own_id:
            raise errors.invalid(field, f"{field} is required")
        if not self.id_pattern.fullmatch(own_id):
            raise errors.invalid(field, f"'{own_id}' does not match '{self.id_pattern.pattern}'")
        return own_id

    def require_parent(self, parent: str) -> None:
        """NOT_FOUND unless the resource above exists."""
        if self.parent_kind:
            self.service.of_kind[self.parent_kind].require(parent)

    def _stamp(self, pb: Any) -> None:
        fields = self.plain.DESCRIPTOR.fields_by_name
        if "uid" in fields:
            pb.uid = str(uuid.uuid4())
        for field in ("create_time", "update_time"):
            if field in fields:
                getattr(pb, field).GetCurrentTime()

    def get(self, call: "Call", request: Any) -> Message:
        """Get, as AIP-131 has it."""
        name = self.target(call, request.name, "get")
        return self.present(name, self.require(name))

    def listing(self, call: "Call", request: Any) -> Message:
        """List, as AIP-132 has it; location ``-`` means all of them."""
        parent = self.canonical(request.parent, parent_pattern(self.pattern), "parent")
        self.require_project(parent, f"{self.permission}.list")
        call.require(f"{self.permission}.list", self.policy_scope, parent.partition("/-")[0])
        if "/-" not in parent:
            self.require_parent(parent)
        wanted = filters.parse(getattr(request, "filter", ""))
        rows, token = self.page(parent, request, wanted)
        response: Any = call.method.response()
        items = getattr(response, _repeated_field(response, self.plain))
        items.extend(self.present(row.name, self.plain.FromString(row.body)) for row in rows)
        response.next_page_token = token
        return response

    def page(
        self, parent: str, request: Any, wanted: Callable[[Message], bool]
    ) -> tuple[list[Row], str]:
        """One page of rows and the token of the next."""
        size = request.page_size or PAGE
        if size < 0:
            raise errors.invalid("page_size", "page_size must not be negative")
        size = min(size, LARGEST_PAGE)
        after = read_token(request.page_token)
        everywhere = "/-" in parent
        rows = self.store.children(
            self.service.name, self.name, None if everywhere else parent, after
        )
        beneath = re.compile(re.escape(parent).replace("/\\-", "/[^/]+") + "/.*")
        kept = [
            row
            for row in rows
            if (not everywhere or beneath.fullmatch(row.name))
            and wanted(self.plain.FromString(row.body))
        ]
        more = len(kept) > size
        return kept[:size], write_token(kept[size - 1].name) if more else ""

    def update(self, call: "Call", request: Any) -> Message:
        """Update, as AIP-134 has it."""
        update = getattr(request, self.field)
        name = self.target(call, update.name, "update", f"{self.field}.name")
        paths = masks.paths(request.update_mask, update)
        with self.store.transaction():
            if again := self._repeated(call, request, name):
                return again
            old = self.require(name)
            self.require_etag(old, update)
            self.require_idle(name)
            new = self.plain()
            new.CopyFrom(old)
            paths = [path for path in paths if path.split(".")[0] not in self.rules.output_only]
            masks.merge(new, update, paths)
            self._refuse_immutable(old, new, paths)
            self.check(new)
            if getattr(request, "validate_only", False):
                return self.validated(call, parent_of(name), new)
            self._touch(new)
            self.set_state(old, "updating")
            if call.method.is_operation:
                self.save(name, old)
            return self.answer(call, request, name, new)

    def _touch(self, pb: Any) -> None:
        if "update_time" in self.plain.DESCRIPTOR.fields_by_name:
            pb.update_time.GetCurrentTime()

    def _refuse_immutable(self, old: Any, new: Any, paths: list[str]) -> None:
        fixed = {*self.immutable, *self.rules.immutable, "name"}
        wrong = [
            path
            for path in paths
            if path.split(".")[0] in fixed
            and getattr(old, path.split(".")[0]) != getattr(new, path.split(".")[0])
        ]
        if wrong:
            raise errors.invalid_fields([(path, f"{path} is immutable") for path in wrong])

    def delete(self, call: "Call", request: Any) -> Message:
        """Delete, as AIP-135 has it."""
        name = self.target(call, request.name, "delete")
        with self.store.transaction():
            if again := self._repeated(call, request, name):
                return again
            pb = self.require(name)
            self.require_etag(pb, request)
            self.require_idle(name)
            children = self.children(name)
            if children and not getattr(request, "force", False):
                raise errors.failed_precondition(
                    name, f"{self.name} '{name}' has resources below it: {children[0].name}"
                )
            if getattr(request, "validate_only", False):
                return self.validated(call, parent_of(name), pb)
            self.set_state(pb, "deleting")
            if call.method.is_operation:
                self.save(name, pb)
            return self.answer(call, request, name, pb)

    def children(self, name: str) -> list[Row]:
        """The resources directly below ``name``, of kinds that keep it from being deleted."""
        below = [kind for kind in self.service.of_kind.values() if kind.parent_kind == self.name]
        return [
            row
            for kind in below
            if kind.holds_parent
            for row in self.store.children(self.service.name, kind.name, name)
        ]

    # operations

    def answer(self, call: "Call", request: Any, name: str, pb: Any) -> Message:
        """The response of a mutation: done now, or an operation that does it."""
        rpc = call.method.name
        if not call.method.is_operation:
            row = self._row(rpc, name, pb)
            return self.work(row)()
        accepted = self.core.operations.accept(
            name=self.operation_name(name), service=self.service.name, rpc=rpc, kind=self.name,
            target=name, payload=pb.SerializeToString(),
        )  # fmt: skip
        request_id = _request_key(request, name)
        if request_id:
            self.store.put_request(
                self.service.name, request_id, rpc, _digest(request), accepted.name
            )
        self.core.operations.begin(accepted)
        return self.core.operations.message(accepted)

    def _row(self, rpc: str, name: str, pb: Any) -> OperationRow:
        body = pb.SerializeToString()
        return OperationRow(
            "", self.service.name, rpc, self.name, name, body, 0.0, None, None, None
        )

    def operation_name(self, name: str) -> str:
        """The name of a new operation on the resource."""
        return new_name("/".join(name.split("/")[:4]))

    def validated(self, call: "Call", parent: str, pb: Any) -> Message:
        """The response of a request that was only to be checked."""
        if not call.method.is_operation:
            return pb
        from google.longrunning import operations_pb2

        operation = operations_pb2.Operation(name=self.operation_name(parent + "/-/-"), done=True)
        empty = call.method.result is not None and call.method.result is empty_pb2.Empty
        operation.response.ParseFromString(packed(empty_pb2.Empty() if empty else pb))
        return operation

    def _repeated(self, call: "Call", request: Any, name: str) -> Message | None:
        """The operation that the same request id began; INVALID_ARGUMENT for another request.

        Ids are UUIDs but zero (AIP-155), remembered for an hour, and belong to one project.
        """
        request_id = _request_key(request, name)
        known = self.store.request(self.service.name, request_id) if request_id else None
        if known is None:
            return None
        rpc, digest, operation = known
        row = self.store.operation(operation)
        if row is None or row.created < time.time() - REQUEST_MEMORY_SECONDS:
            return None
        if (rpc, digest) != (call.method.name, _digest(request)):
            raise errors.invalid(
                "request_id", f"request_id {request.request_id} was used for another request"
            )
        return self.core.operations.message(row)

    def work(self, row: OperationRow) -> Finish:
        """The work of the standard mutations."""
        if row.rpc.startswith(CREATING):
            return self._work_create(row)
        if row.rpc.startswith("Delete"):
            return self._work_delete(row)
        return self._work_update(row)

    def _work_create(self, row: OperationRow) -> Finish:
        pb = self.plain.FromString(row.payload)
        self.build(pb)
        return lambda: self.settle(row.target, pb)

    def _work_update(self, row: OperationRow) -> Finish:
        new = self.plain.FromString(row.payload)
        self.change(self.require(row.target), new)
        return lambda: self.settle(row.target, new)

    def settle(self, name: str, pb: Any) -> Message:
        """Write a resource whose work is done."""
        self.set_state(pb, "ready")
        self.save(name, pb)
        return self.present(name, pb)

    def _work_delete(self, row: OperationRow) -> Finish:
        pb = self.plain.FromString(row.payload)
        below = self._descendants(row.target)
        for kind, name, child in below:
            with self.core.guard(name):
                kind.remove_with_parent(child)
        self.remove(pb)

        def finish() -> Message:
            for kind, name, _ in [*below, (self, row.target, pb)]:
                kind.core.policies.drop(kind.service.name, name)
                self.store.delete(kind.service.name, name)
            method = self.service.api.methods[row.rpc]
            result = method.result if method.is_operation else method.response
            return empty_pb2.Empty() if result is not self.plain else pb

        return finish

    def _descendants(self, name: str) -> "list[tuple[Kind, str, Any]]":
        """Everything below ``name``, the deepest first."""
        found: list[tuple[Kind, str, Any]] = []
        for kind in self.service.of_kind.values():
            if kind.parent_kind == self.name:
                for row in self.store.children(self.service.name, kind.name, name):
                    found += kind._descendants(row.name)
                    found.append((kind, row.name, kind.plain.FromString(row.body)))
        return found

    def failed(self, row: OperationRow, _error: errors.RpcError) -> None:
        """The resource after a failed operation: READY only where nothing was made or removed.

        A new one is FAILED, or gone where the kind has no such state; there one that was to be
        removed is READY again.
        """
        pb = self.find(row.target)
        if pb is None:
            return
        has_state = self.states is not None and bool(self.states.failed)
        if row.rpc.startswith(CREATING) and not has_state:
            self.remove(pb)
            self.store.delete(self.service.name, row.target)
            return
        broken = row.rpc.startswith((*CREATING, "Delete"))
        self.set_state(pb, "failed" if broken and has_state else "ready")
        self.save(row.target, pb)


def _request_key(request: Any, name: str) -> str:
    """A request id within its project; empty text where the request has none."""
    request_id = getattr(request, "request_id", "")
    if request_id and not REQUEST_ID.fullmatch(request_id):
        raise errors.invalid("request_id", f"'{request_id}' is not a UUID, or it is zero")
    return f"{name.split('/')[1]}:{request_id}" if request_id else ""


def _digest(request: Message) -> str:
    body: bytes = request.SerializeToString(deterministic=True)
    return hashlib.sha256(body).hexdigest()


def _repeated_field(response: Message, kind: type[Message]) -> str:
    for field in response.DESCRIPTOR.fields:
        message = field.message_type
        if message is not None and message.full_name == kind.DESCRIPTOR.full_name:
            return str(field.name)
    raise TypeError(f"{response.DESCRIPTOR.name} lists no {kind.DESCRIPTOR.name}")
