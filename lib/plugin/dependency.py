"""Tells pytest-dependency, which knows only its own session, what earlier runs have finished."""

from collections.abc import Iterable

import pytest
from pytest_dependency import DependencyItemStatus, DependencyManager


def count_as_done(item: pytest.Item, names: Iterable[str]) -> None:
    """Let steps count as succeeded for every item of the session that depends on them."""
    results = DependencyManager.getManager(item, "session").results
    for name in names:
        status = results.setdefault(name, DependencyItemStatus())
        for phase in DependencyItemStatus.Phases:
            status.results[phase] = "passed"


def only_these_are_done(item: pytest.Item, names: Iterable[str]) -> None:
    """Forget what has run in this session, and let exactly these steps count as succeeded."""
    DependencyManager.getManager(item, "session").results.clear()
    count_as_done(item, names)
