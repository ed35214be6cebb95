"""What steps and criteria ask for: the step itself, its settings, a judge and a stopwatch."""

from typing import Any

import pytest

from lib.engine.step import Step
from lib.plugin.criteria import BenchmarkClock, Criterion
from lib.plugin.session import MigrationSession, of


@pytest.fixture
def step(request: pytest.FixtureRequest) -> Step:
    """The step that this test is: ``make`` actions, ``check``, ``publish``, read ``output``s."""
    migration = of(request.config)
    declared = migration.by_node.get(request.node.nodeid)
    if declared is None:
        raise pytest.UsageError(f"{request.node.nodeid} is no step; only steps can use 'step'.")
    made = migration.begin_step(declared)
    if made is None:
        raise RuntimeError(f"step {declared.name} is done and should have been skipped")
    return made


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Any:
    """The environment's settings; what a step reads of them becomes its input."""
    if request.node.nodeid in of(request.config).by_node:
        return request.getfixturevalue("step").settings
    return of(request.config).settings


@pytest.fixture
def criterion(request: pytest.FixtureRequest) -> Criterion:
    """Judges and records a criterion: ``criterion.judge(row)``."""
    return Criterion(request.node, of(request.config))


@pytest.fixture
def benchmark_clock(benchmark: Any) -> BenchmarkClock:
    """A stopwatch that is this test's benchmark."""
    return BenchmarkClock(benchmark)


@pytest.fixture(scope="session")
def migration(request: pytest.FixtureRequest) -> MigrationSession:
    """The session: ``settings``, ``state``, and the checkpoints' outputs for validation."""
    return of(request.config)
