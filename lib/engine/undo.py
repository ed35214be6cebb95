"""What a step's runs changed and its code can take back, and how one change goes with another."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from lib.engine.actions import Action, why_it_stays
from lib.engine.changes import Change, ChangeKind

Undoable: TypeAlias = "dict[int, tuple[Action[Any], Change]]"
"""By the intent's number, the action that made a change and the change."""


def newest_first(undoable: Undoable) -> list[int]:
    """The intents in the order in which they are taken back."""
    return sorted(undoable, reverse=True)


def later_changes(undoable: Undoable, intent: int) -> list[int]:
    """The intents that go with this one, as it created the thing that they changed."""
    action, change = undoable[intent]
    if change.kind is not ChangeKind.CREATE:
        return []
    return [each for each in undoable if each > intent and undoable[each][0] is action]


def goes_with_its_creation(undoable: Undoable, intent: int) -> bool:
    """Whether an earlier intent created what this one changed, and can be taken back.

    A creation that was killed half-way is finished by a change of its own in the next run.
    """
    return any(
        intent in later_changes(undoable, each) and not why_it_stays(*undoable[each])
        for each in undoable
    )


def what_stays(undoable: Undoable, standing: Mapping[int, Change]) -> list[str]:
    """Why changes that stand can't be taken back, a line each; empty where all can."""
    found = [
        f"{change.describe()}: this step's code makes it no longer, so nothing can undo it"
        for intent, change in standing.items()
        if intent not in undoable
    ]
    for intent, (action, change) in undoable.items():
        reason = why_it_stays(action, change)
        if reason and not goes_with_its_creation(undoable, intent):
            found.append(f"{change.describe()}: {reason}")
    return found
