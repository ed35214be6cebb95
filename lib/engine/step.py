"""One step as it happens: it makes actions true, publishes outputs, and leaves a checkpoint."""

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import stamina

from lib.engine import fingerprint, undo
from lib.engine.actions import Action, why_it_stays
from lib.engine.changes import Change, ChangeKind, Json
from lib.engine.deadline import Deadline, enforced
from lib.engine.errors import ApprovalNeeded, CannotUndo, Interrupted, PlanStale
from lib.engine.run import Mode, Run
from lib.engine.store import NOTES, Checkpoint
from lib.engine.unknown import Unknown, UnknownUntilApplied
from lib.errors import MigrationError
from lib.logs import MASKING, shown_error

StateT = TypeVar("StateT")

ATTEMPTS = 5
"""How often a call is made, unless a mark or the action says otherwise."""


class Step:
    """What a step's test works with; made by the plugin for each step that runs."""

    def __init__(
        self,
        name: str,
        run: Run,
        *,
        deadline_seconds: float | None = None,
        attempts: int = ATTEMPTS,
        unfinished: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.run = run
        self.changes: list[Change] = []
        self.notes: list[str] = []
        self.retries = 0
        self._unfinished = unfinished
        self._outputs: dict[str, Json] = {}
        self._inputs: dict[str, str] = {}
        self._undo: undo.Undoable = {}
        self._subjects: set[str] = set()
        self._intended = False
        self.started_at = time.time()
        self.told: Callable[[str], None] | None = None
        self._deadline = Deadline(deadline_seconds)
        self._action_deadline = Deadline(None)
        self._attempts = attempts
        before = run.checkpoint(name)
        self._began = before is not None and before.state != "done"
        self.attempt = 1 + (before.attempt if before is not None else 0)
        self.settings: Any = fingerprint.Tracked(run.settings, self._read_setting)

    @property
    def dry_run(self) -> bool:
        """True while nothing may be changed."""
        return self.run.mode is not Mode.APPLY

    @property
    def waits_for_others(self) -> bool:
        """Whether a dry run could not see everything, as steps before this one are not done."""
        return bool(self._unfinished)

    # -- what a step's code calls --------------------------------------------------------------

    def make(
        self,
        action: Action[StateT],
        *,
        deadline_seconds: float | None = None,
        attempts: int | None = None,
    ) -> StateT:
        """Make an action true and give the verified state.

        Observes, plans, and unless nothing is to be changed records the intent, applies and
        verifies.  In a dry run it stops after the plan and gives what was observed, or a value
        that is unknown until applied.  ``deadline_seconds`` and ``attempts`` (how often a call is
        made before an error that passes by itself counts) hold for this action alone, beside
        those of the step.
        """
        self._action_deadline = Deadline(deadline_seconds)
        usual = self._attempts
        self._attempts = usual if attempts is None else attempts
        try:
            with enforced(self._deadline, self._action_deadline):
                return self._make(action)
        finally:
            self._attempts = usual
            self._action_deadline = Deadline(None)

    def _make(self, action: Action[StateT]) -> StateT:
        subject = action.subject
        if subject in self._subjects:
            raise ValueError(f"step {self.name} makes {subject!r} twice")
        self._subjects.add(subject)
        if self.run.mode is Mode.ROLLBACK:
            return self._collect_undo(action)
        self.safe_point()
        if self.dry_run:
            return self._plan_only(action)
        observed = self._retried(action.observe)
        change = self._retried(lambda: action.plan(observed))
        self.changes.append(change)
        self._tell(change.describe())
        if change.kind is ChangeKind.NONE:
            return observed if observed is not None else action.verify()
        self._as_planned(change)
        self._gate(change)
        self.run.store.intend(self.name, self.run.number, self.attempt, self.started_at, change)
        self._intended = self._began = True
        journal = StepJournal(self, subject)
        self._retried(lambda: action.apply(change, journal))
        return self._retried(action.verify)

    def check(self, subject: str, probe: Callable[[], StateT], *, writes: bool = False) -> StateT:
        """Run a probe that must hold; raises what the probe raises.

        In a dry run a probe that writes, or that needs unfinished steps, is told as unknown.
        """
        if self.run.mode is Mode.ROLLBACK:
            return Unknown(subject)  # type: ignore[return-value]
        if self.dry_run and (writes or self._unfinished):
            self.changes.append(Change(ChangeKind.UNKNOWN, subject, reason="checked when applied"))
            return Unknown(subject)  # type: ignore[return-value]
        self.safe_point()
        with enforced(self._deadline):
            return self._retried(probe)

    def publish(self, **outputs: Json) -> None:
        """Leave values for other steps and later runs; never secrets."""
        self._outputs.update(outputs)

    def output(self, step: str, name: str) -> Any:
        """What another step published; it becomes an input of this step.

        In a dry run an output that is not there yet is unknown.  Raises ``KeyError`` for an
        output that the finished step never published.
        """
        outputs = self.run.outputs(step)
        if name not in outputs:
            if self.dry_run:
                return Unknown(f"{step}.{name}")
            raise KeyError(f"step {step!r} published no output {name!r}")
        self._inputs[f"output:{step}.{name}"] = fingerprint.digest(outputs[name])
        return outputs[name]

    def safe_point(self) -> None:
        """Stop here if the run was interrupted, a deadline passed or the lock was lost."""
        self.run.safe_point()
        self._deadline.check()
        self._action_deadline.check()

    def note(self, text: "str | Unknown") -> None:
        """Say something that belongs into the terminal output and the report."""
        if isinstance(text, Unknown):
            return
        self.notes.append(text)
        self._tell(text)

    # -- what the plugin calls -----------------------------------------------------------------

    def finish(self, error: BaseException | None) -> Checkpoint | None:
        """Write the checkpoint of a step that ended; a failure keeps its intents and journal."""
        if self.run.mode is Mode.DRY_RUN:
            self.run.expect(self.name, self._outputs)
        if self.run.mode is not Mode.APPLY:
            return None
        source = self.run.sources.get(self.name)
        if source is not None:
            self._inputs["source:"] = source
        world = self.run.world_digest
        if world is not None:
            self._inputs["world:"] = world
        state = "done" if error is None else "failed"
        if isinstance(error, Interrupted | KeyboardInterrupt | ApprovalNeeded):
            if not self._intended:
                return None
            state = "running"
        return self._leave(state, error)

    def _leave(self, state: str, error: BaseException | None) -> Checkpoint:
        said: Json = [MASKING.mask(each) for each in self.notes]
        checkpoint = Checkpoint(
            step=self.name,
            state=state,
            run=self.run.number,
            attempt=self.attempt,
            started_at=self.started_at,
            finished_at=time.time(),
            inputs=self._inputs,
            outputs=self._outputs | ({NOTES: said} if said else {}),
            changes=tuple(self.changes),
            error=None if error is None else describe(error),
        )
        self.run.store.finish(checkpoint, began=self._began)
        self.run.remember(checkpoint)
        return checkpoint

    # -- rollback ------------------------------------------------------------------------------

    def to_undo(self) -> list[Change]:
        """What the runs changed in this step and the step's code can take back, newest first."""
        return [self._undo[intent][1] for intent in undo.newest_first(self._undo)]

    def what_stays(self) -> list[str]:
        """Why changes of this step can't be taken back, a line each; empty where all can."""
        return undo.what_stays(self._undo, self._intents())

    def undo_all(self) -> None:
        """Take back what can be, newest first, and leave the checkpoint of a rolled-back step.

        Each change counts as undone as soon as it is; a rollback that is killed goes on there.
        """
        error: BaseException | None = None
        if self._undo:
            self.run.store.mark(self.name, "running", "its rollback began")
        try:
            for intent in undo.newest_first(self._undo):
                if not why_it_stays(*self._undo[intent]):
                    self._take_back(intent)
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._outputs = {}
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            if not stopped:
                self._leave("rolled back" if error is None else "failed", error)

    def _take_back(self, intent: int) -> None:
        action, change = self._undo[intent]
        self.safe_point()
        self._tell(f"undo: {change.describe()}")
        try:
            self._retried(partial(action.undo, change, StepJournal(self, action.subject)))
        except CannotUndo:
            if undo.goes_with_its_creation(self._undo, intent):
                return
            raise
        for each in [*undo.later_changes(self._undo, intent), intent]:
            self.run.store.undone(each)
        self.changes.append(change.reversed())

    def shown(self, error: BaseException) -> str:
        """The text of a failure as reports show it."""
        return describe(error)

    # -- inside --------------------------------------------------------------------------------

    def _tell(self, text: str) -> None:
        if self.told is not None:
            self.told(text)

    def _plan_only(self, action: Action[StateT]) -> StateT:
        """Observe and plan; what can't be seen because prerequisites are unfinished is absent."""
        observed: StateT | None = None
        try:
            try:
                observed = self._retried(action.observe)
            except MigrationError:
                if not self._unfinished:
                    raise
            change = action.plan(observed)
        except (MigrationError, UnknownUntilApplied) as error:
            if not self._unfinished:
                raise
            reason = str(error) if isinstance(error, UnknownUntilApplied) else self._after()
            change = Change(ChangeKind.UNKNOWN, action.subject, reason=reason)
        self.changes.append(change)
        usable = change.kind in (ChangeKind.NONE, ChangeKind.UPDATE) and observed is not None
        return observed if usable else Unknown(action.subject)  # type: ignore[return-value]

    def _after(self) -> str:
        return f"seen after {self._unfinished[-1]}"

    def _collect_undo(self, action: Action[StateT]) -> StateT:
        for intent, change in self._intents().items():
            if change.subject == action.subject:
                self._undo[intent] = (action, change)
        try:
            observed = action.observe()
        except (UnknownUntilApplied, MigrationError):
            observed = None
        return observed if observed is not None else Unknown(action.subject)  # type: ignore[return-value]

    def _intents(self) -> dict[int, Change]:
        return {each.id: each.change for each in self.run.store.intents(self.name)}

    def _as_planned(self, change: Change) -> None:
        """Refuse a change that the plan which is being applied does not hold."""
        if self.run.planned is None:
            return
        planned = self.run.planned.get(self.name, ())
        if any(each.kind is ChangeKind.UNKNOWN for each in planned):
            return
        if not any(each.covers(change) for each in planned):
            told = ", ".join(each.describe() for each in planned) or "nothing"
            raise PlanStale(
                f"{self.name} would {change.describe()}, which is not what the plan holds.",
                expected=f"as planned: {told}",
                remedy="make the plan anew (--dry-run --plan-out FILE), read it, and apply that",
            )

    def _gate(self, change: Change) -> None:
        if not (change.irreversible and self.run.protected):
            return
        approval = approval_id(self.run.environment, self.name, change)
        if approval not in self.run.approved:
            raise ApprovalNeeded(
                f"{change.describe()} can't be taken back, and this environment is protected.",
                expected=f"--approve {approval}, after someone has read the plan (--dry-run)",
                remedy=f"run the same command with --approve {approval}; "
                "everything before this step is done and stays done",
            )

    def _read_setting(self, path: str, value: object) -> None:
        self._inputs[f"setting:{path}"] = fingerprint.digest(value)

    def _retried(self, call: Callable[[], StateT]) -> StateT:
        """Call again, a few times with growing pauses, after an error that says it will pass."""
        failure = ""
        for attempt in stamina.retry_context(
            on=lambda error: bool(getattr(error, "transient", False)),
            attempts=self._attempts,
            timeout=120,
            wait_initial=0.2,
            wait_max=10,
        ):
            with attempt:
                if attempt.num > 1:
                    self.safe_point()
                    self.retries += 1
                    self._tell(f"attempt {attempt.num} of {self._attempts}, after: {failure}")
                try:
                    return call()
                except Exception as error:
                    failure = describe(error).split("\n")[0]
                    raise
        raise AssertionError("unreachable")


class StepJournal:
    """The journal of one action within a step, kept in the checkpoint store."""

    def __init__(self, step: Step, subject: str) -> None:
        self._step = step
        self._subject = subject
        self._store = step.run.store
        self._mutex = threading.Lock()

    def get(self, key: str) -> Json:
        """The value under ``key``, or None."""
        return self.entries(key).get(key)

    def put(self, key: str, value: Json) -> None:
        """Store ``value``; it is durable when this returns."""
        self.put_many({key: value})

    def put_many(self, entries: Mapping[str, Json]) -> None:
        """Store several entries in one durable transaction."""
        self._store.journal_put(self._step.name, self._subject, entries)

    def entries(self, prefix: str = "") -> Mapping[str, Json]:
        """Every entry whose key begins with ``prefix``."""
        return self._store.journal_entries(self._step.name, self._subject, prefix)

    def forget(self, prefix: str = "") -> None:
        """Delete the entries whose key begins with ``prefix``."""
        self._store.journal_forget(self._step.name, self._subject, prefix)

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        """Report progress to the terminal."""
        report = self._step.run.progress
        if report is not None:
            with self._mutex:
                report(self._step.name, label, done, total, unit)

    def safe_point(self) -> None:
        """Stop here if the run was interrupted, its deadline passed or its lock was lost."""
        self._step.safe_point()


def approval_id(environment: str, step: str, change: Change) -> str:
    """What ``--approve`` must name for one irreversible change: a digest of all that it is."""
    return fingerprint.digest([environment, step, change.to_json() | {"seconds": None}])[:8]


def describe(error: BaseException) -> str:
    """The text of a failure as checkpoints and reports keep it: no secrets, storable anywhere."""
    text = shown_error(error) or "".join(traceback.format_exception_only(error)).strip()
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
