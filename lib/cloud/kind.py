"""What distinguishes one kind of resource from another, as plain data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

MADE_BY = {"created-by": "ai-orchestra-migration"}
"""The label of what we create; undo deletes nothing without it, where the kind has labels."""


class Condition(Enum):
    """How a resource stands: usable, on its way, or broken."""

    READY = "ready"
    PENDING = "pending"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource, as Google's regular methods handle it.

    ``noun`` is for people; ``service`` the client's short name; ``thing`` the stem of its methods
    (``get_thing``) and requests; ``collection`` the segment of its names.  ``immutable`` paths are
    never updated; ``wholes`` are masked as wholes; ``request_ids`` where creation takes one;
    ``one_by_one`` where an update takes one field at a time.
    """

    noun: str
    service: str
    thing: str
    collection: str
    condition: Callable[[Any], Condition]
    immutable: tuple[str, ...] = ()
    wholes: tuple[str, ...] = ()
    labels: bool = True
    request_ids: bool = False
    one_by_one: bool = False
    console: str = ""


def by_state(ready: Iterable[str], failed: Iterable[str] = ()) -> Callable[[Any], Condition]:
    """A condition read from the field ``state``; what is neither ready nor failed is pending."""
    good, bad = frozenset(ready), frozenset(failed)

    def condition(message: Any) -> Condition:
        name = message.state.name
        if name in good:
            return Condition.READY
        return Condition.FAILED if name in bad else Condition.PENDING

    return condition


def always_ready(_: Any) -> Condition:
    """The condition of kinds that exist at once."""
    return Condition.READY
