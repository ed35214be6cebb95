"""The one converging resource: observe, compare, create or update, wait, verify, undo."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial as bound
from typing import Any, TypeVar

from lib.cloud import fields
from lib.cloud.clients import Clients
from lib.cloud.converging import Converging
from lib.cloud.errors import (
    AlreadyTaken,
    CannotChange,
    CloudError,
    NotFound,
    OperationFailed,
    TookTooLong,
    Unavailable,
    told,
)
from lib.cloud.kind import MADE_BY, Condition, Kind
from lib.cloud.operations import patiently, pauses
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo

MessageT = TypeVar("MessageT")


class Resource(Converging[MessageT]):
    """One resource that is made as ``body`` wants it; fields that it doesn't set are left alone.

    ``at_creation`` gives more fields for the create request alone (such as a first password); it
    is called only then.  ``partial`` resources are updated and never created or deleted.
    """

    instead = (
        "either set what is there in the environment file; or give the resource "
        "another name there, so that a new one is made beside it (nothing is deleted)"
    )

    def __init__(
        self,
        clients: Clients,
        kind: Kind,
        parent: str,
        id: str,
        body: fields.Body,
        *,
        project: str,
        aspect: str = "",
        at_creation: Callable[[], fields.Body] | None = None,
        partial: bool = False,
        protected: bool = False,
    ) -> None:
        subject = f"{kind.noun} {id}" + (f": {aspect}" if aspect else "")
        super().__init__(clients, subject, project, protected)
        self.kind = kind
        self.parent = parent
        self.id = id
        self.name = f"{parent}/{kind.collection}/{id}"
        self.body = body
        self._aspect = aspect
        self._at_creation = at_creation
        self._partial = partial

    # -- the engine's contract ---------------------------------------------------------------

    def observe(self) -> MessageT | None:
        """The resource as it is now (one read), or None."""
        with told(self._situation):
            found: MessageT | None = self._get()
            return found

    def plan(self, observed: MessageT | None) -> Change:
        """Create, update field by field, wait for what is under way, or nothing."""
        if observed is None:
            return self._plan_absent()
        self._refuse_failed(observed)
        changed = self._differences(observed)
        pending = self.kind.condition(observed) is Condition.PENDING
        if any(self._is_immutable(each.path) for each in changed):
            reason = "differs in what can't be changed in place"
            return Change(ChangeKind.REPLACE, self.subject, changed, reason)
        if changed or pending:
            reason = "waits until it is ready" if pending else ""
            irreversible = any(self.is_irreversible(each.path) for each in changed)
            return Change(
                ChangeKind.UPDATE, self.subject, changed, reason, irreversible=irreversible
            )
        return Change(ChangeKind.NONE, self.subject)

    def _take_back(self, change: Change, journal: Journal) -> None:
        """Delete what was created; give updated fields their old values."""
        if change.kind not in (ChangeKind.CREATE, ChangeKind.UPDATE):
            return
        if self._protected:
            raise CannotUndo(
                f"{self.subject} is protected from deletion and undoing in this environment.",
                remedy="set protected = false in the environment file, after thinking twice",
            )
        self._finish(journal)
        observed = self._settled(journal)
        if observed is None:
            return
        if change.kind is ChangeKind.CREATE:
            self._unmake(observed, journal)
        elif change.fields:
            self._restore(observed, change.fields, journal)

    # -- what a kind may do otherwise --------------------------------------------------------

    @property
    def client(self) -> Any:
        """The client of this kind's service."""
        return self._clients.get(self.kind.service)

    @property
    def message(self) -> Any:
        """The message type of the resource."""
        stem = "".join(part.capitalize() for part in self.kind.thing.split("_"))
        return getattr(_package(self.client), stem)

    def is_irreversible(self, path: str) -> bool:  # noqa: ARG002
        """Whether a change of this field needs an approval in protected environments."""
        return False

    def _get(self) -> Any:
        from google.api_core.exceptions import NotFound as Absent

        try:
            return self._read(f"get_{self.kind.thing}", {"name": self.name})
        except Absent:
            return None

    def _create(self, body: fields.Body, request_id: str) -> Any:
        request = {
            "parent": self.parent,
            f"{self.kind.thing}_id": self.id,
            self.kind.thing: dict(body),
        }
        if self.kind.request_ids:
            request["request_id"] = request_id
        return self._write(f"create_{self.kind.thing}", request)

    def _update(self, observed: Any, masks: list[str], part: dict[str, Any]) -> Any:
        body = {**part, "name": self.name}
        if getattr(observed, "etag", ""):
            body["etag"] = observed.etag
        return self._write(
            f"update_{self.kind.thing}",
            {self.kind.thing: body, "update_mask": {"paths": masks}},
        )

    def _delete(self, observed: Any) -> Any:  # noqa: ARG002
        return self._write(f"delete_{self.kind.thing}", {"name": self.name})

    def _read(self, method: str, request: dict[str, Any]) -> Any:
        """Call a method that changes nothing; an unreachable service is asked again."""
        return getattr(self.client, method)(
            request=request, retry=patiently(self._polling), timeout=self._polling.call
        )

    def _write(self, method: str, request: dict[str, Any]) -> Any:
        """Call a method that changes something, once."""
        return getattr(self.client, method)(request=request, retry=None, timeout=self._polling.call)

    # -- inside --------------------------------------------------------------------------------

    def _plan_absent(self) -> Change:
        if self._partial:
            reason = f"{self.kind.noun} {self.id} does not exist yet"
            return Change(ChangeKind.UNKNOWN, self.subject, reason=reason)
        wanted = fields.differences(self.message, self.body, {})
        return Change(ChangeKind.CREATE, self.subject, wanted)

    def _differences(self, observed: Any) -> tuple[FieldChange, ...]:
        return fields.differences(self.message, self.body, fields.plain(observed))

    def _is_immutable(self, path: str) -> bool:
        return any(path == each or path.startswith(each + ".") for each in self.kind.immutable)

    def _change(self, observed: MessageT | None, change: Change, journal: Journal) -> None:
        if observed is None:
            self._make(journal)
        elif self.kind.condition(observed) is Condition.READY:
            self._alter(observed, change.fields, journal)

    def _make(self, journal: Journal) -> None:
        if self._partial:
            raise NotFound(
                f"{self.kind.noun} {self.id} does not exist, so {self._aspect} can't be set.",
                remedy="run the step that makes it first",
            )
        request_id = self._request_id(journal)
        body = {**self.body, **(self._at_creation() if self._at_creation else {})}
        if self.kind.labels:
            body["labels"] = {**body.get("labels", {}), **MADE_BY}
        self._do(lambda: self._create(body, request_id), journal, creates=True)

    def _alter(self, observed: Any, changed: tuple[FieldChange, ...], journal: Journal) -> None:
        there = fields.plain(observed)
        wanted = fields.merged(there, fields.normal(self.message, self.body))
        wanted = fields.merged(there, _only(self.message, changed, wanted))
        masks = fields.mask(self.message, (each.path for each in changed), self.kind.wholes)
        self._send(observed, masks, wanted, journal)

    def _send(self, observed: Any, masks: list[str], body: Any, journal: Journal) -> None:
        groups = [[each] for each in masks[:1]] if self.kind.one_by_one else [masks]
        for group in groups:
            part = fields.masked(self.message, group, body)
            self._do(bound(self._update, observed, group, part), journal)

    def _restore(self, observed: Any, changed: tuple[FieldChange, ...], journal: Journal) -> None:
        there = fields.plain(observed)
        for each in changed:
            now = fields.value_at(self.message, there, each.path)
            if now not in (each.new, each.old):
                raise CannotUndo(
                    f"{self.subject}: {each.path} was changed by somebody else to {now!r}.",
                    expected=f"{each.new!r}, as this migration set it",
                    remedy=f"set it to {each.old!r} by hand if that is right",
                )
        for each in changed:
            fields.place(self.message, there, each.path, each.old)
        masks = fields.mask(self.message, (each.path for each in changed), self.kind.wholes)
        groups = [[each] for each in masks] if self.kind.one_by_one else [masks]
        for group in groups:
            current = self._settled(journal)
            part = fields.masked(self.message, group, there)
            self._do(bound(self._update, current, group, part), journal)
        self._require_restored(changed, journal)

    def _require_restored(self, changed: tuple[FieldChange, ...], journal: Journal) -> None:
        there = fields.plain(self._settled(journal))
        left = [
            each.path
            for each in changed
            if fields.value_at(self.message, there, each.path) == each.new != each.old
        ]
        if left:
            raise self._not_undone(f"{self.subject}: {', '.join(left)} is still as it was set.")

    def _unmake(self, observed: Any, journal: Journal) -> None:
        if self.kind.labels and not MADE_BY.items() <= dict(observed.labels).items():
            raise CannotUndo(
                f"{self.subject} exists, but this migration did not make it (no label "
                f"{next(iter(MADE_BY))}); it is left alone.",
                remedy="delete it by hand if it is not wanted",
            )
        self._do(lambda: self._delete(observed), journal)
        self._settled(journal)

    def _do(self, call: Callable[[], Any], journal: Journal, *, creates: bool = False) -> None:
        """Make a call that changes something, and wait for its operation.

        Where it is unknown whether the call took effect, what is there now decides: the caller
        looks again, and calls again only if nothing happened.
        """
        before = self.observe()
        try:
            with told(self._situation):
                answer = call()
        except (Unavailable, TookTooLong):
            if self.observe() == before:
                raise
            return
        except AlreadyTaken as error:
            if self.observe() is None:
                raise AlreadyTaken(
                    f"{self.subject}: the name is taken by something that we can't see.",
                    expected="a name that nobody uses, and that was not deleted lately",
                    remedy="choose another name in the environment file",
                ) from error
            return
        operation = getattr(answer, "operation", None)
        if operation is not None:
            self._follow(operation.name, journal, creates=creates)

    def _clear_half_made(self, journal: Journal) -> None:
        """Delete what our own creation left in a failed state: it never worked and holds nothing.

        Otherwise the next run could only refuse it.  The failure itself is told, not this.
        """
        with contextlib.suppress(CloudError):
            observed: Any = self.observe()
            if (
                observed is not None
                and self.kind.condition(observed) is Condition.FAILED
                and not self._protected
            ):
                self._unmake(observed, journal)

    def _settled(self, journal: Journal) -> Any:
        """The resource once nothing is under way on it."""
        for _ in pauses(self._polling, self.subject, journal):
            observed = self.observe()
            if observed is None or self.kind.condition(observed) is not Condition.PENDING:
                return observed
        raise AssertionError("unreachable")

    def _refuse_failed(self, observed: Any) -> None:
        if self.kind.condition(observed) is Condition.FAILED:
            raise OperationFailed(
                f"{self.subject} is in a failed state{_why(observed)}.",
                expected="a resource that works, or none",
                remedy=self._look_at_it(),
            )

    def _look_at_it(self) -> str:
        if self._situation.target == "embedded":
            return (
                "read server.log in the state folder that python -m lib.localcloud status names; "
                "python -m lib.localcloud reset removes it, and everything else there"
            )
        return (
            f"look at it in {self.kind.console or 'the console'}; delete it there "
            "if it can't be mended, and run again"
        )

    def _cannot_change(self, change: Change) -> CannotChange:
        fixed = tuple(each for each in change.fields if self._is_immutable(each.path))
        return super()._cannot_change(replace(change, fields=fixed))


def _only(kind: Any, changed: tuple[FieldChange, ...], wanted: Any) -> dict[str, Any]:
    part: dict[str, Any] = {}
    for each in changed:
        fields.place(kind, part, each.path, fields.value_at(kind, wanted, each.path))
    return part


def _package(client: Any) -> Any:
    import importlib

    return importlib.import_module(type(client).__module__.split(".services.")[0])


def _why(observed: Any) -> str:
    for name in ("status_message", "terminal_condition"):
        value = getattr(observed, name, "")
        text = getattr(value, "message", value)
        if isinstance(text, str) and text:
            return f": {text}"
    return ""
