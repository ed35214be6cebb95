"""A call that changes something, as a row of the matrix."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lib.engine.changes import Change, ChangeKind, FieldChange
from tests.cloud.matrix.world import Build, Case

Prepare = Callable[[Case], Iterable[Any]]
"""What must be made first, each when the one before it stands."""
LABELS = {"platform": "other"}


@dataclass(frozen=True)
class Mutation:
    """One call that changes something: what must be there first, and the action that calls it.

    ``operation`` where it answers with a long operation.  An ``idempotent`` one may be made again
    while the first, unheard, is still under way.  A ``short`` one runs by default, too.
    """

    method: str
    permission: str
    action: Build
    prepare: Prepare = lambda _case: []
    operation: bool = True
    short: bool = True
    idempotent: bool = False

    @property
    def rpc(self) -> str:
        """The RPC without its service."""
        return self.method.rpartition("/")[2]


class Undone:
    """What an action made is taken back, told as an action: what a rollback does."""

    def __init__(self, made: Any, change: Change | None = None) -> None:
        self._made = made
        self._change = change or Change(ChangeKind.CREATE, made.subject)

    def observe(self) -> Any:
        """What there is of it."""
        return self._made.observe()

    def plan(self, observed: Any) -> Change:
        """To be taken back as long as it is there."""
        if self._change.kind is ChangeKind.UPDATE:
            there = self._made.plan(observed).kind is ChangeKind.NONE
        else:
            there = observed is not None
        return dataclasses.replace(
            self._change, kind=ChangeKind.UPDATE if there else ChangeKind.NONE
        )

    def apply(self, _change: Change, journal: Any) -> None:
        """Take it back."""
        self._made.undo(self._change, journal)

    def verify(self) -> Any:
        """It is gone."""
        observed = self.observe()
        assert self.plan(observed).kind is ChangeKind.NONE
        return observed


class Arranged:
    """Something that nobody's action makes, arranged by a plain call before a cell runs."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def observe(self) -> None:
        """Nothing is looked at."""

    def plan(self, _observed: None) -> Change:
        """Always to be done."""
        return Change(ChangeKind.UPDATE, "arrangement")

    def apply(self, _change: Change, _journal: Any) -> None:
        """Make the call."""
        self._call()

    def verify(self) -> None:
        """Nothing is looked at."""


def undoing(
    method: str,
    permission: str,
    action: Build,
    prepare: Prepare,
    fields: tuple[FieldChange, ...] = (),
    *,
    operation: bool = True,
) -> Mutation:
    """The row of a call that takes back what ``action`` made, or the ``fields`` it changed.

    What is deleted twice is not made twice: such calls are idempotent.
    """

    def undone(case: Case) -> Undone:
        made = action(case)
        return Undone(made, Change(ChangeKind.UPDATE, made.subject, fields) if fields else None)

    def with_it(case: Case) -> Iterator[Any]:
        yield from prepare(case)
        yield action(case)

    return Mutation(
        method, permission, undone, with_it, operation=operation, short=False, idempotent=True
    )


def project(case: Case) -> list[Any]:
    """The project that all cells share, and its services."""
    return [case.cloud.project(case.project), case.cloud.services(case.project)]


def relabelled(case: Case) -> Any:
    """The shared project's settings with a label more: what is made with them has it too."""
    return dataclasses.replace(case.project, labels={**case.project.labels, **LABELS})


def connected(case: Case) -> list[Any]:
    """The shared project with its network connected to Google's services."""
    network = case.world.settings.network
    parts = (case.cloud.services_range, case.cloud.private_connection)
    return [*project(case), *(part(case.project, network) for part in parts)]
