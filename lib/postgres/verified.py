"""Source and target hold the same: an action that only looks."""

from dataclasses import dataclass, field
from pathlib import Path

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError
from lib.postgres.comparison import CompareOptions, Comparison, compare
from lib.postgres.database import Database
from lib.postgres.schema_comparison import compare_schema


@dataclass(frozen=True, slots=True)
class Verified:
    """Every row, sequence and large object agrees, and the schema unless ``schema`` is False.

    The target may hold more objects and grants than the source, such as the application's role.
    """

    source: Database
    target: Database
    options: CompareOptions = field(default_factory=CompareOptions)
    schema: bool = True
    owners: bool = True
    pg_dump: Path | None = None

    @property
    def subject(self) -> str:
        """The two databases."""
        return f"{self.target.name} agrees with {self.source.name}"

    def observe(self) -> None:
        """Nothing: what there is to see, ``verify`` reads."""

    def plan(self, observed: Comparison | None) -> Change:
        """UNKNOWN, for nobody knows before reading both sides; nothing is ever changed."""
        del observed
        return Change(ChangeKind.UNKNOWN, self.subject, reason="every row is compared")

    def apply(self, change: Change, journal: Journal) -> None:
        """Change nothing."""
        del change, journal

    def verify(self) -> Comparison:
        """The comparison; raises ``VerificationError`` with the differences."""
        found = compare(self.source, self.target, self.options)
        lines = [found.describe()] if not found.equal else []
        if self.schema:
            lines += self._schema()
        self._refuse(lines, "stop writing to the source, then copy once more with refresh")
        return found

    def require_same_schema(self) -> None:
        """Raise ``VerificationError`` with the definitions that differ; reads no rows."""
        self._refuse(self._schema(), "repeat the change of the source's schema on the target")

    def _schema(self) -> list[str]:
        differing = compare_schema(
            self.source,
            self.target,
            self.options.selection,
            pg_dump=self.pg_dump,
            owners=self.owners,
            additions=True,
        )
        return [f"{each.title} is not the same on both sides" for each in differing[:50]]

    def _refuse(self, lines: list[str], remedy: str) -> None:
        if lines:
            raise VerificationError(
                f"{self.source.url} and {self.target.url} do not hold the same:\n"
                + "\n".join(lines),
                remedy=remedy,
            )

    def undo(self, change: Change, journal: Journal) -> None:
        """Nothing was changed."""
        del change, journal
