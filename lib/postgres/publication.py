"""The publication on the source: from here on it can tell what changes."""

from dataclasses import dataclass

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError
from lib.postgres import followable, replication
from lib.postgres.catalog import Table
from lib.postgres.database import Connection, Database, connect
from lib.postgres.followable import Division
from lib.postgres.online import Online
from lib.postgres.selection import ALL, Selection, selected
from lib.postgres.writes import read_only


@dataclass(frozen=True, slots=True)
class PublicationState:
    """The tables that are published, and whether the source has handed over already."""

    tables: frozenset[tuple[str, str]]
    handed_over: bool


@dataclass(frozen=True, slots=True)
class Published:
    """Every table whose changes can be followed is published."""

    source: Database
    online: Online
    selection: Selection = ALL

    @property
    def subject(self) -> str:
        """The publication and its database."""
        return f"publication {self.online.name} of {self.source.name}"

    def observe(self) -> PublicationState | None:
        """What is published; None where there is no such publication."""
        with connect(self.source) as source:
            there = replication.published(source, self.online.name)
            gone = read_only(source)
        return None if there is None and not gone else PublicationState(there or frozenset(), gone)

    def plan(self, observed: PublicationState | None) -> Change:
        """CREATE or UPDATE; raises ``Obstacle`` with all that keeps changes from being followed."""
        if observed is not None and observed.handed_over:
            return Change(ChangeKind.NONE, self.subject, reason="the target has taken over")
        with connect(self.source) as source:
            tables, division = self._divided(source)
            followable.refuse(source, self.online, tables, division)
        wanted = frozenset(table.identity for table in division.followed)
        if observed is not None and observed.tables == wanted:
            return Change(ChangeKind.NONE, self.subject)
        kind = ChangeKind.CREATE if observed is None else ChangeKind.UPDATE
        return Change(
            kind, self.subject, quantities={"tables": len(wanted)}, reason=division.describe()
        )

    def apply(self, change: Change, journal: Journal) -> None:
        """Publish them."""
        del change, journal
        with connect(self.source) as source:
            _, division = self._divided(source)
            replication.publish(source, self.online.name, division.followed)

    def verify(self) -> PublicationState:
        """The publication is there."""
        state = self.observe()
        if state is None:
            raise VerificationError(f"The {self.subject} is not there.")
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Leave neither the publication nor its slot."""
        del change, journal
        with connect(self.source) as source:
            replication.drop_slot(source, self.online.name)
            replication.unpublish(source, self.online.name)

    def _divided(self, source: Connection) -> tuple[tuple[Table, ...], Division]:
        tables = selected(source, self.selection)
        return tables, followable.divide(source, tables)
