"""Kills on purpose: a few by default, all of them with ``ORCHESTRA_CHAOS=full`` (tox -e chaos)."""

import os

import pytest

from tests.plugin.conftest import migration, run

__all__ = ["FULL", "migration", "run"]

collect_ignore = ["doomed"]

FULL = os.environ.get("ORCHESTRA_CHAOS") == "full"
"""Whether everything is to be tried, which takes many minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, unless asked for, what only the full form does."""
    for item in items:
        if item.get_closest_marker("full_chaos") and not FULL:
            item.add_marker(pytest.mark.skip("takes many minutes: tox -e chaos"))


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of what only the full form does known."""
    config.addinivalue_line("markers", "full_chaos: runs by tox -e chaos alone")
