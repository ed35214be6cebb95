"""The project: under its organization, with its labels."""

from dataclasses import replace
from typing import Any

from lib.cloud.clients import Clients
from lib.cloud.errors import NotFound, Situation, told
from lib.cloud.kind import Kind, by_state
from lib.cloud.operations import patiently
from lib.cloud.permissions import CREATE_PROJECT
from lib.cloud.resource import Resource
from lib.engine.changes import Change

PROJECT = Kind(
    noun="project",
    service="projects",
    thing="project",
    collection="projects",
    condition=by_state(["ACTIVE"]),
    console="https://console.cloud.google.com/cloud-resource-manager",
)


class Project(Resource[Any]):
    """A project; moved where it stands under another parent (which needs an approval).

    One that is marked for deletion counts as absent: its id stays taken for 30 days
    (cloud.google.com/resource-manager, "Shutting down projects"), so to make it is to restore it.
    """

    def __init__(self, clients: Clients, settings: Any, protected: bool) -> None:
        body = {
            "parent": f"organizations/{settings.organization}",
            "labels": dict(settings.labels),
        }
        super().__init__(
            clients, PROJECT, "", settings.id, body, project=settings.id, protected=protected
        )
        self.name = f"projects/{settings.id}"
        self._marked_for_deletion = False

    def is_irreversible(self, path: str) -> bool:
        """A move changes who governs and who pays."""
        return path == "parent"

    def _get(self) -> Any:
        from google.api_core.exceptions import Forbidden

        try:
            found = super()._get()
            self._marked_for_deletion = _is_marked(found)
            return None if self._marked_for_deletion else found
        except Forbidden:
            # Google answers so for a project that doesn't exist; a search tells the two apart.
            found = self._read("search_projects", {"query": f"id:{self.id}"})
            if any(each.project_id == self.id for each in found):
                raise
            return None

    def _plan_absent(self) -> Change:
        change = super()._plan_absent()
        reason = "it was marked for deletion and is restored" if self._marked_for_deletion else ""
        return replace(change, reason=reason)

    def _create(self, body: Any, request_id: str) -> Any:  # noqa: ARG002
        if self._marked_for_deletion:
            return self._write("undelete_project", {"name": self.name})
        project = {"project_id": self.id, "display_name": self.id, **body}
        return self._write("create_project", {"project": project})

    def _update(self, observed: Any, masks: list[str], part: dict[str, Any]) -> Any:
        if "parent" in masks:
            # One call at a time: the loop in apply comes back for the labels.
            return self._write(
                "move_project", {"name": self.name, "destination_parent": part["parent"]}
            )
        return super()._update(observed, masks, part)

    def _send(self, observed: Any, masks: list[str], wanted: Any, journal: Any) -> None:
        for each in masks:
            super()._send(observed, [each], wanted, journal)


def number(clients: Clients, settings: Any) -> str:
    """The number of a project that exists (network)."""
    with told(Situation(f"project {settings.id}", settings.id, clients.target.kind)):
        found = clients.get("projects").get_project(
            request={"name": f"projects/{settings.id}"},
            retry=patiently(clients.target.polling),
            timeout=clients.target.polling.call,
        )
    return str(found.name).removeprefix("projects/")


def _is_marked(project: Any) -> bool:
    return project is not None and project.state.name == "DELETE_REQUESTED"


class MissingPermissions(tuple[str, ...]):
    """The permissions that the caller lacks; ``unknown`` says what could not be asked, if so."""

    unknown: str = ""


def missing_permissions(
    clients: Clients, settings: Any, permissions: Any, situation: Any
) -> MissingPermissions:
    """Ask the project, or its organization where it does not exist yet, what the caller lacks."""
    from google.api_core.exceptions import Forbidden
    from google.api_core.exceptions import NotFound as Absent

    from lib.cloud.errors import PermissionMissing, told

    wanted = list(permissions)
    timeout = clients.target.polling.call
    try:
        held: set[str] = set()
        for start in range(0, len(wanted), 100):
            request = {
                "resource": f"projects/{settings.id}",
                "permissions": wanted[start : start + 100],
            }
            with told(situation):
                answer = clients.get("projects").test_iam_permissions(
                    request=request, retry=patiently(clients.target.polling), timeout=timeout
                )
            held.update(answer.permissions)
        return MissingPermissions(each for each in wanted if each not in held)
    except (PermissionMissing, NotFound) as error:
        if not isinstance(error.__cause__, Forbidden | Absent):
            raise
    return _missing_for_creation(clients, settings, timeout)


def _missing_for_creation(clients: Clients, settings: Any, timeout: float) -> MissingPermissions:
    from google.api_core.exceptions import GoogleAPICallError

    request = {
        "resource": f"organizations/{settings.organization}",
        "permissions": [CREATE_PROJECT],
    }
    why = f"project {settings.id} does not exist yet; whoever creates it becomes its owner"
    try:
        answer = clients.get("organizations").test_iam_permissions(request=request, timeout=timeout)
        lacking = {CREATE_PROJECT} - set(answer.permissions)
    except GoogleAPICallError as error:
        lacking = set()
        why = f"{why}; the organization can't be asked: {error.message}"
    missing = MissingPermissions(lacking)
    missing.unknown = why
    return missing
