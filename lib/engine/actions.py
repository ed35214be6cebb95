"""The contract between the engine and whatever changes the world."""

from collections.abc import Mapping
from typing import Protocol, TypeVar, runtime_checkable

from lib.engine.changes import Change, Json

StateT = TypeVar("StateT")


class Journal(Protocol):
    """What an action may remember and report while it is applied; durable, per step and action.

    Entries survive a crash and are offered again to the next attempt, until the step's checkpoint
    is written.  Use it for an operation's name before waiting for it, or for finished chunks.
    """

    def get(self, key: str) -> Json:
        """The value under ``key``, or None."""

    def put(self, key: str, value: Json) -> None:
        """Store ``value``; it is durable when this returns.  Safe from any thread."""

    def put_many(self, entries: Mapping[str, Json]) -> None:
        """Store several entries in one durable transaction."""

    def entries(self, prefix: str = "") -> Mapping[str, Json]:
        """Every entry whose key begins with ``prefix``."""

    def forget(self, prefix: str = "") -> None:
        """Delete the entries whose key begins with ``prefix``."""

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        """Report progress (``unit`` is ``bytes``, ``rows``, ``keys`` or ``seconds``); cheap."""

    def safe_point(self) -> None:
        """Stop here if the run was interrupted, its deadline passed or its lock was lost."""


class Action(Protocol[StateT]):
    """One thing that a step makes true.  Constructing an action touches nothing.

    ``observe`` and ``plan`` only read; a dry run stops after ``plan``.  ``plan`` answers
    ``ChangeKind.NONE`` when the world already is as wanted.  ``apply`` must be repeatable: after
    a crash the engine observes and plans again and applies what is left.  ``verify`` reads the
    world anew and raises ``VerificationError`` unless it is as wanted.
    """

    @property
    def subject(self) -> str:
        """What the action is about, as people name it; unique within a step."""

    def observe(self) -> StateT | None:
        """The state of the world now, or None where the thing does not exist."""

    def plan(self, observed: StateT | None) -> Change:
        """What ``apply`` would change, given what was observed."""

    def apply(self, change: Change, journal: Journal) -> None:
        """Make the change."""

    def verify(self) -> StateT:
        """The state after applying, checked against what was wanted."""

    def undo(self, change: Change, journal: Journal) -> None:
        """Take back a change that was applied; raise ``CannotUndo`` with the reason if none can."""


@runtime_checkable
class HardToUndo(Protocol):
    """An action that knows, without looking at the world, that some of its changes stay."""

    def stays(self, change: Change) -> str:
        """Why ``change`` has no way back; empty where it has one."""


def why_it_stays(action: object, change: Change) -> str:
    """Why a change has no way back, where its action can tell before anything is undone."""
    return action.stays(change) if isinstance(action, HardToUndo) else ""
