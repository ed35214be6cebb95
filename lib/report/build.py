"""Builds a report from what a run knows: its steps, their checkpoints and what was measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lib.engine.changes import Json
from lib.engine.run import Standing
from lib.engine.run import StepState as EngineState
from lib.report.model import (
    ConnectionRow,
    CriterionRow,
    Outcome,
    PhaseRow,
    Report,
    StepRow,
    StepState,
)
from lib.report.recommendations import recommend
from lib.report.words import plural


@dataclass(frozen=True, slots=True)
class StepDeclaration:
    """A step as it is written: its name, its docstring's first line, its marks."""

    name: str
    title: str
    phase: str
    component: str


_STATES = {
    EngineState.NOT_STARTED: StepState.NOT_RUN,
    EngineState.DONE: StepState.SKIPPED_DONE,
    EngineState.PENDING: StepState.PENDING,
    EngineState.INTERRUPTED: StepState.INTERRUPTED,
    EngineState.FAILED: StepState.FAILED,
    EngineState.DRIFTED: StepState.DRIFTED,
    EngineState.ROLLED_BACK: StepState.ROLLED_BACK,
}


def build(
    *,
    declared: Iterable[StepDeclaration],
    results: Iterable[StepRow],
    standings: Mapping[str, Standing],
    criteria: Iterable[CriterionRow] = (),
    connections: Iterable[ConnectionRow] = (),
    environment: Mapping[str, str],
    run: int,
    started_at: float,
    finished_at: float,
    log: str = "",
    observations: Mapping[str, Json] | None = None,
) -> Report:
    """The report of a run.

    ``declared`` are all steps, in order.  ``results`` are those that this run worked on; every
    other declared step is told by its standing, which the checkpoints give.  ``observations``
    are further measured facts (see ``lib.report.recommendations``).
    """
    worked = {row.name: row for row in results}
    rows = tuple(
        worked[each.name] if each.name in worked else _earlier(each, standings) for each in declared
    )
    measured = tuple(sorted(criteria, key=lambda each: each.number))
    outcome, headline = conclude(rows, measured)
    report = Report(
        outcome=outcome,
        headline=headline,
        environment=dict(environment),
        run=run,
        started_at=started_at,
        finished_at=finished_at,
        phases=phases(rows, run),
        steps=rows,
        criteria=measured,
        connections=tuple(connections),
        log=log,
        observations=dict(observations or {}),
    )
    return replace(report, recommendations=recommend(report))


def _earlier(declared: StepDeclaration, standings: Mapping[str, Standing]) -> StepRow:
    """A step that this run did not work on."""
    standing = standings.get(declared.name)
    row = StepRow(
        declared.name, declared.title, declared.phase, declared.component, StepState.NOT_RUN
    )
    if standing is None:
        return row
    row = replace(row, state=_STATES[standing.state], reason=standing.reason)
    if standing.checkpoint is None:
        return row
    left = standing.checkpoint
    return replace(
        row,
        started_at=left.started_at,
        seconds=left.seconds,
        attempt=left.attempt,
        run=left.run,
        changes=left.changes,
        error=left.error or "",
    )


_WORST_FIRST = (
    StepState.FAILED,
    StepState.INTERRUPTED,
    StepState.DRIFTED,
    StepState.PENDING,
    StepState.NOT_RUN,
    StepState.ROLLED_BACK,
    StepState.PLANNED,
    StepState.DONE,
    StepState.SKIPPED_DONE,
)
_FINISHED = (StepState.DONE, StepState.SKIPPED_DONE)


def phases(steps: Iterable[StepRow], run: int) -> tuple[PhaseRow, ...]:
    """The phases of the steps, in the order in which the steps name them first."""
    grouped: dict[str, list[StepRow]] = {}
    for step in steps:
        grouped.setdefault(step.phase, []).append(step)
    return tuple(
        PhaseRow(
            name=name,
            state=min((each.state for each in rows), key=_WORST_FIRST.index),
            steps=len(rows),
            done=sum(each.state in _FINISHED for each in rows),
            failed=sum(each.state is StepState.FAILED for each in rows),
            seconds=sum(each.seconds for each in rows if each.run == run),
        )
        for name, rows in grouped.items()
    )


def conclude(rows: Sequence[StepRow], criteria: Sequence[CriterionRow]) -> tuple[Outcome, str]:
    """How a run ended, and that in words."""
    counts = {state: sum(each.state is state for each in rows) for state in StepState}
    breached = [each for each in criteria if not each.passed]
    measured = len(criteria)
    finished = sum(counts[each] for each in _FINISHED)
    done = f"{finished} of {plural(len(rows), 'step')} done"
    waiting = counts[StepState.NOT_RUN] + counts[StepState.PENDING]
    if counts[StepState.FAILED]:
        after = f"; {plural(waiting, 'step')} did not run" if waiting else ""
        return Outcome.FAILED, f"{plural(counts[StepState.FAILED], 'step')} failed{after}."
    if counts[StepState.INTERRUPTED]:
        return Outcome.INTERRUPTED, f"Interrupted with {done}; the same command goes on from here."
    if counts[StepState.PLANNED]:
        planned = plural(counts[StepState.PLANNED], "step")
        return Outcome.PLANNED, f"Dry run: {planned} planned, nothing was changed."
    if counts[StepState.ROLLED_BACK]:
        back = plural(counts[StepState.ROLLED_BACK], "step")
        return Outcome.ROLLED_BACK, f"{back} rolled back."
    if breached:
        named = ", ".join(str(each.number) for each in breached)
        word = "Criterion" if len(breached) == 1 else "Criteria"
        return Outcome.BREACHED, f"{word} {named} of {measured} not met; {done}."
    if finished < len(rows):
        return Outcome.INCOMPLETE, f"{done}; the others wait for a run of their own."
    if not rows and not measured:
        return Outcome.EMPTY, "No step ran and no criterion was measured."
    met = f"all {measured} criteria met" if measured else "criteria not measured in this run"
    return Outcome.PASSED, f"{done}, {met}." if rows else f"{met[0].upper()}{met[1:]}."
