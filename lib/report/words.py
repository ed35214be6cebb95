"""Figures as people read them: durations, instants, counts, values with their unit."""

import math
from datetime import datetime

from lib.report.model import Figure


def duration(seconds: float) -> str:
    """``340 ms``, ``12.4 s``, ``3 min 05 s`` or ``2 h 07 min``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 1:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def instant(at: float | None) -> str:
    """A time on this machine's clock with its zone; a dash where there is none."""
    if at is None:
        return "–"
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def number(value: float) -> str:
    """Three significant digits, and whole numbers whole."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if abs(value) >= 0.001 else f"{value:.1e}"


def figure(value: Figure | None, unit: str = "") -> str:
    """A value with its unit (``%`` and words set as usual); ``not measured`` for None."""
    if value is None:
        return "not measured"
    if isinstance(value, str):
        return value
    return f"{number(value)} {unit}".rstrip()


def plural(count: int, noun: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def share(value: float) -> str:
    """A share as a whole percentage, signed only where negative."""
    return f"{value * 100:.0f} %"


COMPARISONS = {"<": "<", "<=": "≤", ">=": "≥", "==": "is"}
"""How a comparison is written for people."""
