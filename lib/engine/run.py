"""One run over an environment: what is done, what is pending, and the steps as they happen."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from lib.engine import fingerprint
from lib.engine.changes import Change, Json
from lib.engine.errors import Interrupted, LockLost
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


_WITH_OUTPUTS = (StepState.DONE.value, StepState.DRIFTED.value)
"""A drifted step still is what others were built on, until it has run again."""


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
        self.planned: Mapping[str, Sequence[Change]] | None = None
        self._forgotten: Collection[str] = ()
        self._joined = False
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
            store.forget_checkpoints(self._forgotten)
        self._known = store.checkpoints()

    def join(self, number: int, token: int) -> None:
        """Work as one process of a run that another one began and holds the lock for."""
        self.number = number
        self.store.token = token
        self._joined = True

    def catch_up(self) -> None:
        """See what processes that joined this run have written."""
        self._known = self.store.checkpoints()

    @property
    def token(self) -> int:
        """What fences this run's writes; the processes that join it need it."""
        return self.store.token or 0

    def end(self, outcome: str) -> None:
        """Record the outcome and free the lock."""
        if self.number:
            self.store.end_run(self.number, outcome)
        if self._lock is not None:
            self._lock.release()

    def ignore_checkpoints(self, steps: Collection[str]) -> None:
        """Take these steps as not started; the store forgets them when the run begins."""
        self._forgotten = steps
        for name in steps:
            self._known.pop(name, None)

    def drifted(self, step: str, reason: str) -> None:
        """Take a finished step as drifted; kept in the store once the run has begun."""
        found = self._known.get(step)
        if found is not None:
            self._known[step] = replace(found, state=StepState.DRIFTED.value, error=reason)
        if self.number:
            self.store.mark(step, StepState.DRIFTED.value, reason)

    def remember(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint of this run into account."""
        self._known[checkpoint.step] = checkpoint

    def interrupt(self) -> None:
        """Ask the running steps to stop at their next safe point."""
        self._stop.set()

    @property
    def interrupted(self) -> bool:
        """Whether the run was asked to stop."""
        return self._stop.is_set()

    def safe_point(self) -> None:
        """Raise where the run must not go on: interrupted, or its lock lost."""
        lost = None if self._lock is None else self._lock.lost
        if lost is not None:
            raise LockLost(lost.what, expected=lost.expected, remedy=lost.remedy) from lost
        if self._stop.is_set():
            raise Interrupted(
                "The run was asked to stop, and did at a safe point.",
                remedy="run the same command again; it goes on from here",
            )

    def earlier_seconds(self) -> Mapping[str, float]:
        """How long each step took when it was last done, as far as it is known."""
        return {name: each.seconds for name, each in self._known.items() if each.seconds}

    def checkpoint(self, step: str) -> Checkpoint | None:
        """The newest checkpoint known to this run; in a joined process, that in the store."""
        return self.store.checkpoint(step) if self._joined else self._known.get(step)

    def expect(self, step: str, outputs: Mapping[str, Json]) -> None:
        """Take what a step would publish into account, as far as a dry run knows it."""
        self._expected[step] = {
            name: value for name, value in outputs.items() if not isinstance(value, Unknown)
        }

    @property
    def world_digest(self) -> str | None:
        """What tells this target from another; None where nobody says.

        Asked anew each time: a target may come into being during the run.
        """
        told = "" if self.world is None else self.world()
        return fingerprint.digest(told) if told else None

    def forget_expectations(self) -> None:
        """Take back what a look at the steps expected them to publish."""
        self._expected.clear()

    def outputs(self, step: str) -> Mapping[str, Json]:
        """What a finished step published; empty where it is not finished."""
        if step in self._expected:
            return self._expected[step]
        found = self.checkpoint(step)
        return found.outputs if found is not None and found.state in _WITH_OUTPUTS else {}

    def standing(self, step: str) -> Standing:
        """Whether a step is done, pending (with what changed), interrupted, failed or new."""
        found = self.checkpoint(step)
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
        if state is StepState.DRIFTED:
            return Standing(state, f"drifted: {found.error}", found)
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
            return self.world_digest
        return self.sources.get(step)


def _told(name: str) -> str:
    """An input's name in words."""
    kind, _, rest = name.partition(":")
    return {"world": "the target is another one", "source": "its code"}.get(kind, rest)
