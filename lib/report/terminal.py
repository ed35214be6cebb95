"""The summary at the end of a run in a terminal: a few lines of plain text."""

from collections.abc import Iterator

from lib.report.model import CriterionRow, PhaseRow, Report, StepState, Urgency
from lib.report.words import COMPARISONS, duration, figure, number, plural, share


def summary(report: Report, place: str = "") -> list[str]:
    """The outcome, phases, criteria, failures and urgent advice; ``place`` is the HTML file."""
    lines = [f"{report.headline} ({duration(report.seconds)}, run {report.run})"]
    lines += _block("phases", [_phase(each) for each in report.phases])
    lines += _block("criteria", [_criterion(each, report) for each in report.criteria])
    lines += _block("failed", list(_failures(report)))
    urgent = [each for each in report.recommendations if each.urgency is not Urgency.KNOW]
    lines += _block("recommended", [f"{each.title}. {each.reason}" for each in urgent])
    if place:
        lines += ["", f"report: {place}"]
    return lines


def _block(title: str, rows: list[str]) -> list[str]:
    return ["", title, *(f"  {row}" for row in rows)] if rows else []


_MARKS = {
    StepState.DONE: "✓",
    StepState.SKIPPED_DONE: "✓",
    StepState.FAILED: "✗",
    StepState.PLANNED: "~",
    StepState.ROLLED_BACK: "←",
}


def _phase(phase: PhaseRow) -> str:
    mark = _MARKS.get(phase.state, "–")
    took = duration(phase.seconds) if phase.seconds else "done earlier"
    if phase.state is not StepState.SKIPPED_DONE and not phase.seconds:
        took = phase.state.value
    told = f"{phase.done}/{phase.steps} steps"
    return f"{mark} {phase.title:<16} {told:<12} {took}"


def _criterion(criterion: CriterionRow, report: Report) -> str:
    width = max(len(each.subject) for each in report.criteria)
    mark = "✓" if criterion.passed else "✗"
    observed = f"{criterion.statistic} {figure(criterion.observed, criterion.unit)}".strip()
    wanted = figure(criterion.threshold, criterion.unit)
    parts = [f"{observed} (wanted: {COMPARISONS[criterion.comparison]} {wanted})"]
    if criterion.margin is not None:
        parts.append(f"margin {share(criterion.margin)}")
    for each in criterion.beside:
        sign = COMPARISONS[each.comparison]
        seen = "not measured" if each.observed is None else number(each.observed)
        parts.append(f"{each.subject} {seen} {sign} {number(each.threshold)}")
    parts.append(plural(len(criterion.samples), "sample"))
    if criterion.failure:
        parts.append(criterion.failure)
    return f"{mark} {criterion.number} {criterion.subject:<{width}}  " + "; ".join(parts)


def _failures(report: Report) -> Iterator[str]:
    for step in report.steps:
        if step.state is StepState.FAILED:
            first, *rest = step.error.splitlines() or [step.reason]
            yield f"{step.name}: {first}"
            yield from (f"  {line}" for line in rest)
