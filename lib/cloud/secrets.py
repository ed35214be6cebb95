"""Secrets that have a value; the value is made only where there is none, and never shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.cloud.clients import Clients
from lib.cloud.errors import CloudError, Situation, told
from lib.cloud.kind import MADE_BY
from lib.cloud.operations import patiently
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError


@dataclass(frozen=True, slots=True)
class SecretState:
    """A secret's full name and how many enabled versions it has."""

    name: str
    versions: int


class Secret:
    """A secret with at least one enabled version."""

    def __init__(
        self,
        clients: Clients,
        project: str,
        secret_id: str,
        make_value: Callable[[], str],
        protected: bool,
    ) -> None:
        self.id = secret_id
        self.name = f"projects/{project}/secrets/{secret_id}"
        self.subject = f"secret {secret_id}"
        self._parent = f"projects/{project}"
        self._make_value = make_value
        self._clients = clients
        self._protected = protected
        self._situation = Situation(self.subject, project, clients.target.kind)
        self._timeout = clients.target.polling.call

    def observe(self) -> SecretState | None:
        """The secret and its number of enabled versions, never a value."""
        from google.api_core.exceptions import NotFound as Absent

        with told(self._situation):
            try:
                versions = self._client.list_secret_versions(
                    request={"parent": self.name, "filter": "state:ENABLED"},
                    retry=patiently(self._clients.target.polling),
                    timeout=self._timeout,
                )
                enabled = sum(1 for each in versions if each.state.name == "ENABLED")
            except Absent:
                return None
        return SecretState(self.name, enabled)

    def plan(self, observed: SecretState | None) -> Change:
        """Create it, or give it a first version."""
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject)
        if observed.versions == 0:
            added = FieldChange("versions", 0, 1)
            return Change(ChangeKind.UPDATE, self.subject, (added,), "has no enabled version")
        return Change(ChangeKind.NONE, self.subject)

    def apply(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Create what is lacking; a value is made only where none is stored."""
        journal.safe_point()
        observed = self.observe()
        if observed is None:
            self._create()
        if observed is None or observed.versions == 0:
            payload = self._make_value().encode()
            with told(self._situation):
                self._client.add_secret_version(
                    request={"parent": self.name, "payload": {"data": payload}},
                    retry=None,
                    timeout=self._timeout,
                )

    def verify(self) -> SecretState:
        """The state, with at least one enabled version."""
        observed = self.observe()
        if observed is None or observed.versions == 0:
            raise VerificationError(f"{self.subject} has no enabled version after it was made.")
        return observed

    def undo(self, change: Change, journal: Journal) -> None:
        """Delete a secret that was created; a version that was added to another's stays."""
        journal.safe_point()
        if change.kind is ChangeKind.NONE or self.observe() is None:
            return
        if self._protected or change.kind is not ChangeKind.CREATE:
            raise CannotUndo(f"{self.subject} is kept: its value may be in use.")
        with told(self._situation):
            secret = self._client.get_secret(request={"name": self.name}, timeout=self._timeout)
            if not MADE_BY.items() <= dict(secret.labels).items():
                raise CannotUndo(f"{self.subject} exists, but this migration did not make it.")
            self._client.delete_secret(
                request={"name": self.name, "etag": secret.etag}, retry=None, timeout=self._timeout
            )

    @property
    def _client(self) -> Any:
        return self._clients.get("secrets")

    def _create(self) -> None:
        from google.api_core.exceptions import AlreadyExists

        secret = {"replication": {"automatic": {}}, "labels": MADE_BY}
        with told(self._situation):
            try:
                self._client.create_secret(
                    request={"parent": self._parent, "secret_id": self.id, "secret": secret},
                    retry=None,
                    timeout=self._timeout,
                )
            except AlreadyExists:
                return  # An attempt before this one made it and did not hear of it.


def read_secret(clients: Clients, project: str, secret_id: str) -> str:
    """The newest value of a secret (network); raises ``CloudError``."""
    situation = Situation(f"secret {secret_id}", project, clients.target.kind)
    with told(situation):
        answer = clients.get("secrets").access_secret_version(
            request={"name": f"projects/{project}/secrets/{secret_id}/versions/latest"},
            retry=patiently(clients.target.polling),
            timeout=clients.target.polling.call,
        )
    try:
        return str(answer.payload.data.decode())
    except UnicodeDecodeError as error:
        raise CloudError(
            f"secret {secret_id} holds no text.",
            expected="UTF-8 text",
            remedy=f"add a new version: gcloud secrets versions add {secret_id} --data-file=FILE",
        ) from error
