"""The properties that a JUnit file carries, so that CI can read what the HTML shows."""

from collections import Counter

from lib.engine.changes import ChangeKind
from lib.report.model import CriterionRow, Report, StepRow
from lib.report.words import number

Properties = list[tuple[str, str]]
"""Names and values in the order in which they are written."""


def suite_properties(report: Report) -> Properties:
    """What holds for the whole run: outcome, facts, counts of steps and criteria."""
    counts = Counter(each.state.value for each in report.steps)
    met = sum(each.passed for each in report.criteria)
    return [
        ("outcome", report.outcome.value),
        ("headline", report.headline),
        ("run", str(report.run)),
        ("seconds", f"{report.seconds:.3f}"),
        *((f"environment.{name}", _line(value)) for name, value in report.environment.items()),
        *((f"steps.{state}", str(count)) for state, count in sorted(counts.items())),
        ("criteria.met", str(met)),
        ("criteria.measured", str(len(report.criteria))),
        *(
            (f"recommendation.{index}", f"{each.urgency}: {each.title}. {each.reason}")
            for index, each in enumerate(report.recommendations, 1)
        ),
    ]


def step_properties(step: StepRow) -> Properties:
    """What one step did; each change is a property of its own."""
    changed = [each for each in step.changes if each.kind is not ChangeKind.NONE]
    return [
        ("step", step.name),
        ("phase", step.phase),
        ("component", step.component),
        ("state", step.state.value),
        *([("reason", _line(step.reason))] if step.reason else []),
        ("run", str(step.run)),
        ("attempt", str(step.attempt)),
        ("retries", str(step.retries)),
        ("seconds", f"{step.seconds:.3f}"),
        ("unchanged", str(len(step.changes) - len(changed))),
        *(("change", _line(each.describe())) for each in changed),
        *(("note", _line(each)) for each in step.notes),
    ]


def criterion_properties(criterion: CriterionRow) -> Properties:
    """A criterion's threshold, observed value, margin and the spread of its samples."""
    unit = criterion.samples_unit or criterion.unit
    properties = [
        ("criterion", str(criterion.number)),
        ("subject", criterion.subject),
        ("statistic", criterion.statistic),
        ("comparison", criterion.comparison),
        ("threshold", str(criterion.threshold)),
        ("unit", criterion.unit),
        ("observed", "" if criterion.observed is None else str(criterion.observed)),
        ("passed", str(criterion.passed).lower()),
        ("samples", str(len(criterion.samples))),
    ]
    if criterion.margin is not None:
        properties.append(("margin", f"{criterion.margin:.4f}"))
    if criterion.failure:
        properties.append(("failure", _line(criterion.failure)))
    for percent in (50, 95, 99):
        value = criterion.percentile(percent)
        if value is not None:
            properties.append((f"p{percent}", f"{value:.6g} {unit}".rstrip()))
    for each in criterion.beside:
        shown = "" if each.observed is None else number(each.observed)
        told = f"{shown} {each.comparison} {number(each.threshold)}: {str(each.passed).lower()}"
        properties.append((f"beside.{each.subject}", told.strip()))
    return properties


def _line(text: str) -> str:
    return " ".join(text.split())
