"""When phases and steps happened: one time line for each run that left a step as it is now."""

from collections.abc import Iterable
from dataclasses import dataclass

from lib.report.model import PhaseRow, Report, StepRow, StepState
from lib.report.words import duration

MOST_RUNS = 4
SHORTEST = 0.35
"""Per cent of the width that a bar has at least, so that short steps stay visible."""


LAST_TICK = 0.94
"""No label begins further to the right, where it would not fit."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One step on the time line; ``left`` and ``width`` in per cent, ``lane`` from 0."""

    step: StepRow
    left: float
    width: float
    lane: int


@dataclass(frozen=True, slots=True)
class Band:
    """One phase on the time line."""

    title: str
    bars: tuple[Bar, ...]
    lanes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TimeLine:
    """One run's time line; ``ticks`` are (per cent, label) pairs."""

    run: int
    current: bool
    started_at: float
    seconds: float
    bands: tuple[Band, ...]
    ticks: tuple[tuple[float, str], ...]


def time_lines(report: Report) -> tuple[TimeLine, ...]:
    """The newest runs' time lines, this run's first; a run without steps has none."""
    timed = [each for each in report.steps if each.started_at and each.state in _SHOWN]
    runs = sorted({each.run for each in timed}, reverse=True)[:MOST_RUNS]
    return tuple(
        _line(run, run == report.run, [s for s in timed if s.run == run], report.phases)
        for run in runs
    )


_SHOWN = (
    StepState.DONE,
    StepState.SKIPPED_DONE,
    StepState.FAILED,
    StepState.INTERRUPTED,
    StepState.PENDING,
    StepState.PLANNED,
    StepState.DRIFTED,
    StepState.ROLLED_BACK,
)


def _line(run: int, current: bool, steps: list[StepRow], phases: Iterable[PhaseRow]) -> TimeLine:
    begin = min(each.started_at or 0.0 for each in steps)
    end = max((each.started_at or 0.0) + each.seconds for each in steps)
    span = max(end - begin, 0.001)
    bands = []
    for phase in phases:
        mine = [each for each in steps if each.phase == phase.name]
        if mine:
            bars = _lanes(mine, begin, span)
            lanes = 1 + max(each.lane for each in bars)
            seconds = sum(each.seconds for each in mine)
            bands.append(Band(phase.title, tuple(bars), lanes, seconds))
    return TimeLine(run, current, begin, span, tuple(bands), _ticks(span))


def _lanes(steps: list[StepRow], begin: float, span: float) -> list[Bar]:
    """Steps that ran at the same time lie under one another."""
    free: list[float] = []
    bars = []
    for step in sorted(steps, key=lambda each: each.started_at or 0.0):
        started = step.started_at or 0.0
        lane = next((i for i, at in enumerate(free) if at <= started + span * 1e-6), len(free))
        free[lane : lane + 1] = [started + step.seconds]
        width = max(step.seconds / span * 100, SHORTEST)
        left = min((started - begin) / span * 100, 100 - width)
        bars.append(Bar(step, round(left, 3), round(width, 3), lane))
    return bars


_STEPS = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)


def _ticks(span: float) -> tuple[tuple[float, str], ...]:
    step = next((each for each in _STEPS if span / each <= 6), span / 5)
    last = int(span * LAST_TICK / step)
    return tuple((round(i * step / span * 100, 2), _tick(i * step)) for i in range(last + 1))


def _tick(seconds: float) -> str:
    if seconds == 0:
        return "0"
    if seconds < 60 or seconds % 60:
        return duration(seconds).replace(".0 s", " s")
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:g} h"
