"""Percentiles by nearest rank: every figure is one of the samples, never a value in between."""

import math
from collections.abc import Sequence


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least ``percent`` per cent of the samples do not exceed.

    Raises ``ValueError`` without samples or for a percentage outside 0 to 100.
    """
    if not samples:
        raise ValueError("a percentile needs samples")
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent} is no percentage")
    # Rounded, as 0.07 * 100 is a little more than 7 in floating point.
    rank = math.ceil(round(percent / 100 * len(samples), 9))
    return sorted(samples)[max(rank, 1) - 1]


def distribution(samples: Sequence[float], points: int = 240) -> list[tuple[float, float]]:
    """Points (value, share of samples not above it) of the distribution, at most ``points``.

    The smallest and the largest sample are always among them, and so is the upper tail, where
    latency criteria are decided.
    """
    ordered = sorted(samples)
    count = len(ordered)
    if count <= points:
        ranks = range(1, count + 1)
        return [(ordered[rank - 1], rank / count) for rank in ranks]
    half = points // 2
    body = {round(1 + (count - 1) * i / (half - 1)) for i in range(half)}
    tail = {count - round((count * 0.05) * i / (half - 1)) for i in range(half)}
    return [(ordered[rank - 1], rank / count) for rank in sorted(body | tail)]
