"""Runs steps once without applying and without reports, to see what a real run would meet."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from _pytest.runner import runtestprotocol

from lib.engine.run import Mode
from lib.engine.step import Step
from lib.plugin import dependency
from lib.plugin.session import STEP, MigrationSession
from lib.plugin.steps import DeclaredStep
from lib.report.model import StepRow

_TELL_SECONDS = 2.0

Seen = tuple[DeclaredStep, StepRow | None, Step | None]
"""A step that was looked at, what a report would say of it, and the step's own object."""


def look(migration: MigrationSession, steps: Sequence[DeclaredStep], mode: Mode) -> Iterator[Seen]:
    """Run each step's code in a mode that changes nothing, and give what was seen of it.

    Afterwards everything is as if the steps had never run, and they can run for real.
    """
    run, rows = migration.run, migration.rows
    before, run.mode, migration.rows, migration.looking = run.mode, mode, {}, True
    migration.waits.clear()
    told = time.monotonic()
    try:
        if steps:
            dependency.only_these_are_done(steps[0].item, migration.succeeded_before())
        for declared in steps:
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                migration.lines.line(f"looking at {declared.name}")
            # Tears down to the session alone, whose fixtures live on for the next item.
            session = cast(pytest.Item, declared.item.session)
            runtestprotocol(declared.item, log=False, nextitem=session)
            step = declared.item.stash.get(STEP, None)
            yield declared, migration.rows.get(declared.name), step
            _forget(declared.item)
    finally:
        run.mode, migration.rows, migration.looking = before, rows, False
        run.forget_expectations()
        if steps:
            dependency.only_these_are_done(steps[0].item, migration.succeeded_before())


def _forget(item: pytest.Function) -> None:
    """Let the item begin anew, as a plugin that runs tests again does."""
    fresh: Any = item
    fresh._initrequest()
    item.user_properties.clear()
    fresh._report_sections.clear()
    if STEP in item.stash:
        del item.stash[STEP]
