"""What the resources share: one loop that makes a thing as wanted, one wait for its operation."""

import uuid
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from lib.cloud.clients import Clients
from lib.cloud.errors import CannotChange, CloudError, NotFound, Situation, TookTooLong
from lib.cloud.operations import pauses, wait
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError

StateT = TypeVar("StateT")


class Converging(ABC, Generic[StateT]):
    """One thing in Google Cloud that is observed, compared and changed until it is as wanted.

    The journal keeps the name of the operation under way (``operation``), whether it makes the
    thing (``creates``), and the id that keeps a request from being made twice (``request_id``).
    """

    instead: ClassVar[str] = "set what is there in the environment file, or another name"
    """What to do where the thing differs in what is never changed in place."""

    def __init__(self, clients: Clients, subject: str, project: str, protected: bool) -> None:
        self.subject = subject
        self._clients = clients
        self._protected = protected
        self._polling = clients.target.polling
        self._situation = Situation(subject, project, clients.target.kind)

    # -- the engine's contract ---------------------------------------------------------------

    @abstractmethod
    def observe(self) -> StateT | None:
        """The thing as it is now, or None."""

    @abstractmethod
    def plan(self, observed: StateT | None) -> Change:
        """What is to be changed."""

    def apply(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Converge; safe to repeat after a kill at any moment."""
        self._finish(journal)
        for _ in pauses(self._polling, self.subject, journal):
            observed = self.observe()
            now = self.plan(observed)
            if now.kind is ChangeKind.NONE:
                return
            if now.kind is ChangeKind.REPLACE:
                raise self._cannot_change(now)
            self._change(observed, now, journal)

    def verify(self) -> StateT:
        """The thing, ready and as wanted; raises ``VerificationError`` otherwise."""
        observed = self.observe()
        if observed is None:
            error = VerificationError(f"{self.subject} does not exist after it was made.")
            error.transient = True  # type: ignore[attr-defined]  # reads may lag behind writes
            raise error
        change = self.plan(observed)
        if change.kind is not ChangeKind.NONE:
            differing = ", ".join(each.path for each in change.fields) or change.reason
            raise VerificationError(
                f"{self.subject} is not as wanted: {differing}.",
                expected="; ".join(f"{each.path} = {each.new!r}" for each in change.fields),
                remedy="run again; somebody else may change it at the same time",
            )
        return observed

    def undo(self, change: Change, journal: Journal) -> None:
        """Take the change back, and look: an operation that was lost tells nothing."""
        self._take_back(change, journal)
        if change.kind is ChangeKind.CREATE and self.observe() is not None:
            raise self._not_undone(f"{self.subject} is still there after it was deleted.")

    # -- what each kind of thing does its own way ----------------------------------------------

    @property
    @abstractmethod
    def client(self) -> Any:
        """The client of the thing's service."""

    @abstractmethod
    def _change(self, observed: StateT | None, change: Change, journal: Journal) -> None:
        """Do what is planned, or a part of it."""

    @abstractmethod
    def _take_back(self, change: Change, journal: Journal) -> None:
        """Delete what was created, give what was changed its old values."""

    def _not_undone(self, what: str) -> VerificationError:
        error = VerificationError(what, remedy="run the rollback again")
        error.transient = True  # type: ignore[attr-defined]  # the next attempt tries again
        return error

    def _cannot_change(self, change: Change) -> CannotChange:
        shown = "; ".join(
            f"{each.path}: is {each.old!r}, wanted {each.new!r}" for each in change.fields
        )
        return CannotChange(
            f"{self.subject} differs in what Google never changes in place: {shown}.",
            expected="the same values, or another resource",
            remedy=self.instead,
        )

    def _request_id(self, journal: Journal) -> str:
        """What keeps the request under way from being done twice, also after a crash."""
        known = journal.get("request_id")
        if isinstance(known, str):
            return known
        made = str(uuid.uuid4())
        journal.put("request_id", made)
        return made

    def _wait(self, name: str, journal: Journal) -> None:
        wait(self.client, name, self._situation, self._polling, journal)

    def _clear_half_made(self, journal: Journal) -> None:
        """Take away what a creation that failed left behind, where it leaves anything."""

    # -- operations ----------------------------------------------------------------------------

    def _follow(self, name: str, journal: Journal, *, creates: bool = False) -> None:
        """Wait for an operation that was just begun; a kill does not lose it."""
        journal.put_many({"operation": name, "creates": creates})
        self._finish(journal)

    def _finish(self, journal: Journal) -> None:
        """Wait for the operation that this or an earlier attempt began."""
        name = journal.get("operation")
        if not isinstance(name, str):
            return
        creates = journal.get("creates") is True
        try:
            self._wait(name, journal)
        except NotFound:
            # It is too old to be remembered; what is there now tells how it ended.
            if creates:
                self._clear_half_made(journal)
        except CloudError as error:
            if not error.transient and not isinstance(error, TookTooLong):
                _forget(journal)
                if creates:
                    self._clear_half_made(journal)
            raise
        _forget(journal)


def _forget(journal: Journal) -> None:
    for key in ("operation", "creates", "request_id"):
        journal.forget(key)
