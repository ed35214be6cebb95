"""One pytest session as a migration run: its store, its steps, and what came of each."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lib.engine.changes import Change, ChangeKind, Json
from lib.engine.errors import Interrupted
from lib.engine.fingerprint import digest
from lib.engine.graph import StepGraph
from lib.engine.plan import Plan, PlannedStep
from lib.engine.run import Mode, Run, Standing, StepState
from lib.engine.step import Step
from lib.engine.store import Store
from lib.engine.unknown import UnknownUntilApplied
from lib.errors import MigrationError
from lib.logs import CONTEXT, LOGGER
from lib.plugin import drift
from lib.plugin.options import Options
from lib.plugin.selection import Argument
from lib.plugin.steps import DeclaredStep, build_graph
from lib.plugin.terminal import TerminalLines
from lib.report import model

if TYPE_CHECKING:
    from lib.plugin.parallel import GraphScheduling


class NotMigrated(MigrationError):
    """A criterion needs what a step leaves, and that step is not done."""


STEP = pytest.StashKey[Step]()
"""Where an item keeps its step while it runs."""


class MigrationSession:
    """What the hooks share; everything that costs something is made when first asked for."""

    def __init__(self, config: pytest.Config, options: Options) -> None:
        self.config = config
        self.options = options
        self.steps_folder = config.rootpath / config.getini("migration_steps")
        self.validation_folder = config.rootpath / config.getini("migration_validation")
        self.arguments: list[Argument] = []
        self.declared: dict[str, DeclaredStep] = {}
        self.by_node: dict[str, DeclaredStep] = {}
        self.selected: dict[str, bool] = {}
        self.rows: dict[str, model.StepRow] = {}
        self.waits: dict[str, tuple[str, ...]] = {}
        self.criteria: list[model.CriterionRow] = []
        self.started_at = time.time()
        self.began = False
        self.own_lines = False
        self.looking = False
        self.worker = hasattr(config, "workerinput")
        self.parallel = False
        self.at_work = False
        self.scheduling: GraphScheduling | None = None
        self.rollback: Plan | None = None
        self.staying: Mapping[str, Sequence[str]] = {}
        self.lines = TerminalLines(config)

    # -- made when first asked for ---------------------------------------------------------------

    @cached_property
    def settings(self) -> object:
        """The environment's settings, from whoever implements the hook."""
        return self.config.hook.pytest_migration_settings(
            config=self.config, environment=self.options.environment
        )

    @cached_property
    def state(self) -> Path:
        """The folder for checkpoints."""
        found = self.config.hook.pytest_migration_state(config=self.config)
        return Path(found) if found is not None else self.config.rootpath / ".migration"

    @property
    def environment(self) -> str:
        """The environment's short name, also where ``--env`` is a path."""
        return Path(self.options.environment).stem

    @cached_property
    def store(self) -> Store | None:
        """The checkpoint store; None where there is none and this session won't write one."""
        location = self.options.checkpoint or str(self.state / f"{self.environment}.db")
        writes = self.changes_something and bool(self.selected or self.worker)
        if not writes and "://" not in location and not Path(location).exists():
            return None
        store = Store(location, create=writes)
        if store.exists:
            return store
        store.close()
        return None

    @property
    def mode(self) -> Mode:
        """Whether steps are applied, planned, compared with the world, or taken back."""
        if self.options.rollback:
            return Mode.ROLLBACK
        if self.options.detect_drift:
            return Mode.REFRESH
        return Mode.DRY_RUN if self.options.dry_run else Mode.APPLY

    @property
    def changes_something(self) -> bool:
        """Whether this session may change the world and its checkpoints."""
        options = self.options
        return not (options.dry_run or options.detect_drift or options.status)

    @cached_property
    def planned(self) -> Plan | None:
        """The plan that ``--plan`` applies; raises ``PlanStale`` where it is none."""
        return None if self.options.plan is None else Plan.load(self.options.plan)

    @cached_property
    def graph(self) -> StepGraph:
        """The graph of all steps, selected or not."""
        return build_graph(self.declared.values())

    @cached_property
    def run(self) -> Run:
        """The run over the store."""
        run = Run(
            self.store,
            mode=self.mode,
            environment=self.environment,
            settings=self.settings,
            protected=bool(getattr(self.settings, "protected", False)),
            approved=self.options.approved,
            world=lambda: self.config.hook.pytest_migration_world(config=self.config) or "",
        )
        run.sources = {name: each.source for name, each in self.declared.items()}
        run.progress = self.lines.progress
        return run

    # -- collection ------------------------------------------------------------------------------

    def require_settings(self) -> None:
        """Read the settings before anything is made; raises ``SettingsError``."""
        _ = self.settings

    def declare(self, steps: Iterable[DeclaredStep]) -> None:
        """Take all steps; raises ``GraphError`` where they form no graph."""
        found = list(steps)
        build_graph(found)
        self.declared = {each.name: each for each in found}
        self.by_node = {each.item.nodeid: each for each in found}

    def standing(self, name: str) -> Standing:
        """How a step stands before it runs."""
        if self.store is None:
            return Standing(StepState.NOT_STARTED, "", None)
        return self.run.standing(name)

    def is_done(self, name: str) -> bool:
        """Whether a step is finished and nothing that it read has changed."""
        return self.standing(name).state is StepState.DONE

    def row_of(self, nodeid: str) -> model.StepRow | None:
        """What came of the step at a node id in this session."""
        declared = self.by_node.get(nodeid)
        return self.rows.get(declared.name) if declared is not None else None

    # -- the run ---------------------------------------------------------------------------------

    def begin(self, arguments: Sequence[str]) -> None:
        """Take the lock and begin a run; raises ``LockHeld``."""
        self.run.begin(arguments)
        self.began = True
        CONTEXT.run = self.run.number

    def join_run(self, number: int, token: int) -> None:
        """In a worker: work for the run that the controller began."""
        if self.run.number != number:
            self.run.join(number, token)
            CONTEXT.run = number

    def waiting(self) -> list[str]:
        """The selected steps that are not done."""
        return [name for name in self.selected if not self.is_done(name)]

    def succeeded_before(self) -> list[str]:
        """The steps that count as succeeded for those that depend on them, before any has run."""
        if self.options.force or self.run.mode in (Mode.REFRESH, Mode.ROLLBACK):
            return list(self.declared)
        return [n for n in self.declared if n not in self.selected and self.is_done(n)]

    def end(self, outcome: str) -> None:
        """Record how the run ended and let go of everything."""
        if self.began:
            self.run.end(outcome)
        if "store" in self.__dict__ and self.store is not None:
            self.store.close()

    def begin_step(self, declared: DeclaredStep) -> Step | None:
        """The step to run, or None where it is done already."""
        standing = self.standing(declared.name)
        if self.is_skipped(standing):
            self._record(declared, model.StepState.SKIPPED_DONE, None, reason=standing.reason)
            return None
        CONTEXT.phase, CONTEXT.step = declared.phase, declared.name
        if standing.state is not StepState.NOT_STARTED and self.run.mode is Mode.APPLY:
            LOGGER.info("%s: %s", declared.name, standing.reason)
        unfinished = () if self.run.mode is Mode.APPLY else self._waits_for(declared.name)
        step = Step(
            declared.name,
            self.run,
            deadline_seconds=declared.deadline_seconds,
            attempts=declared.attempts,
            unfinished=unfinished,
        )
        if not self.looking:
            step.told = lambda text: LOGGER.info("%s: %s", declared.name, text)
        declared.item.stash[STEP] = step
        self.at_work = not self.looking
        return step

    def is_skipped(self, standing: Standing) -> bool:
        """Whether a step is left out because it is done."""
        return standing.state is StepState.DONE and self.run.mode in (Mode.APPLY, Mode.DRY_RUN)

    def _changes_nothing(self, name: str) -> bool:
        """Whether a dry run has seen that this step would leave the world as it is."""
        row = self.rows.get(name)
        planned = row is not None and row.state is model.StepState.PLANNED
        return planned and all(each.kind is ChangeKind.NONE for each in row.changes)  # type: ignore[union-attr]

    def _waits_for(self, name: str) -> tuple[str, ...]:
        """The last step before this one that has yet to change something, where there is one.

        Asked in the graph's order, so that what is known of the prerequisites can be used.
        """
        found: list[str] = []
        for each in self.graph.prerequisites[name]:
            if not self.is_done(each) and not self._changes_nothing(each):
                found.append(each)
            else:
                found.extend(self.waits.get(each, ()))
        last = tuple(sorted(found, key=self.graph.place.__getitem__)[-1:])
        self.waits[name] = last
        return last

    def end_step(self, declared: DeclaredStep, error: BaseException | None) -> bool:
        """Write what came of a step; True where an error is none (a plan that can't know)."""
        step = declared.item.stash[STEP]
        self.at_work = False
        absorbed = isinstance(error, UnknownUntilApplied) and step.dry_run
        if absorbed:
            if not step.changes:
                change = Change(ChangeKind.UNKNOWN, declared.title, reason=str(error))
                step.changes.append(change)
            error = None
        checkpoint = step.finish(error)
        if self.run.mode is Mode.REFRESH:
            self._compare(declared, step, error)
            return True
        if error is not None:
            interrupted = isinstance(error, Interrupted | KeyboardInterrupt) or (
                checkpoint is not None and checkpoint.state == "running"
            )
            state = model.StepState.INTERRUPTED if interrupted else model.StepState.FAILED
        else:
            state = _FINISHED[self.run.mode]
        self._record(declared, state, step, error=error)
        CONTEXT.step = ""
        return absorbed

    def _compare(self, declared: DeclaredStep, step: Step, error: BaseException | None) -> None:
        """Record whether a finished step still holds in the world."""
        reason = drift.reason(step, error)
        state = model.StepState.DRIFTED if reason else model.StepState.SKIPPED_DONE
        self._record(declared, state, step, reason=reason)
        CONTEXT.step = ""

    def _record(
        self,
        declared: DeclaredStep,
        state: model.StepState,
        step: Step | None,
        *,
        reason: str = "",
        error: BaseException | None = None,
    ) -> None:
        found = self.standing(declared.name).checkpoint if step is None else None
        row = model.StepRow(
            name=declared.name,
            title=declared.title,
            phase=declared.phase,
            component=declared.component,
            state=state,
            reason=reason,
            started_at=found.started_at if found else (step.started_at if step else None),
            seconds=found.seconds if found else (time.time() - step.started_at if step else 0.0),
            attempt=found.attempt if found else (step.attempt if step else 0),
            retries=step.retries if step else 0,
            run=found.run if found else (self.run.number if step else 0),
            changes=found.changes if found else (tuple(step.changes) if step else ()),
            error=step.shown(error) if step and error is not None else "",
            notes=found.notes if found else (tuple(step.notes) if step else ()),
        )
        self.rows[row.name] = row

    # -- what it leaves --------------------------------------------------------------------------

    def plan(self, rows: Mapping[str, model.StepRow] | None = None) -> Plan:
        """The plan that a dry run, or a look at the steps (its rows), found."""
        seen = self.rows if rows is None else rows
        steps = []
        for name in self.selected:
            row = seen.get(name)
            if row is None:
                continue
            done = row.state is model.StepState.SKIPPED_DONE
            state = "done" if done else ("drifted" if self._has_drifted(name) else "")
            steps.append(PlannedStep(name, row.phase, state, () if done else tuple(row.changes)))
        return Plan(self.environment, tuple(steps), digest(self.settings))

    def _has_drifted(self, name: str) -> bool:
        return self.standing(name).state is StepState.DRIFTED

    def standings(self) -> Mapping[str, Standing]:
        """How every declared step stands now."""
        return {name: self.standing(name) for name in self.graph.order}

    def output(self, step: str, name: str) -> Any:
        """What a finished step published; raises ``NotMigrated`` where it is not finished."""
        outputs = self.run.outputs(step)
        if name not in outputs:
            raise NotMigrated(
                f"Step {step} is not done in environment {self.environment}.",
                expected="a finished migration",
                remedy="run pytest phases/ first",
            )
        return outputs[name]

    def finished_steps(self, before: str) -> list[dict[str, Json]]:
        """The finished steps before one, as their checkpoints have them; outputs are left out."""
        found: list[dict[str, Json]] = []
        for name in self.graph.order[: self.graph.order.index(before)]:
            left = self.run.checkpoint(name)
            if left is not None and left.state == "done":
                found.append(
                    {
                        "step": name,
                        "phase": self.declared[name].phase,
                        "component": self.declared[name].component,
                        "run": left.run,
                        "attempt": left.attempt,
                        "started_at": left.started_at,
                        "seconds": left.seconds,
                        "changes": [each.to_json() for each in left.changes],
                    }
                )
        return found

    def facts(self) -> dict[str, str]:
        """The head of the report."""
        facts = {"environment": self.environment}
        for more in self.config.hook.pytest_migration_facts(config=self.config):
            facts.update(more)
        facts["python"] = ".".join(map(str, sys.version_info[:3]))
        return facts


_FINISHED = {
    Mode.APPLY: model.StepState.DONE,
    Mode.DRY_RUN: model.StepState.PLANNED,
    Mode.ROLLBACK: model.StepState.ROLLED_BACK,
}

MIGRATION = pytest.StashKey[MigrationSession]()
"""Where a config keeps its session."""


def of(config: pytest.Config) -> MigrationSession:
    """The session of a config."""
    return config.stash[MIGRATION]
