"""A step as it happens: plan, intent, apply, verify, and what stops it on the way."""

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import stamina

from lib.engine import deadline
from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import ApprovalNeeded, DeadlineExceeded, Interrupted
from lib.engine.run import Mode, Run, StepState
from lib.engine.step import Step, approval_id
from lib.engine.store import Store
from lib.engine.unknown import Unknown, UnknownUntilApplied
from lib.errors import MigrationError


class Passing(MigrationError):
    """An error that passes by itself."""

    transient = True


@dataclass
class Thing:
    """A world of one value, and a log of what was done to it."""

    wanted: int = 1
    value: int | None = None
    irreversible: bool = False
    log: list[str] = field(default_factory=list)
    failures: int = 0
    subject: str = "thing"

    def observe(self):
        self.log.append("observe")
        return self.value

    def plan(self, observed):
        kind = ChangeKind.CREATE if observed is None else ChangeKind.UPDATE
        kind = ChangeKind.NONE if observed == self.wanted else kind
        return Change(kind, self.subject, irreversible=self.irreversible)

    def apply(self, change, journal):
        self.log.append("apply")
        journal.safe_point()
        if self.failures:
            self.failures -= 1
            raise Passing("try again.")
        self.value = self.wanted

    def verify(self):
        self.log.append("verify")
        return self.value

    def undo(self, change, journal):
        self.value = None


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5):
        yield


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def run(store) -> Iterator[Run]:
    run = Run(store, environment="test")
    run.begin(["test"])
    yield run
    run.end("passed")


def test_a_step_observes_applies_verifies_and_leaves_a_checkpoint(run):
    thing, step = Thing(), Step("a", run)
    assert step.make(thing) == 1
    assert run.store.checkpoint("a").state == "running", "the intent is durable before the result"
    step.finish(None)
    assert thing.log == ["observe", "apply", "verify"]
    assert run.standing("a").state is StepState.DONE


def test_what_is_right_already_is_left_alone(run):
    thing, step = Thing(value=1), Step("a", run)
    assert step.make(thing) == 1
    assert thing.log == ["observe"]
    assert step.finish(None).changes[0].kind is ChangeKind.NONE
    assert run.store.intents("a") == []


def test_an_error_that_passes_is_tried_again_and_counted(run):
    thing, step = Thing(failures=2), Step("a", run)
    step.make(thing)
    assert (thing.value, step.retries) == (1, 2)


def test_an_error_that_stays_is_raised_and_recorded(run):
    thing, step = Thing(failures=99), Step("a", run)
    with pytest.raises(Passing) as raised:
        step.make(thing)
    step.finish(raised.value)
    assert run.standing("a").state is StepState.FAILED
    assert [each.state for each in run.store.intents("a")] == ["intended"]


def test_a_dry_run_never_applies_and_needs_no_store():
    run = Run(None, mode=Mode.DRY_RUN)
    thing, step = Thing(), Step("a", run)
    assert isinstance(step.make(thing), Unknown)
    assert thing.log == ["observe"]
    assert [each.kind for each in step.changes] == [ChangeKind.CREATE]
    assert step.finish(None) is None


def test_a_dry_run_passes_on_what_it_knows_and_stops_at_what_it_does_not():
    run = Run(None, mode=Mode.DRY_RUN)
    first = Step("a", run)
    state = first.make(Thing())
    first.publish(size=3, address=state.address)
    first.finish(None)
    second = Step("b", run, unfinished=("a",))
    assert second.output("a", "size") == 3
    with pytest.raises(UnknownUntilApplied, match=r"a\.address"):
        f"{second.output('a', 'address')}"


def test_a_dry_run_takes_what_it_cannot_see_yet_as_absent():
    class Unseen(Thing):
        def observe(self):
            raise MigrationError("the project does not exist.")

    run = Run(None, mode=Mode.DRY_RUN)
    step = Step("b", run, unfinished=("a",))
    step.make(Unseen())
    assert [each.kind for each in step.changes] == [ChangeKind.CREATE]
    with pytest.raises(MigrationError, match="does not exist"):
        Step("b", run).make(Unseen())


def test_a_protected_environment_wants_each_irreversible_change_approved(store):
    run = Run(store, environment="production", protected=True)
    run.begin(["test"])
    thing, step = Thing(irreversible=True), Step("a", run)
    with pytest.raises(ApprovalNeeded) as raised:
        step.make(thing)
    assert thing.value is None
    assert step.finish(raised.value) is None, "nothing was begun, so nothing is recorded"
    identifier = approval_id("production", "a", step.changes[0])
    assert identifier in str(raised.value)
    run.approved = frozenset({identifier})
    assert Step("a", run).make(thing) == 1
    run.end("passed")


def test_an_interrupted_step_stops_at_a_safe_point(run):
    thing, step = Thing(), Step("a", run)
    run.interrupt()
    with pytest.raises(Interrupted):
        step.make(thing)
    assert thing.log == []


def test_a_step_past_its_deadline_fails(run):
    with pytest.raises(DeadlineExceeded):
        Step("a", run, deadline_seconds=-1).make(Thing())


def test_a_subject_is_made_once_in_a_step(run):
    step = Step("a", run)
    step.make(Thing())
    with pytest.raises(ValueError, match="twice"):
        step.make(Thing())


def test_an_output_that_was_never_published_is_an_error(run):
    Step("a", run).finish(None)
    with pytest.raises(KeyError, match="address"):
        Step("b", run).output("a", "address")


def test_undoing_takes_back_what_the_runs_changed_and_nothing_else(store, run):
    made, adopted = Thing(), Thing(value=1, subject="adopted")
    step = Step("a", run)
    step.make(made)
    step.make(adopted)
    step.finish(None)
    back = Run(store, mode=Mode.ROLLBACK)
    undoing = Step("a", back)
    undoing.make(made)
    undoing.make(adopted)
    undoing.undo_all()
    assert (made.value, adopted.value) == (None, 1)
    assert store.intents("a") == []


@dataclass
class Stuck(Thing):
    """An action that waits for ever and reaches no safe point."""

    def apply(self, change, journal):
        threading.Event().wait()


def test_a_step_that_waits_past_its_deadline_is_cut_off(run, monkeypatch):
    monkeypatch.setattr(deadline, "GRACE_SECONDS", 0.01)
    step = Step("a", run, deadline_seconds=0.01)
    with pytest.raises(DeadlineExceeded, match=r"deadline of 0\.01 seconds") as caught:
        step.make(Stuck())
    step.finish(caught.value)
    assert run.standing("a").state is StepState.FAILED
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_one_action_may_have_a_deadline_and_attempts_of_its_own(run, monkeypatch):
    monkeypatch.setattr(deadline, "GRACE_SECONDS", 0.01)
    step = Step("a", run, attempts=2)
    with pytest.raises(DeadlineExceeded):
        step.make(Stuck(subject="stuck"), deadline_seconds=0.01)
    with stamina.set_testing(False):
        with pytest.raises(Passing):
            step.make(Thing(failures=2, subject="twice"))
        assert step.retries == 1
        assert step.make(Thing(failures=2, subject="thrice"), attempts=3) == 1
    assert step.retries == 3


def test_each_attempt_is_told_with_what_went_before(run):
    told: list[str] = []
    step = Step("a", run)
    step.told = told.append
    step.make(Thing(failures=1))
    assert "attempt 2 of 5, after: try again." in told
