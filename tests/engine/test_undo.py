"""Taking back what an interrupted creation left, and a later run finished."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import CannotUndo
from lib.engine.run import Mode, Run
from lib.engine.step import Step
from lib.engine.store import Store


@dataclass
class Box:
    """A box whose content can't be taken out again; the box can be thrown away."""

    keeps: bool = False
    undone: list[ChangeKind] = field(default_factory=list)
    subject: str = "box"

    def observe(self):
        return None

    def plan(self, observed):
        return Change(ChangeKind.NONE, self.subject)

    def verify(self):
        return None

    def stays(self, change):
        return "it is sealed" if self.keeps and change.kind is ChangeKind.UPDATE else ""

    def undo(self, change, journal):
        if change.kind is ChangeKind.UPDATE:
            raise CannotUndo("the content may be in use.")
        self.undone.append(change.kind)


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    store = Store(tmp_path / "store.db")
    yield store
    store.close()


def rolled_back(store: Store, box: Box, *kinds: ChangeKind) -> Step:
    """A step in which runs made these changes of the box, looked at by a rollback."""
    for number, kind in enumerate(kinds, 1):
        store.intend("a", number, 1, 1.0, Change(kind, box.subject))
    step = Step("a", Run(store, mode=Mode.ROLLBACK))
    step.make(box)
    return step


@pytest.mark.parametrize("keeps", [False, True])
def test_what_a_later_run_added_goes_with_what_an_earlier_one_created(store, keeps):
    box = Box(keeps)
    step = rolled_back(store, box, ChangeKind.CREATE, ChangeKind.UPDATE)
    assert step.what_stays() == []
    step.undo_all()
    assert box.undone == [ChangeKind.CREATE]
    assert store.intents("a") == []
    assert store.checkpoint("a").state == "rolled back"


def test_what_was_added_to_what_was_there_before_stays_and_is_told(store):
    step = rolled_back(store, Box(), ChangeKind.UPDATE)
    with pytest.raises(CannotUndo, match="may be in use"):
        step.undo_all()
    assert len(store.intents("a")) == 1
    assert store.checkpoint("a").state == "failed"


def test_what_was_added_before_something_was_created_is_not_taken_for_a_part_of_it(store):
    step = rolled_back(store, Box(keeps=True), ChangeKind.UPDATE, ChangeKind.CREATE)
    assert step.what_stays() == ["update box: it is sealed"]
