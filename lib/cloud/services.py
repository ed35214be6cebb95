"""Enabled APIs of a project."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.cloud.clients import Clients
from lib.cloud.converging import Converging
from lib.cloud.errors import NotFound, told
from lib.cloud.operations import patiently
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError

_READ_AT_ONCE = 30
_ENABLED_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class ServiceStates:
    """Each API that is asked for, and whether it is enabled."""

    enabled: Mapping[str, bool]


class EnabledServices(Converging[ServiceStates]):
    """The APIs in ``project.services`` are enabled; others are left as they are."""

    def __init__(self, clients: Clients, settings: Any, protected: bool) -> None:
        super().__init__(clients, f"APIs of project {settings.id}", settings.id, protected)
        self.project = settings.id
        self.wanted = tuple(settings.services)

    def observe(self) -> ServiceStates | None:
        """Which are enabled; None where the project does not exist (or hides from us)."""
        from google.api_core.exceptions import NotFound as Absent

        states: dict[str, bool] = {}
        for start in range(0, len(self.wanted), _READ_AT_ONCE):
            names = [
                f"projects/{self.project}/services/{each}"
                for each in self.wanted[start : start + _READ_AT_ONCE]
            ]
            request = {"parent": f"projects/{self.project}", "names": names}
            try:
                with told(self._situation):
                    answer = self.client.batch_get_services(
                        request=request,
                        retry=patiently(self._polling),
                        timeout=self._polling.call,
                    )
            except NotFound as error:
                if isinstance(error.__cause__, Absent):
                    return None
                raise
            for service in answer.services:
                name = service.name.rsplit("/", 1)[-1]
                states[name] = service.state.name == "ENABLED"
        return ServiceStates(states)

    def plan(self, observed: ServiceStates | None) -> Change:
        """One field for each API to enable."""
        enabled = observed.enabled if observed is not None else {}
        changed = tuple(
            FieldChange(each, "disabled", "enabled")
            for each in self.wanted
            if not enabled.get(each)
        )
        kind = ChangeKind.UPDATE if changed else ChangeKind.NONE
        return Change(kind, self.subject, changed)

    def verify(self) -> ServiceStates:
        """The states, all of them enabled."""
        observed = self.observe()
        left = [each.path for each in self.plan(observed).fields]
        if observed is None or left:
            raise VerificationError(f"{self.subject}: not enabled: {', '.join(left)}.")
        return observed

    def _take_back(self, change: Change, journal: Journal) -> None:
        """Disable what this change enabled, unless something else has come to depend on it."""
        if self._protected and change.fields:
            raise CannotUndo(f"{self.subject} stay enabled in a protected environment.")
        self._finish(journal)
        for each in reversed(change.fields):
            request = {"name": f"projects/{self.project}/services/{each.path}"}
            with told(self._situation):
                answer = self.client.disable_service(request=request, timeout=self._polling.call)
            self._await(answer.operation, journal)
        enabled = observed.enabled if (observed := self.observe()) is not None else {}
        if left := [each.path for each in change.fields if enabled.get(each.path)]:
            raise self._not_undone(f"{self.subject}: still enabled: {', '.join(left)}.")

    @property
    def client(self) -> Any:
        """The client of Service Usage."""
        return self._clients.get("services")

    def _change(
        self,
        observed: ServiceStates | None,  # noqa: ARG002
        change: Change,
        journal: Journal,
    ) -> None:
        """Enable what is not, in groups as large as the API takes."""
        missing = [each.path for each in change.fields]
        for start in range(0, len(missing), _ENABLED_AT_ONCE):
            journal.safe_point()
            self._enable(missing[start : start + _ENABLED_AT_ONCE], journal)

    def _enable(self, names: list[str], journal: Journal) -> None:
        request = {"parent": f"projects/{self.project}", "service_ids": names}
        with told(self._situation):
            answer = self.client.batch_enable_services(
                request=request, retry=None, timeout=self._polling.call
            )
        self._await(answer.operation, journal)

    def _await(self, operation: Any, journal: Journal) -> None:
        if not operation.done:
            self._follow(operation.name, journal)
        else:
            self._wait(operation.name, journal)
