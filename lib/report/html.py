"""The report as HTML: one page that needs nothing else, or its body for another page."""

from functools import cache
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lib.engine.changes import ChangeKind, Json
from lib.report import plots, words
from lib.report.model import Report, StepRow, StepState
from lib.report.timeline import time_lines

STATES = {
    StepState.DONE: ("good", "✓", "done"),
    StepState.SKIPPED_DONE: ("kept", "✓", "done earlier"),
    StepState.FAILED: ("bad", "✗", "failed"),
    StepState.NOT_RUN: ("idle", "–", "not run"),
    StepState.PENDING: ("warn", "…", "pending"),
    StepState.INTERRUPTED: ("warn", "!", "interrupted"),
    StepState.PLANNED: ("plan", "~", "planned"),
    StepState.DRIFTED: ("warn", "≠", "drifted"),
    StepState.ROLLED_BACK: ("idle", "←", "rolled back"),
}
"""For each state of a step: colour class, mark and word."""

OUTCOMES = {
    "passed": "good",
    "criterion breached": "bad",
    "failed": "bad",
    "interrupted": "warn",
    "incomplete": "warn",
    "planned": "plan",
    "rolled back": "idle",
    "nothing to report": "idle",
}
"""For each outcome of a run: its colour class."""


def page(report: Report) -> str:
    """A whole page that opens from a file, without scripts and without anything to fetch."""
    template = _environment().get_template("page.html")
    return template.render(_names(report), css=Markup(stylesheet("report.css")))


def body(report: Report) -> str:
    """The report's element alone; it needs the style sheet ``report.css``."""
    return _environment().get_template("body.html").render(_names(report))


def stylesheet(name: str) -> str:
    """A style sheet of this package."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lib.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=words.duration,
        instant=words.instant,
        figure=words.figure,
        number=words.number,
        share=words.share,
        plural=words.plural,
        value=_value,
        label=lambda name: name.replace("_", " "),
        bar=lambda margin: round(min(max(1 - margin, 0.0), 1.5) / 1.5 * 100, 1),
    )
    return environment


def _names(report: Report) -> dict[str, object]:
    limited = (each for each in report.criteria if not isinstance(each.threshold, str))
    drawn = (plots.latency_plot(each) for each in limited)
    return {
        "report": report,
        "tone": OUTCOMES[report.outcome.value],
        "states": STATES,
        "comparisons": words.COMPARISONS,
        "lines": time_lines(report),
        "plots": [each for each in drawn if each is not None],
        "frame": plots,
        "groups": [(phase, _components(report, phase.name)) for phase in report.phases],
        "unchanged": ChangeKind.NONE,
        "long": len(report.steps) > 12,
    }


def _components(report: Report, phase: str) -> list[tuple[str, list[StepRow]]]:
    steps = [each for each in report.steps if each.phase == phase]
    return [(name, list(rows)) for name, rows in groupby(steps, key=lambda row: row.component)]


def _value(value: Json) -> str:
    if value is None:
        return "(none)"
    return value if isinstance(value, str) else str(value)
