"""A plan as plain data: what each step would change, saved, compared and printed."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.engine.changes import Change, ChangeKind, Json
from lib.engine.errors import PlanStale
from lib.engine.fingerprint import digest

VERSION = 1

ID_LENGTH = 12
"""How long the id of a plan is; that of a single change is shorter."""

_NO_PLAN = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a file raises that is none of ours, whatever stands in it."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan: its phase, whether it is done already, and what it would change."""

    name: str
    phase: str
    state: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, in order; ``id`` is a digest of all of it."""

    environment: str
    steps: tuple[PlannedStep, ...]
    settings: str

    @property
    def id(self) -> str:
        """Short, and equal for equal plans over equal settings."""
        return digest(self._content())[:ID_LENGTH]

    def _content(self) -> dict[str, Json]:
        return {
            "environment": self.environment,
            "settings": self.settings,
            "steps": [
                {
                    "name": step.name,
                    "phase": step.phase,
                    "state": step.state,
                    "changes": [_comparable(each) for each in step.changes],
                }
                for step in self.steps
            ],
        }

    def to_json(self) -> str:
        """The plan file's text."""
        document = self._content() | {"version": VERSION, "id": self.id}
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """Read a plan file; raises ``PlanStale`` where it is not one or was edited."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            plan = cls(
                environment=document["environment"],
                settings=document["settings"],
                steps=tuple(
                    PlannedStep(
                        step["name"],
                        step["phase"],
                        step["state"],
                        tuple(Change.from_json(each) for each in step["changes"]),
                    )
                    for step in document["steps"]
                ),
            )
            if document["version"] != VERSION:
                raise ValueError(f"its version is {document['version']}, not {VERSION}")
            written = json.loads(plan.to_json())
        except _NO_PLAN as error:
            raise PlanStale(
                f"{path} is not a plan file: {error}.",
                expected="a file that --plan-out wrote",
                remedy="make it anew: pytest phases/ --dry-run --plan-out FILE",
            ) from error
        if document != written:
            raise PlanStale(
                f"{path} was changed after it was written.",
                expected=f"a content that gives its id {document.get('id')}; it gives {plan.id}",
                remedy="make it anew: pytest phases/ --dry-run --plan-out FILE",
            )
        return plan

    def differences(self, now: "Plan") -> list[str]:
        """What is not as this plan says, in words; empty where ``now`` is the same plan."""
        found = []
        if self.environment != now.environment:
            found.append(f"environment: {self.environment} -> {now.environment}")
        if self.settings != now.settings:
            found.append("the settings have changed")
        before = {step.name: step for step in self.steps}
        after = {step.name: step for step in now.steps}
        for name in before | after:
            old, new = before.get(name), after.get(name)
            if old is None or new is None:
                found.append(f"{name}: {'new' if old is None else 'gone'}")
            elif [_comparable(c) for c in old.changes] != [_comparable(c) for c in new.changes]:
                found.append(f"{name}: {_told(old.changes)} -> {_told(new.changes)}")
        return found


def _comparable(change: Change) -> dict[str, Json]:
    """A change without its estimate, which may differ from one look to the next."""
    return change.to_json() | {"seconds": None}


def _told(changes: Iterable[Change]) -> str:
    return ", ".join(each.describe() for each in changes) or "nothing"


_MARKS = {
    ChangeKind.CREATE: "+",
    ChangeKind.UPDATE: "~",
    ChangeKind.REPLACE: "!",
    ChangeKind.DELETE: "-",
    ChangeKind.COPY: ">",
    ChangeKind.NONE: "=",
    ChangeKind.UNKNOWN: "?",
}


def render(plan: Plan) -> list[str]:
    """The plan as a tree by phase and step, with a total line, for terminals and logs."""
    lines: list[str] = []
    phase = None
    for step in plan.steps:
        if step.phase != phase:
            phase = step.phase
            lines.append(f"{phase}")
        lines.append(f"  {step.name}" + (f"  [{step.state}]" if step.state else ""))
        for change in step.changes:
            lines.append(f"    {_MARKS[change.kind]} {change.describe()}")
            lines.extend(
                f"        {each.path}: {_value(each.old)} -> {_value(each.new)}"
                for each in change.fields
            )
    lines.append("")
    lines.append(total_line(plan.steps))
    return lines


def total_line(steps: Sequence[PlannedStep]) -> str:
    """``Plan: 7 to create, 1 to update, ...`` and the estimate where one is known."""
    changes = [each for step in steps for each in step.changes]
    counts = {kind: sum(each.kind is kind for each in changes) for kind in ChangeKind}
    words = [
        f"{counts[kind]} {word}"
        for kind, word in (
            (ChangeKind.CREATE, "to create"),
            (ChangeKind.UPDATE, "to update"),
            (ChangeKind.REPLACE, "to replace"),
            (ChangeKind.DELETE, "to delete"),
            (ChangeKind.COPY, "to copy"),
            (ChangeKind.UNKNOWN, "unknown until applied"),
            (ChangeKind.NONE, "unchanged"),
        )
        if counts[kind]
    ]
    seconds = sum(each.seconds or 0 for each in changes if each.kind is not ChangeKind.NONE)
    estimate = f"; about {seconds:.0f} s where an estimate is known" if seconds else ""
    return "Plan: " + (", ".join(words) or "nothing to do") + estimate + "."


def _value(value: Json) -> str:
    return "(none)" if value is None else json.dumps(value, ensure_ascii=False)
