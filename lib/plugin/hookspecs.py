"""What a migration tells the plugin about itself; implement these in a plugin or conftest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lib.report.model import ConnectionRow, CriterionRow


@pytest.hookspec(firstresult=True)
def pytest_migration_state(config: pytest.Config) -> Path | None:
    """The folder for checkpoints; ``.migration`` in the root folder where nobody answers."""


@pytest.hookspec(firstresult=True)
def pytest_migration_settings(config: pytest.Config, environment: str) -> object | None:
    """The settings of ``--env``: a frozen dataclass, nested as you like.

    Its attribute ``protected`` (default false) makes irreversible changes wait for approval.
    Raise ``lib.errors.SettingsError`` for what can't be used.
    """


@pytest.hookspec
def pytest_migration_facts(config: pytest.Config) -> Mapping[str, str]:
    """Facts for the head of the report, such as target and project; never secrets."""
    raise NotImplementedError


@pytest.hookspec
def pytest_migration_connections(config: pytest.Config) -> Sequence[ConnectionRow]:
    """What now exists and how to connect to it, for the report."""
    raise NotImplementedError


@pytest.hookspec
def pytest_migration_criteria(config: pytest.Config) -> Sequence[CriterionRow]:
    """Criteria as a step has measured them, for the report of a session that measures none."""
    raise NotImplementedError


@pytest.hookspec(firstresult=True)
def pytest_migration_world(config: pytest.Config) -> str | None:
    """What tells this target from another; checkpoints made in another world don't count."""
