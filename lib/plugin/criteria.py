"""Criteria as tests: thresholds are data, samples are evidence, no sample is a fail."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lib.errors import MigrationError
from lib.plugin.session import MigrationSession
from lib.report.junit import criterion_properties
from lib.report.model import CriterionRow, Figure, LeftOut

BREACHED = 10
"""The exit code where all else passed and a criterion was breached."""


class CriterionBreached(MigrationError):
    """A criterion does not hold, or was not measured."""


class Criterion:
    """Judges one criterion; made by the ``criterion`` fixture for each test that asks for it."""

    def __init__(self, item: pytest.Item, session: MigrationSession) -> None:
        self._item = item
        self._session = session

    def judge(self, row: CriterionRow | LeftOut) -> None:
        """Record a criterion's evidence and raise ``CriterionBreached`` unless it holds.

        A criterion that is left out is skipped with its reason.
        """
        if isinstance(row, LeftOut):
            pytest.skip(f"criterion {row.number}, {row.subject}, is left out: {row.reason}")
        self._item.user_properties.extend(criterion_properties(row))
        self._session.criteria.append(row)
        if not row.passed:
            beside = "".join(f", {b.subject} {b.comparison} {b.threshold:g}" for b in row.beside)
            raise CriterionBreached(
                f"Criterion {row.number}, {row.subject}: {row.failure}; "
                f"{row.statistic} is {_told(row.observed, row.unit)}.",
                expected=f"{row.statistic} {row.comparison} "
                f"{_told(row.threshold, row.unit)}{beside}",
                remedy="see the samples and recommendations in the report; the threshold is in "
                "[criteria] of the environment file",
            )


def _told(value: Figure | None, unit: str) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g} {unit}".rstrip() if isinstance(value, float) else f"{value} {unit}".strip()


class BenchmarkClock:
    """A stopwatch that is a pytest-benchmark: its samples are in the benchmark's JSON too.

    With ``--benchmark-disable`` it calls once and gives no samples, so that a criterion fails.
    """

    def __init__(self, benchmark: Any) -> None:
        self._benchmark = benchmark

    @property
    def timed(self) -> bool:
        """False where benchmarks are disabled."""
        return not self._benchmark.disabled

    def __call__(
        self,
        call: Callable[[], object],
        *,
        rounds: int,
        warmup: int,
        setup: Callable[[], object] | None = None,
    ) -> Sequence[float]:
        """Seconds of each round; ``setup`` runs before each and is not counted."""
        prepare = None if setup is None else lambda: (setup(), None)[1]
        self._benchmark.pedantic(
            call, setup=prepare, rounds=rounds, warmup_rounds=warmup, iterations=1
        )
        stats = self._benchmark.stats
        return tuple(stats.stats.data) if stats is not None else ()
