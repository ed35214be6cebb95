"""One run over an environment: what is done, what is pending, and the steps as they happen."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lib.engine import fingerprint
from lib.engine.changes import Json
from lib.engine.errors import DeadlineExceeded, Interrupted, LockLost
from lib.engine.lock import RunLock, holder
from lib.engine.store import Checkpoint, Store


class Mode(StrEnum):
    """What a run does with its steps."""

    APPLY = "apply"
    DRY_RUN = "dry-run"
    ROLLBACK = "rollback"
    REFRESH = "refresh"


class StepState(StrEnum):
    """What is known of a step before it runs."""

    NOT_STARTED = "not started"
    DONE = "done"
    PENDING = "pending"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    DRIFTED = "drifted"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Standing:
    """A step's state, why it is so, and its checkpoint where it has one."""

    state: StepState
    reason: str
    checkpoint: Checkpoint | None


Progress = Callable[[str, str, float, float | None, str], None]
"""Called with step, label, done, total (or None) and unit, as an action reports progress."""


class Run:
    """What the steps of one run share: store, mode, settings, approval and the wish to stop."""

    def __init__(
        self,
        store: Store,
        *,
        mode: Mode = Mode.APPLY,
        settings: object = None,
        protected: bool = False,
        approved: str | None = None,
        plan_id: Callable[[], str] | None = None,
        lease: float | None = None,
    ) -> None:
        self.store = store
        self.mode = mode
        self.settings = settings
        self.protected = protected
        self.approved = approved
        self.plan_id = plan_id
        self.number = 0
        self.progress: Progress | None = None
        self._stop = threading.Event()
        self._lock = RunLock(store) if lease is None else RunLock(store, lease)
        self._known: dict[str, Checkpoint] = store.checkpoints()
        self.sources: dict[str, str] = {}

    def begin(self, arguments: Sequence[str]) -> None:
        """Take the lock and open the record of this run; raises ``LockHeld``."""
        self._lock.acquire()
        self.number = self.store.begin_run(holder(), arguments)
        self.refresh_checkpoints()

    def join(self, number: int, token: int) -> None:
        """Work as one process of a run that another one began and holds the lock for."""
        self.number = number
        self.store.token = token

    def end(self, outcome: str) -> None:
        """Record the outcome and free the lock."""
        if self.number:
            self.store.end_run(self.number, outcome)
        self._lock.release()

    def refresh_checkpoints(self) -> None:
        """Read the checkpoints again, as another process may have written some."""
        self._known = self.store.checkpoints()

    def remember(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint of this run into account."""
        self._known[checkpoint.step] = checkpoint

    def interrupt(self) -> None:
        """Ask the running steps to stop at their next safe point."""
        self._stop.set()

    def safe_point(self, deadline: float | None) -> None:
        """Raise where the run must not go on: interrupted, past its deadline, lock lost."""
        if self._lock.lost is not None:
            raise LockLost(
                self._lock.lost.what,
                expected=self._lock.lost.expected,
                remedy=self._lock.lost.remedy,
            ) from self._lock.lost
        if self._stop.is_set():
            raise Interrupted(
                "The run was asked to stop, and did at a safe point.",
                remedy="run the same command again; it goes on from here",
            )
        if deadline is not None and time.monotonic() > deadline:
            raise DeadlineExceeded(
                "The step went past its deadline.",
                remedy="raise its deadline mark, or look at what it waited for, and run again",
            )

    def checkpoint(self, step: str) -> Checkpoint | None:
        """The newest checkpoint known to this run."""
        return self._known.get(step)

    def outputs(self, step: str) -> Mapping[str, Json]:
        """What a finished step published; empty where it is not finished."""
        found = self._known.get(step)
        return found.outputs if found is not None and found.state == "done" else {}

    def standing(self, step: str) -> Standing:
        """Whether a step is done, pending (with what changed), interrupted, failed or new."""
        found = self._known.get(step)
        if found is None:
            return Standing(StepState.NOT_STARTED, "", None)
        if found.state == "done":
            changed = self._changed_inputs(step, found)
            if changed:
                return Standing(StepState.PENDING, f"changed: {', '.join(changed)}", found)
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.finished_at))
            return Standing(StepState.DONE, f"done {when} in run {found.run}", found)
        if found.state == "running":
            return Standing(StepState.INTERRUPTED, f"interrupted in run {found.run}", found)
        state = StepState(found.state)
        return Standing(state, f"{state} in run {found.run}", found)

    def _changed_inputs(self, step: str, found: Checkpoint) -> list[str]:
        changed = []
        for name, before in found.inputs.items():
            if self._input_digest(step, name) != before:
                changed.append(name.removeprefix("setting:"))
        return changed

    def _input_digest(self, step: str, name: str) -> str | None:
        kind, _, rest = name.partition(":")
        if kind == "setting":
            try:
                return fingerprint.digest(fingerprint.lookup(self.settings, rest))
            except AttributeError:
                return None
        if kind == "output":
            other, _, output = rest.rpartition(".")
            return fingerprint.digest(self.outputs(other).get(output))
        return self.sources.get(step)
