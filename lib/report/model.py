"""What a report says, as plain data: no pytest, no database, nothing that must be running."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lib.engine.changes import Change, Json
from lib.report.quantiles import percentile


class StepState(StrEnum):
    """How a step stands when its report is written."""

    DONE = "done"
    SKIPPED_DONE = "skipped-done"
    FAILED = "failed"
    NOT_RUN = "not run"
    PENDING = "pending"
    INTERRUPTED = "interrupted"
    PLANNED = "planned"
    DRIFTED = "drifted"
    ROLLED_BACK = "rolled back"


class Outcome(StrEnum):
    """How a whole run ended."""

    PASSED = "passed"
    BREACHED = "criterion breached"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    INCOMPLETE = "incomplete"
    PLANNED = "planned"
    ROLLED_BACK = "rolled back"
    EMPTY = "nothing to report"


class Urgency(StrEnum):
    """How soon a recommendation should be heeded."""

    ACT = "act"
    CONSIDER = "consider"
    KNOW = "know"


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step: ``title`` says what is true afterwards; times are seconds since the epoch.

    ``run`` is the run that its state comes from, ``retries`` how often a call was repeated after
    an error that passes by itself.
    """

    name: str
    title: str
    phase: str
    component: str
    state: StepState
    reason: str = ""
    started_at: float | None = None
    seconds: float = 0.0
    attempt: int = 0
    retries: int = 0
    run: int = 0
    changes: tuple[Change, ...] = ()
    error: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The row in types that travel between test processes."""
        return {
            "name": self.name,
            "title": self.title,
            "phase": self.phase,
            "component": self.component,
            "state": self.state.value,
            "reason": self.reason,
            "started_at": self.started_at,
            "seconds": self.seconds,
            "attempt": self.attempt,
            "retries": self.retries,
            "run": self.run,
            "changes": [each.to_json() for each in self.changes],
            "error": self.error,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "StepRow":
        """The row that ``to_json`` gave."""
        values = dict(stored)
        values["state"] = StepState(values["state"])
        values["changes"] = tuple(Change.from_json(each) for each in values["changes"])
        values["notes"] = tuple(values["notes"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A phase as the sum of its steps; ``seconds`` counts the steps that this run worked on."""

    name: str
    state: StepState
    steps: int
    done: int
    failed: int
    seconds: float

    @property
    def title(self) -> str:
        """The phase's name for people: ``vector_search`` is Vector Search."""
        known = {"apis": "APIs"}
        return known.get(self.name, self.name.replace("_", " ").replace("-", " ").title())


Figure = float | str
"""A measured value or a threshold: a number with a unit, or what a thing is or should be."""


def holds(observed: Figure | None, comparison: str, threshold: Figure) -> bool:
    """Whether a comparison is true; never for a value that is missing, NaN or of another kind."""
    if isinstance(observed, str) or isinstance(threshold, str):
        return comparison == "==" and observed is not None and observed == threshold
    if observed is None:
        return False
    if comparison == "<":
        return observed < threshold
    if comparison == "<=":
        return observed <= threshold
    if comparison == ">=":
        return observed >= threshold
    if comparison == "==":
        return observed == threshold
    raise ValueError(f"unknown comparison {comparison!r}")


@dataclass(frozen=True, slots=True)
class Beside:
    """A condition that must hold beside a criterion, such as recall at least 0.95."""

    subject: str
    observed: float | None
    comparison: str
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether it was observed and holds."""
        return holds(self.observed, self.comparison, self.threshold)


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One criterion and its evidence.

    ``samples`` are in ``samples_unit`` (``unit`` where that is empty); fewer than
    ``samples_needed`` fail the criterion, as do no observation at all, a false comparison and a
    condition beside it that does not hold.  ``reason`` says why nothing was measured.
    """

    number: int
    subject: str
    statistic: str
    threshold: Figure
    unit: str
    comparison: str
    observed: Figure | None
    samples: tuple[float, ...] = ()
    beside: tuple[Beside, ...] = ()
    reason: str = ""
    samples_unit: str = ""
    samples_needed: int = 1

    @property
    def passed(self) -> bool:
        """True only where enough samples show that everything holds."""
        return not self.failure

    @property
    def failure(self) -> str:
        """Why the criterion fails, in words; empty where it passes."""
        if self.observed is None:
            return self.reason or "it was not measured"
        if len(self.samples) < self.samples_needed:
            few = f"{len(self.samples)} of {self.samples_needed} samples"
            return f"{few}; {self.reason}" if self.reason else few
        if not holds(self.observed, self.comparison, self.threshold):
            return self.reason or f"{self.statistic} is not {self.comparison} the threshold"
        wrong = [each.subject for each in self.beside if not each.passed]
        return f"beside it, {' and '.join(wrong)} does not hold" if wrong else ""

    @property
    def margin(self) -> float | None:
        """The part of the threshold that is left (negative where exceeded); None without one."""
        if isinstance(self.observed, str | None) or isinstance(self.threshold, str):
            return None
        if self.threshold == 0 or self.comparison == "==" or self.observed != self.observed:
            return None
        share = (self.threshold - self.observed) / abs(self.threshold)
        return -share if self.comparison == ">=" else share

    def percentile(self, percent: float) -> float | None:
        """A percentile of the samples by nearest rank; None without samples."""
        return percentile(self.samples, percent) if self.samples else None

    def to_json(self) -> dict[str, Json]:
        """The row in types that travel between test processes."""
        return {
            "number": self.number,
            "subject": self.subject,
            "statistic": self.statistic,
            "threshold": self.threshold,
            "unit": self.unit,
            "comparison": self.comparison,
            "observed": self.observed,
            "samples": list(self.samples),
            "beside": [
                {
                    "subject": each.subject,
                    "observed": each.observed,
                    "comparison": each.comparison,
                    "threshold": each.threshold,
                }
                for each in self.beside
            ],
            "reason": self.reason,
            "samples_unit": self.samples_unit,
            "samples_needed": self.samples_needed,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "CriterionRow":
        """The row that ``to_json`` gave."""
        values = dict(stored)
        values["samples"] = tuple(values["samples"])
        values["beside"] = tuple(Beside(**each) for each in values["beside"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A criterion that is not held here, and why."""

    number: int
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Something to do or to know next, with the figure that it rests on."""

    urgency: Urgency
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """One thing that now exists: what it is, where it answers and how to connect to it."""

    kind: str
    name: str
    state: str
    address: str
    connect: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report shows.

    ``environment`` holds facts in the order in which they are shown (``environment``,
    ``target``, ``endpoint``, ``project``, ``region``, ``protected``, ``host``, ``python``, ...).
    ``headline`` tells the outcome in words.  ``log`` is the log file's name.
    """

    outcome: Outcome
    headline: str
    environment: Mapping[str, str]
    run: int
    started_at: float
    finished_at: float
    phases: tuple[PhaseRow, ...] = ()
    steps: tuple[StepRow, ...] = ()
    criteria: tuple[CriterionRow, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    connections: tuple[ConnectionRow, ...] = ()
    log: str = ""
    observations: Mapping[str, Json] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return max(0.0, self.finished_at - self.started_at)
