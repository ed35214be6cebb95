"""What an online move made for itself, found by its name whichever run made it, and removed."""

from dataclasses import dataclass

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.postgres import replication, subscription
from lib.postgres.cutover import leftovers
from lib.postgres.database import Database, connect


@dataclass(frozen=True, slots=True)
class ReplicationRemoved:
    """Neither subscription, slot nor publication of this name is left; after it nothing follows."""

    source: Database
    target: Database
    name: str

    @property
    def subject(self) -> str:
        """The name."""
        return f"replication {self.name}"

    def observe(self) -> tuple[str, ...] | None:
        """What is there; None when nothing is."""
        return tuple(leftovers(self.source, self.target, self.name)) or None

    def plan(self, observed: tuple[str, ...] | None) -> Change:
        """DELETE what is there."""
        fields = tuple(FieldChange(each, "there", None) for each in observed or ())
        return Change(ChangeKind.DELETE if fields else ChangeKind.NONE, self.subject, fields=fields)

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
