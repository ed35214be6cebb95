"""Who may do what: service accounts, and roles granted by read, change, write with etag."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lib.cloud.clients import Clients
from lib.cloud.errors import Situation, told
from lib.cloud.kind import MADE_BY, Kind, always_ready
from lib.cloud.operations import patiently
from lib.cloud.resource import Resource
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError

SERVICE_ACCOUNT = Kind(
    noun="service account",
    service="iam",
    thing="service_account",
    collection="serviceAccounts",
    condition=always_ready,
    labels=False,
)
_DESCRIPTION = f"Made by {next(iter(MADE_BY.values()))}"


def service_account_email(project: str, account: str) -> str:
    """The address of a service account of a project."""
    return f"{account}@{project}.iam.gserviceaccount.com"


class ServiceAccount(Resource[Any]):
    """A service account of the project; its state exposes ``email``."""

    def __init__(self, clients: Clients, settings: Any, protected: bool) -> None:
        project, account = settings.id, settings.service_account
        super().__init__(
            clients,
            SERVICE_ACCOUNT,
            f"projects/{project}",
            account,
            {"display_name": "AI Orchestra agents"},
            project=project,
            at_creation=lambda: {"description": _DESCRIPTION},
            protected=protected,
        )
        email = service_account_email(project, account)
        self.name = f"projects/{project}/serviceAccounts/{email}"

    def _create(self, body: Any, request_id: str) -> Any:  # noqa: ARG002
        return self._write(
            "create_service_account",
            {"name": self.parent, "account_id": self.id, "service_account": dict(body)},
        )

    def _update(self, observed: Any, masks: list[str], part: dict[str, Any]) -> Any:
        account = {**part, "name": self.name, "etag": observed.etag}
        return self._write(
            "patch_service_account",
            {"service_account": account, "update_mask": {"paths": masks}},
        )

    def _unmake(self, observed: Any, journal: Journal) -> None:
        if observed.description != _DESCRIPTION:
            raise CannotUndo(f"{self.subject} exists, but this migration did not make it.")
        super()._unmake(observed, journal)


@dataclass(frozen=True, slots=True)
class Granted:
    """The roles, of those asked for, that ``member`` holds without condition."""

    member: str
    roles: tuple[str, ...]


class Grant:
    """``member`` holds ``roles`` on one resource; every other binding stays as it is."""

    def __init__(
        self,
        clients: Clients,
        service: str,
        resource: str,
        shown: str,
        member: str,
        roles: Sequence[str],
        project: str,
    ) -> None:
        self.member = member
        self.roles = tuple(roles)
        self.resource = resource
        self.subject = f"roles of {member} on {shown}"
        self._clients = clients
        self._service = service
        self._situation = Situation(self.subject, project, clients.target.kind)

    def observe(self) -> Granted | None:
        """The roles that the member holds now; None where the resource does not exist."""
        from google.api_core.exceptions import Forbidden
        from google.api_core.exceptions import NotFound as Absent

        with told(self._situation):
            try:
                policy = self._read_policy()
            except Absent:
                return None
            except Forbidden:
                if self._service == "projects" and not self._project_exists():
                    return None
                raise
        return Granted(self.member, self._held(policy))

    def plan(self, observed: Granted | None) -> Change:
        """One field for each role to grant."""
        held = observed.roles if observed is not None else ()
        changed = tuple(
            FieldChange(each, None, "granted") for each in self.roles if each not in held
        )
        return Change(ChangeKind.UPDATE if changed else ChangeKind.NONE, self.subject, changed)

    def apply(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Grant what is lacking; somebody else's change in between is read and kept."""

        def add(policy: Any) -> bool:
            lacking = [each for each in self.roles if each not in self._held(policy)]
            for role in lacking:
                _binding(policy, role).members.append(self.member)
            return bool(lacking)

        self._rewrite(add, journal)

    def verify(self) -> Granted:
        """The member's roles, all of those asked for."""
        observed = self.observe()
        left = [each.path for each in self.plan(observed).fields]
        if observed is None or left:
            raise VerificationError(f"{self.subject}: not granted: {', '.join(left)}.")
        return observed

    def undo(self, change: Change, journal: Journal) -> None:
        """Take the roles away that this change granted."""
        granted = {each.path for each in change.fields}

        def remove(policy: Any) -> bool:
            before = policy.SerializeToString(deterministic=True)
            for binding in policy.bindings:
                plain = not binding.HasField("condition")
                if binding.role in granted and plain and self.member in binding.members:
                    binding.members.remove(self.member)
            kept = [each for each in policy.bindings if each.members]
            del policy.bindings[:]
            policy.bindings.extend(kept)
            return bool(before != policy.SerializeToString(deterministic=True))

        if self.observe() is not None:
            self._rewrite(remove, journal)

    def _rewrite(self, alter: Callable[[Any], bool], journal: Journal) -> None:
        """Read, change and write with the etag, again where another writer was faster."""
        from google.api_core.exceptions import Aborted

        last = 5
        for attempt in range(last + 1):
            journal.safe_point()
            with told(self._situation):
                policy = self._read_policy()
                if not alter(policy):
                    return
                try:
                    self._client.set_iam_policy(
                        request={"resource": self.resource, "policy": policy},
                        retry=None,
                        timeout=self._clients.target.polling.call,
                    )
                    return
                except Aborted:
                    if attempt == last:
                        raise

    @property
    def _client(self) -> Any:
        return self._clients.get(self._service)

    def _read_policy(self) -> Any:
        # Version 3 or the conditions of other bindings would be lost in the write.
        policy = self._client.get_iam_policy(
            request={"resource": self.resource, "options": {"requested_policy_version": 3}},
            retry=patiently(self._clients.target.polling),
            timeout=self._clients.target.polling.call,
        )
        if any(each.HasField("condition") for each in policy.bindings):
            policy.version = 3
        return policy

    def _held(self, policy: Any) -> tuple[str, ...]:
        held = {
            each.role
            for each in policy.bindings
            if self.member in each.members and not each.HasField("condition")
        }
        return tuple(each for each in self.roles if each in held)

    def _project_exists(self) -> bool:
        id = self.resource.removeprefix("projects/")
        found = self._client.search_projects(
            request={"query": f"id:{id}"},
            retry=patiently(self._clients.target.polling),
            timeout=self._clients.target.polling.call,
        )
        return any(each.project_id == id for each in found)


def _binding(policy: Any, role: str) -> Any:
    for each in policy.bindings:
        if each.role == role and not each.HasField("condition"):
            return each
    return policy.bindings.add(role=role)
