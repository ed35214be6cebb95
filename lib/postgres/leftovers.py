"""What an online move made for itself, found by its name whichever run made it, and removed."""

from dataclasses import dataclass

from lib.engine.actions import Journal
from lib.engine.changes import NOTHING_TO_REMOVE, Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.postgres import replication, subscription
from lib.postgres.cutover import leftovers
from lib.postgres.database import Database, connect
from lib.postgres.errors import PostgresError
from lib.postgres.following import taken_over


@dataclass(frozen=True, slots=True)
class ReplicationRemoved:
    """Neither subscription, slot nor publication of this name is left; after it nothing follows.

    With ``needed`` what still follows is refused: only the cutover or its undoing ends that.
    """

    source: Database
    target: Database
    name: str
    needed: bool = False

    @property
    def subject(self) -> str:
        """The name."""
        return f"replication {self.name}"

    def observe(self) -> tuple[str, ...] | None:
        """What is there; None when nothing is."""
        return tuple(leftovers(self.source, self.target, self.name)) or None

    def plan(self, observed: tuple[str, ...] | None) -> Change:
        """DELETE what is there; raises ``PostgresError`` while it is needed."""
        if observed and self.needed:
            with connect(self.source) as source, connect(self.target) as target:
                over = taken_over(source, target)
            if not over:
                raise PostgresError(
                    f"The {self.subject} still carries the source's changes to the target.",
                    expected="a cutover before the cleanup",
                    remedy="run the step cutover, or take the move back with --rollback",
                )
        if not observed:
            return Change(ChangeKind.NONE, self.subject, reason=NOTHING_TO_REMOVE)
        fields = tuple(FieldChange(each, "there", None) for each in observed)
        return Change(ChangeKind.DELETE, self.subject, fields)

    def apply(self, change: Change, journal: Journal) -> None:
        """Drop them: the reader first."""
        del change, journal
        with connect(self.source) as source, connect(self.target) as target:
            subscription.drop(target, self.name)
            replication.drop_slot(source, self.name)
            replication.unpublish(source, self.name)

    def verify(self) -> tuple[str, ...]:
        """Nothing is left."""
        if left := self.observe():
            raise VerificationError(f"There still is {', '.join(left)}.")
        return ()

    def undo(self, change: Change, journal: Journal) -> None:
        """Nothing to take back: they held nothing that either side needs."""
        del change, journal
