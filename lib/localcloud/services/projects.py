"""Resource Manager v3: projects and the organizations above them."""

import secrets
import time
from typing import Any, Final

from google.cloud import resourcemanager_v3 as api
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from lib.localcloud import errors, filters, masks
from lib.localcloud.contract import clear_output_only, plain
from lib.localcloud.core import Call
from lib.localcloud.iam import RESOURCE_MANAGER
from lib.localcloud.kind import Kind
from lib.localcloud.names import PROJECT_ID
from lib.localcloud.operations import Finish
from lib.localcloud.paging import read_token, write_token
from lib.localcloud.resource import States
from lib.localcloud.service import Service
from lib.localcloud.store import OperationRow

ORGANIZATIONS: Final = {
    "organizations/873291114285": "orchestra.example.com",
    "organizations/100000000001": "elsewhere.example.com",
}
ACTIVE = api.Project.State.ACTIVE
DELETE_REQUESTED = api.Project.State.DELETE_REQUESTED
NAME = "projects/{project}"


class ProjectKind(Kind):
    """A project; its id is kept as its name here, its number is shown."""

    name = "Project"
    message = api.Project
    states = States(0, int(ACTIVE), 0, 0)

    def operation_name(self, _name: str) -> str:
        return f"operations/cp.{secrets.randbits(62)}"

    def failed(self, row: OperationRow, error: errors.RpcError) -> None:
        """Nothing is written before the operation succeeds."""


class Projects(Service):
    """google.cloud.resourcemanager.v3.Projects."""

    client = ("google.cloud.resourcemanager_v3.services.projects", "Projects")
    kinds = (ProjectKind,)

    @property
    def projects(self) -> Kind:
        """The only kind."""
        return self.of_kind["Project"]

    def handle(self, call: Call, request: Any) -> Message:
        """Every call in one transaction: reading and accepting a change go together."""
        with self.core.store.transaction():
            return super().handle(call, request)

    def subject(self, rpc: str, request: Any) -> str:
        """The project, also one that is to be created."""
        if rpc == "CreateProject":
            return f"projects/{request.project.project_id}"
        return super().subject(rpc, request)

    @property
    def names(self) -> tuple[str, ...]:
        """The API's own names; calls of it need no enabled API."""
        return *super().names, "cloudresourcemanager.googleapis.com", "cloudresourcemanager"

    def GetProject(self, call: Call, request: Any) -> Message:
        """A project by id or number; a missing one is a denied one."""
        return self._visible(call, request.name, "get")[1]

    def ListProjects(self, call: Call, request: Any) -> Message:
        """The projects directly below a parent."""
        _require_parent(request.parent)
        call.require("resourcemanager.projects.list", RESOURCE_MANAGER, request.parent)
        return self._page(
            call,
            request,
            lambda pb: pb.parent == request.parent and (request.show_deleted or pb.state == ACTIVE),
        )

    def SearchProjects(self, call: Call, request: Any) -> Message:
        """The projects that the caller may see, by a query as ``id:NAME parent:...``."""
        query = request.query.replace("id:", "project_id:").replace("projectproject_", "project_")
        wanted = filters.parse(query.replace("name:", "display_name:"), "query")
        return self._page(
            call,
            request,
            lambda pb: (
                wanted(pb)
                and self.policies.allowed(
                    call.principal,
                    "resourcemanager.projects.get",
                    RESOURCE_MANAGER,
                    f"projects/{pb.project_id}",
                )
            ),
        )

    def CreateProject(self, call: Call, request: Any) -> Message:
        """Create a project; without a parent it belongs to no organization."""
        pb = plain(api.Project)()
        pb.CopyFrom(request.project)
        if not PROJECT_ID.fullmatch(pb.project_id):
            raise errors.invalid(
                "project.project_id",
                "project_id must be 6 to 30 lowercase letters, digits or hyphens, "
                "start with a letter and not end with a hyphen",
            )
        if pb.parent:
            _require_parent(pb.parent)
            call.require("resourcemanager.projects.create", RESOURCE_MANAGER, pb.parent)
        _check_display_name(pb.display_name)
        clear_output_only(pb, api.Project)
        pb.display_name = pb.display_name or pb.project_id
        name = f"projects/{pb.project_id}"
        with self.core.store.transaction():
            if self.projects.find(name) or self._creating(name):
                raise errors.already_exists(name, "Project")
            pb.name = f"projects/{self._new_number()}"
            pb.create_time.GetCurrentTime()
            pb.update_time.GetCurrentTime()
            self.core.store.put_fact("creator", pb.project_id, call.principal.encode())
            return self.projects.answer(call, request, name, pb)

    def UpdateProject(self, call: Call, request: Any) -> Message:
        """Change display name or labels."""
        name, old = self._visible(call, request.project.name, "update")
        paths = masks.paths(request.update_mask, request.project)
        for path in paths:
            if path.split(".")[0] not in ("display_name", "labels"):
                raise errors.invalid("update_mask", f"{path} cannot be updated")
        self.projects.require_etag(old, request.project)
        new = plain(api.Project)()
        new.CopyFrom(old)
        masks.merge(new, request.project, paths)
        _check_display_name(new.display_name)
        return self._begin(call, request, name, old, new)

    def MoveProject(self, call: Call, request: Any) -> Message:
        """Put a project below another parent."""
        name, old = self._visible(call, request.name, "move")
        _require_parent(request.destination_parent, "destination_parent")
        for parent in filter(None, (old.parent, request.destination_parent)):
            call.require("resourcemanager.projects.move", RESOURCE_MANAGER, parent)
        if old.parent == request.destination_parent:
            raise errors.failed_precondition(name, f"the project already is in {old.parent}")
        new = plain(api.Project)()
        new.CopyFrom(old)
        new.parent = request.destination_parent
        return self._begin(call, request, name, old, new)

    def DeleteProject(self, call: Call, request: Any) -> Message:
        """Mark a project for deletion; it can be undeleted."""
        name, old = self._visible(call, request.name, "delete")
        new = plain(api.Project)()
        new.CopyFrom(old)
        new.state = DELETE_REQUESTED
        new.delete_time.CopyFrom(timestamp_pb2.Timestamp(seconds=int(time.time()) + 30 * 86400))
        if old.state != ACTIVE:
            raise errors.failed_precondition(name, "the project is not active")
        return self._begin(call, request, name, old, new, active=False)

    def UndeleteProject(self, call: Call, request: Any) -> Message:
        """Take a deletion back."""
        name, old = self._visible(call, request.name, "undelete")
        if old.state != DELETE_REQUESTED:
            raise errors.failed_precondition(name, "the project is not marked for deletion")
        new = plain(api.Project)()
        new.CopyFrom(old)
        new.state = ACTIVE
        new.ClearField("delete_time")
        return self._begin(call, request, name, old, new, active=False)

    def _begin(
        self, call: Call, request: Any, name: str, old: Any, new: Any, *, active: bool = True
    ) -> Message:
        if active and old.state != ACTIVE:
            raise errors.failed_precondition(name, "the project is not active")
        new.update_time.GetCurrentTime()
        with self.core.store.transaction():
            self.projects.require_idle(name)
            return self.projects.answer(call, request, name, new)

    def work(self, row: OperationRow) -> Finish:
        """All mutations of a project are one write."""
        pb: Any = plain(api.Project).FromString(row.payload)

        def finish() -> Message:
            store = self.core.store
            number = pb.name.partition("/")[2]
            store.put_fact("project-number", number, pb.project_id.encode())
            store.put_fact("project-id", pb.project_id, number.encode())
            if pb.parent:
                store.put_fact("project-parent", pb.project_id, pb.parent.encode())
            if row.rpc == "CreateProject":
                pb.state = ACTIVE
                creator = store.fact("creator", pb.project_id) or b""
                self.policies.bind(RESOURCE_MANAGER, row.target, "roles/owner", creator.decode())
            self.projects.save(row.target, pb)
            return pb

        return finish

    def _visible(self, call: Call, text: str, verb: str) -> tuple[str, Any]:
        """The canonical name and the project, or PERMISSION_DENIED as Google has it."""
        name = self.projects.canonical(text, NAME, "name")
        permission = f"resourcemanager.projects.{verb}"
        pb = self.projects.find(name)
        if pb is None:
            raise errors.denied(permission, text)
        call.require(permission, RESOURCE_MANAGER, name)
        return name, pb

    def _policy_target(self, resource: str) -> tuple[Kind, str]:
        name = self.projects.canonical(resource, NAME, "resource")
        if self.projects.find(name) is None:
            raise errors.denied("resourcemanager.projects.getIamPolicy", resource)
        return self.projects, name

    def _creating(self, name: str) -> bool:
        return any(row.service == self.name for row in self.core.store.open_operations(name))

    def _new_number(self) -> str:
        while True:
            number = str(secrets.randbelow(9 * 10**11) + 10**11)
            if self.core.store.fact("project-number", number) is None:
                return number

    def _page(self, call: Call, request: Any, wanted: Any) -> Message:
        size = request.page_size or 100
        if size < 0:
            raise errors.invalid("page_size", "page_size must not be negative")
        after = read_token(request.page_token)
        found = [pb for name, pb in self.projects.everything() if name > after and wanted(pb)]
        response: Any = call.method.response()
        response.projects.extend(found[:size])
        if len(found) > size:
            response.next_page_token = write_token(f"projects/{found[size - 1].project_id}")
        return response


class Organizations(Service):
    """google.cloud.resourcemanager.v3.Organizations: two that are always there."""

    client = ("google.cloud.resourcemanager_v3.services.organizations", "Organizations")

    def GetOrganization(self, call: Call, request: Any) -> Message:
        """An organization by number."""
        permission = "resourcemanager.organizations.get"
        if request.name not in ORGANIZATIONS:
            raise errors.denied(permission, request.name)
        call.require(permission, RESOURCE_MANAGER, request.name)
        return _organization(request.name)

    def SearchOrganizations(self, call: Call, _request: Any) -> Message:
        """The organizations that the caller may see."""
        response: Any = call.method.response()
        response.organizations.extend(
            _organization(name)
            for name in ORGANIZATIONS
            if self.policies.allowed(
                call.principal, "resourcemanager.organizations.get", RESOURCE_MANAGER, name
            )
        )
        return response

    def _policy_target(self, resource: str) -> tuple[Kind, str]:
        if resource not in ORGANIZATIONS:
            raise errors.denied("resourcemanager.organizations.getIamPolicy", resource)
        projects = self.core.service(RESOURCE_MANAGER)
        assert projects is not None
        return _OrganizationScope(projects), resource


class _OrganizationScope(ProjectKind):
    """Policies of organizations are kept beside those of projects."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.permission = "resourcemanager.organizations"


def _organization(name: str) -> Any:
    return plain(api.Organization)(
        name=name,
        display_name=ORGANIZATIONS[name],
        directory_customer_id="C0" + name[-7:],
        state=int(api.Organization.State.ACTIVE),
    )


def _require_parent(parent: str, field: str = "parent") -> None:
    kind, _, number = parent.partition("/")
    if kind not in ("organizations", "folders") or not number.isdigit():
        raise errors.invalid(field, f"'{parent}' is not organizations/NUMBER or folders/NUMBER")
    if parent not in ORGANIZATIONS:
        raise errors.denied("resourcemanager.projects.create", parent)


def _check_display_name(name: str) -> None:
    if name and not 4 <= len(name) <= 30:
        raise errors.invalid("project.display_name", "display_name must have 4 to 30 characters")
