"""What an action would do to the world: plain data, shown in plans and kept in checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What may be stored in a checkpoint.  Secrets never are: publish a secret's *name*."""


class ChangeKind(StrEnum):
    """The kinds of change a plan can hold."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    COPY = "copy"
    NONE = "none"
    UNKNOWN = "unknown"


NOTHING_TO_REMOVE = "there is nothing to remove"
"""The reason of an unchanged thing that is as wanted because it does not exist."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of an update: a dotted path, its old and its new value."""

    path: str
    old: Json
    new: Json


@dataclass(frozen=True, slots=True)
class Change:
    """One planned or applied change.

    ``subject`` names the thing as people do (``AlloyDB cluster agent-storage``).
    ``quantities`` counts what a copy moves (``tables``, ``rows``, ``bytes``, ``keys``).
    ``seconds`` estimates the time to apply, where one is known.
    ``irreversible`` marks what production must approve first (project move, cutover, deletion).
    """

    kind: ChangeKind
    subject: str
    fields: tuple[FieldChange, ...] = ()
    reason: str = ""
    quantities: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None
    irreversible: bool = False

    def to_json(self) -> dict[str, Json]:
        """The change as a checkpoint or a plan file keeps it."""
        return {
            "kind": self.kind.value,
            "subject": self.subject,
            "fields": [{"path": f.path, "old": f.old, "new": f.new} for f in self.fields],
            "reason": self.reason,
            "quantities": dict(self.quantities),
            "seconds": self.seconds,
            "irreversible": self.irreversible,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Change":
        """The change that ``to_json`` wrote; keys that an older version lacked get defaults."""
        return cls(
            kind=ChangeKind(stored["kind"]),
            subject=stored["subject"],
            fields=tuple(FieldChange(**each) for each in stored.get("fields", ())),
            reason=stored.get("reason", ""),
            quantities=stored.get("quantities", {}),
            seconds=stored.get("seconds"),
            irreversible=stored.get("irreversible", False),
        )

    def covers(self, other: "Change") -> bool:
        """Whether this planned change is the other one; counts and wording may have moved."""
        return (self.kind, self.subject) == (other.kind, other.subject) and (
            not self.fields or self.fields == other.fields
        )

    def reversed(self) -> "Change":
        """The change that takes this one back, as a rollback's plan shows it."""
        back = {
            ChangeKind.CREATE: ChangeKind.DELETE,
            ChangeKind.COPY: ChangeKind.DELETE,
            ChangeKind.DELETE: ChangeKind.CREATE,
        }
        fields = tuple(FieldChange(each.path, each.new, each.old) for each in self.fields)
        return Change(
            back.get(self.kind, self.kind), self.subject, fields, quantities=self.quantities
        )

    def describe(self) -> str:
        """One line for people: the kind, the subject, and what is counted or why."""
        counted = ", ".join(_count(name, n) for name, n in self.quantities.items())
        detail = "; ".join(each for each in (counted, self.reason) if each)
        kind = "already right:" if self.kind is ChangeKind.NONE else self.kind
        return f"{kind} {self.subject}" + (f" ({detail})" if detail else "")


def _count(name: str, number: int) -> str:
    if name == "bytes":
        return f"{number / 1e6:,.1f} MB"
    return f"{number:,} {name}"
