"""One run over an environment: what is done, what is pending, and the steps as they happen."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lib.engine import fingerprint
from lib.engine.changes import Json
from lib.engine.errors import DeadlineExceeded, Interrupted, LockLost
from lib.engine.lock import LEASE_SECONDS, RunLock, holder
from lib.engine.store import Checkpoint, Store
from lib.engine.unknown import Unknown


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
        store: Store | None,
        *,
        mode: Mode = Mode.APPLY,
        environment: str = "",
        settings: object = None,
        protected: bool = False,
        approved: Collection[str] = (),
        world: Callable[[], str] | None = None,
        lease: float = LEASE_SECONDS,
    ) -> None:
        self._store = store
        self.mode = mode
        self.environment = environment
        self.settings = settings
        self.protected = protected
        self.approved = approved
        self.world = world
        self.number = 0
        self.progress: Progress | None = None
        self._forgotten = False
        self._expected: dict[str, Mapping[str, Json]] = {}
        self._stop = threading.Event()
        self._lock = None if store is None else RunLock(store, lease)
        self._known: dict[str, Checkpoint] = {} if store is None else store.checkpoints()
        self.sources: dict[str, str] = {}

    @property
    def store(self) -> Store:
        """The checkpoint store; only a run that changes nothing may be without one."""
        if self._store is None:
            raise ValueError("this run has no checkpoint store")
        return self._store

    def begin(self, arguments: Sequence[str]) -> None:
        """Take the lock and open the record of this run; raises ``LockHeld``."""
        store = self.store
        if self._lock is not None:
            self._lock.acquire()
        self.number = store.begin_run(holder(), arguments)
        if self._forgotten:
            store.forget_checkpoints()
        self.refresh_checkpoints()

    def join(self, number: int, token: int) -> None:
        """Work as one process of a run that another one began and holds the lock for."""
        self.number = number
        self.store.token = token

    def end(self, outcome: str) -> None:
        """Record the outcome and free the lock."""
        if self.number:
            self.store.end_run(self.number, outcome)
        if self._lock is not None:
            self._lock.release()

    def refresh_checkpoints(self) -> None:
        """Read the checkpoints again, as another process may have written some."""
        self._known = self.store.checkpoints()

    def ignore_checkpoints(self) -> None:
        """Take every step as not started; the store forgets them when the run begins."""
        self._forgotten = True
        self._known = {}

    def remember(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint of this run into account."""
        self._known[checkpoint.step] = checkpoint

    def interrupt(self) -> None:
        """Ask the running steps to stop at their next safe point."""
        self._stop.set()

    def safe_point(self, deadline: float | None) -> None:
        """Raise where the run must not go on: interrupted, past its deadline, lock lost."""
        lost = None if self._lock is None else self._lock.lost
        if lost is not None:
            raise LockLost(lost.what, expected=lost.expected, remedy=lost.remedy) from lost
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

    def expect(self, step: str, outputs: Mapping[str, Json]) -> None:
        """Take what a step would publish into account, as far as a dry run knows it."""
        self._expected[step] = {
            name: value for name, value in outputs.items() if not isinstance(value, Unknown)
        }

    def outputs(self, step: str) -> Mapping[str, Json]:
        """What a finished step published; empty where it is not finished."""
        found = self._known.get(step)
        if step in self._expected:
            return self._expected[step]
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
                changed.append(_told(name))
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
        if kind == "world":
            return None if self.world is None else fingerprint.digest(self.world())
        return self.sources.get(step)


def _told(name: str) -> str:
    """An input's name in words."""
    kind, _, rest = name.partition(":")
    return {"world": "the target is another one", "source": "its code"}.get(kind, rest)
