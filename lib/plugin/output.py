"""What a session prints of its own: a line for each test, the plan, the status."""

import time
from typing import Any

import pytest

from lib.engine.plan import render
from lib.engine.run import StepState
from lib.plugin.preparation import approvals
from lib.plugin.session import MigrationSession
from lib.report.model import StepState as RowState

_MARKS = {
    RowState.DONE: "✓",
    RowState.SKIPPED_DONE: "=",
    RowState.FAILED: "✗",
    RowState.INTERRUPTED: "!",
    RowState.PLANNED: "~",
    RowState.DRIFTED: "≠",
    RowState.ROLLED_BACK: "←",
}


class TestLines:
    """Writes a line for each test; registered where the terminal is ours."""

    def __init__(self, migration: MigrationSession) -> None:
        self._migration = migration

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the line when the outcome is known."""
        crashed = str(report.when) == "???"  # xdist's word for a worker that died in a test
        known = report.when == "call" or (report.when == "setup" and not report.passed)
        if not (known or crashed):
            return
        row = self._migration.row_of(report.nodeid)
        lines = self._migration.lines
        if row is None:
            mark = {"passed": "✓", "failed": "✗"}.get(report.outcome, "-")
            declared = self._migration.by_node.get(report.nodeid)
            name = declared.name if declared else report.nodeid.rpartition("::test_")[2]
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
            told = reason.rpartition(" depends on ")
            reason = f"waits for {told[2]}" if declared and told[1] else reason
            lines.result(mark, name, reason.removeprefix("Skipped: "), None)
        elif row.state is RowState.SKIPPED_DONE:
            lines.result("=", row.name, row.reason, None)
        else:
            lines.result(_MARKS.get(row.state, "-"), row.name, row.title, row.seconds)


def plan_lines(migration: MigrationSession) -> list[str]:
    """The plan as a tree, where it was saved, and what waits for approval."""
    if migration.options.rollback:
        return _rollback_lines(migration)
    plan = migration.plan()
    lines = render(plan)
    if migration.options.plan_out is not None:
        migration.options.plan_out.write_text(plan.to_json(), encoding="utf-8")
        lines.append(f"The plan is in {migration.options.plan_out}.")
    waiting = approvals(plan)
    for approval, change in waiting.items():
        lines.append(f"irreversible: {change.describe()} (--approve {approval})")
    if waiting:
        lines.append(f"The whole plan is approved by --approve {plan.id}.")
    return lines


def _rollback_lines(migration: MigrationSession) -> list[str]:
    """What a rollback would take back, last made first, and what would stay."""
    plan = migration.rollback
    if plan is None:
        return ["Nothing to roll back."]
    lines = render(plan)
    for name, reasons in migration.staying.items():
        lines.extend(f"stays: {name}: {reason}" for reason in reasons)
    if migration.run.protected:
        lines.append(f"It is approved by --approve {plan.id}.")
    return lines


_EXPLAINED = (StepState.PENDING, StepState.DRIFTED)


def print_status(migration: MigrationSession) -> None:
    """Print how every step stands, by phase."""
    reporter: Any = migration.config.pluginmanager.get_plugin("terminalreporter")
    reporter.section("status")
    width = max(map(len, migration.declared))
    phase = ""
    for name in migration.graph.order:
        declared, standing = migration.declared[name], migration.standing(name)
        if declared.phase != phase:
            phase = declared.phase
            reporter.write_line(phase)
        found = standing.checkpoint
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.started_at)) if found else ""
        told = f"run {found.run}, attempt {found.attempt}, {when}" if found else ""
        reason = standing.reason if standing.state in _EXPLAINED else ""
        reporter.write_line(f"  {name:<{width}}  {standing.state:<11}  {told}  {reason}".rstrip())
