"""The geometry of the plots; templates draw it, so that everything is escaped in one place."""

import math
from dataclasses import dataclass

from lib.report.model import CriterionRow
from lib.report.quantiles import distribution
from lib.report.words import number

WIDTH, HEIGHT = 620, 190
LEFT, RIGHT, TOP, BOTTOM = 40, 14, 22, 30
FEW = 20
"""Below so many samples each is drawn as a dot."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class LatencyPlot:
    """The distribution of a criterion's samples, in the coordinates of an SVG view box."""

    title: str
    unit: str
    path: str
    dots: tuple[tuple[float, float], ...]
    ticks: tuple[Tick, ...]
    levels: tuple[Tick, ...]
    percentiles: tuple[tuple[str, float, float, str], ...]
    threshold: Tick | None
    threshold_anchor: str
    description: str


class _Axis:
    """Values to x coordinates: linear, or logarithmic where the values span a wide range."""

    def __init__(self, low: float, high: float) -> None:
        self.log = low > 0 and high / low > 12
        if self.log:
            self.low, self.high = math.log10(low / 1.1), math.log10(high * 1.1)
        else:
            self.low, self.high = 0.0 if low >= 0 else low, high * 1.05 or 1.0
        if self.high <= self.low:
            self.high = self.low + 1.0

    def x(self, value: float) -> float:
        place = math.log10(max(value, 1e-12)) if self.log else value
        share = (place - self.low) / (self.high - self.low)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[float]:
        if self.log:
            first, last = math.floor(self.low), math.ceil(self.high)
            steps = (1, 2, 5) if self.high - self.low < 3 else (1,)
            values = [m * 10.0**e for e in range(first, last + 1) for m in steps]
            return [v for v in values if self.low <= math.log10(v) <= self.high]
        span = self.high - self.low
        step = 10 ** math.floor(math.log10(span / 4))
        step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 6)
        first = math.ceil(self.low / step)
        return [i * step for i in range(first, math.floor(self.high / step) + 1)]


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def latency_plot(criterion: CriterionRow) -> LatencyPlot | None:
    """The plot of a criterion's samples; None where there are none that can be drawn."""
    samples = [each for each in criterion.samples if math.isfinite(each)]
    if not samples:
        return None
    unit = criterion.samples_unit or criterion.unit
    limit = None
    if isinstance(criterion.threshold, int | float) and unit == criterion.unit:
        limit = float(criterion.threshold)
    axis = _Axis(min(samples), max([*samples, *([limit] if limit is not None else [])]))
    points = [(axis.x(value), _y(share)) for value, share in distribution(samples)]
    at = axis.x(limit) if limit is not None else 0.0
    marks = [(name, criterion.percentile(p), p) for name, p in _marks(len(samples))]
    return LatencyPlot(
        title=f"{criterion.number}. {criterion.subject}",
        unit=unit,
        path=_steps(points),
        dots=tuple(points) if len(samples) < FEW else (),
        ticks=tuple(Tick(axis.x(each), number(each)) for each in axis.ticks()),
        levels=tuple(Tick(_y(each), f"{each:.0%}".replace("%", " %")) for each in (0, 0.5, 1)),
        percentiles=tuple(
            (name, axis.x(value), _y(p / 100), f"{number(value)} {unit}".strip())
            for name, value, p in marks
            if value is not None and math.isfinite(value)
        ),
        threshold=None if limit is None else Tick(at, f"{number(limit)} {unit}".strip()),
        threshold_anchor="end" if at > WIDTH * 0.6 else "start",
        description=_described(criterion, marks, unit),
    )


def _marks(count: int) -> tuple[tuple[str, float], ...]:
    if count < FEW:
        return (("median", 50), ("largest", 100))
    return (("p50", 50), ("p95", 95), ("p99", 99))


def _steps(points: list[tuple[float, float]]) -> str:
    """A staircase: the share rises at each sample and is level between them."""
    x, y = points[0]
    parts = [f"M{x} {_y(0)}V{y}"]
    for x, y in points[1:]:
        parts.append(f"H{x}V{y}")
    return "".join(parts) + f"H{WIDTH - RIGHT}"


def _described(
    criterion: CriterionRow, marks: list[tuple[str, float | None, float]], unit: str
) -> str:
    told = ", ".join(f"{name} {number(value)} {unit}" for name, value, _ in marks if value)
    return f"Distribution of {len(criterion.samples):,} samples of {criterion.subject}: {told}."
