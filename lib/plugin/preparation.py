"""What happens between collection and the first step: lock, drift, plan, approval, obstacles."""

from collections.abc import Sequence

import pytest

from lib.engine.changes import Change
from lib.engine.errors import ApprovalNeeded, PlanStale
from lib.engine.plan import ID_LENGTH, Plan, PlannedStep
from lib.engine.run import Mode
from lib.engine.step import approval_id
from lib.logs import LOGGER
from lib.plugin import rollback
from lib.plugin.look import look
from lib.plugin.session import MigrationSession
from lib.report.model import StepRow, StepState


def prepare(migration: MigrationSession, arguments: Sequence[str]) -> None:
    """Begin the run that was asked for, or raise with nothing changed.

    Raises ``LockHeld``, ``PlanStale``, ``ApprovalNeeded``, ``RollbackRefused``.
    """
    options = migration.options
    if migration.mode is Mode.ROLLBACK:
        _prepare_rollback(migration, arguments)
        return
    asked = migration.planned is not None or options.refresh
    if migration.changes_something and (asked or migration.waiting()):
        migration.begin(arguments)
    if options.refresh:
        find_drift(migration)
    if not migration.began:
        return
    waiting = migration.waiting()
    LOGGER.info(
        "run %s: %s of %s steps to do", migration.run.number, len(waiting), len(migration.selected)
    )
    if migration.planned is not None:
        _hold_to(migration, migration.planned)
    _approve(migration)


# -- drift -----------------------------------------------------------------------------------------


def find_drift(migration: MigrationSession) -> None:
    """Compare what finished steps made with the world, and take those that drifted as not done."""
    done = [migration.declared[name] for name in migration.selected if migration.is_done(name)]
    found = {}
    for declared, row, _ in look(migration, done, Mode.REFRESH):
        if row is not None and row.state is StepState.DRIFTED:
            found[declared.name] = row.reason
            migration.run.drifted(declared.name, row.reason)
    for name, reason in found.items():
        migration.lines.line(f"drifted: {name}: {reason}")
    if not found:
        migration.lines.line(f"no drift: {len(done)} finished steps hold in the world")


# -- plan and approval -----------------------------------------------------------------------------


def preview(migration: MigrationSession) -> Plan:
    """The plan of the selected steps as it is now."""
    rows: dict[str, StepRow] = {}
    steps = [migration.declared[name] for name in migration.selected]
    for declared, row, step in look(migration, steps, Mode.DRY_RUN):
        if row is not None:
            rows[declared.name] = row
        if row is not None and row.state is StepState.FAILED and step is not None:
            raise PlanStale(
                f"{declared.name} can't be planned: {row.error}",
                remedy="mend that, make the plan anew and read it",
            )
    return migration.plan(rows)


def _hold_to(migration: MigrationSession, planned: Plan) -> None:
    """Refuse a plan that no longer says what would be done; let steps do nothing else."""
    differences = planned.differences(preview(migration))
    if differences:
        raise PlanStale(
            f"{migration.options.plan} is no longer what would be done:\n    "
            + "\n    ".join(differences),
            expected="the world and the settings as they were when the plan was made",
            remedy="make the plan anew (--dry-run --plan-out FILE), read it, and apply that",
        )
    migration.run.planned = {each.name: each.changes for each in planned.steps}


def _approve(migration: MigrationSession) -> None:
    """Turn the id of a plan into approvals of all its irreversible changes."""
    run = migration.run
    plans = [each for each in run.approved if len(each) == ID_LENGTH]
    if not plans:
        return
    plan = migration.planned or preview(migration)
    if plan.id not in plans:
        raise pytest.UsageError(
            f"--approve {plans[0]}: that is not what would be done now.\n"
            f"  expected: the id of the present plan, {plan.id}\n"
            "  to mend it: read the plan (--dry-run) and approve that"
        )
    run.approved = {*run.approved, *approvals(plan)}


def approvals(plan: Plan) -> dict[str, Change]:
    """The irreversible changes of a plan, by the id that approves each."""
    return {
        approval_id(plan.environment, step.name, change): change
        for step in plan.steps
        for change in step.changes
        if change.irreversible
    }


# -- rollback --------------------------------------------------------------------------------------


def _prepare_rollback(migration: MigrationSession, arguments: Sequence[str]) -> None:
    """See what would be taken back and what stands in the way, before anything is."""
    if not migration.selected:
        migration.lines.line("nothing to roll back: no run has made anything here that stands")
        return
    if migration.changes_something:
        migration.begin(arguments)
    steps = [migration.declared[name] for name in migration.selected]
    planned, staying = [], {}
    for declared, row, step in look(migration, steps, Mode.ROLLBACK):
        changes = step.to_undo() if step is not None else []
        reasons = step.what_stays() if step is not None else []
        if row is not None and row.state is StepState.FAILED:
            reasons = [f"can't be looked at: {row.error}", *reasons]
        if reasons:
            staying[declared.name] = reasons
        undone = tuple(each.reversed() for each in changes)
        planned.append(PlannedStep(declared.name, declared.phase, "", undone))
    migration.rollback = Plan(migration.environment, tuple(planned), "rollback")
    migration.staying = staying
    if migration.changes_something:
        _permit_rollback(migration, migration.rollback)


def _permit_rollback(migration: MigrationSession, plan: Plan) -> None:
    if migration.staying and not migration.options.force:
        raise rollback.refused(migration.staying)
    if migration.run.protected and plan.id not in migration.run.approved:
        raise ApprovalNeeded(
            f"This would take back what {len(plan.steps)} steps made, and this environment is "
            "protected.",
            expected=f"--approve {plan.id}, after someone has read the plan (--rollback --dry-run)",
            remedy=f"run the same command with --approve {plan.id}",
        )
