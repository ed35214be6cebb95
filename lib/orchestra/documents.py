"""What a migration writes for people and programs: the inventory and the report's data."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, Json
from lib.errors import VerificationError
from lib.report.markdown import inventory
from lib.report.model import ConnectionRow
from lib.settings import ROOT

if TYPE_CHECKING:
    from lib.cloud.cloud import Cloud
    from lib.orchestra.platform import Platform

REPORTS = ROOT / "reports"


def connections(cloud: "Cloud", settings: Any) -> list[ConnectionRow]:
    """What exists in the project and how to connect to it (network)."""
    items = cloud.describe(
        settings.project,
        settings.network,
        settings.alloydb,
        settings.redis,
        settings.workstations,
        settings.api,
    )
    return [ConnectionRow(**asdict(item)) for item in items]


class WrittenFile:
    """A file in ``reports/`` has this content: an action, written whole or not at all.

    ``content`` is asked for when it is needed, so that a rollback needs none.
    """

    def __init__(self, path: Path, content: Callable[[], str]) -> None:
        self._path = path
        self._made = content

    @cached_property
    def _content(self) -> str:
        return self._made()

    @property
    def subject(self) -> str:
        """The file's name."""
        return f"reports/{self._path.name}"

    def observe(self) -> str | None:
        """What the file holds; None where there is none."""
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def plan(self, observed: str | None) -> Change:
        """Create it, write it anew, or nothing."""
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject)
        same = observed == self._content
        return Change(ChangeKind.NONE if same else ChangeKind.UPDATE, self.subject)

    def apply(self, change: Change, journal: Journal) -> None:
        """Write it."""
        del change, journal
        _write(self._path, self._content)

    def verify(self) -> str:
        """The content, read again."""
        found = self.observe()
        if found != self._content:
            raise VerificationError(f"{self._path} does not hold what was written.")
        return found

    def undo(self, change: Change, journal: Journal) -> None:
        """Delete the file: what it tells no longer is so."""
        del change, journal
        self._path.unlink(missing_ok=True)


def inventory_file(rows: Sequence[ConnectionRow], platform: "Platform") -> WrittenFile:
    """``reports/INVENTORY.md``."""
    settings = platform.settings
    facts = {
        "project": settings.project.id,
        "organization": settings.project.organization,
        "region": settings.project.region,
        "target": settings.target,
    }
    return WrittenFile(REPORTS / "INVENTORY.md", lambda: inventory(rows, facts))


def write_steps(steps: Sequence[dict[str, Json]], criteria: Sequence[Json]) -> Path:
    """Write ``reports/migration.json``: every step as its checkpoint has it, and the criteria.

    It tells of runs, not of the world, so it is written anew whenever its step runs.
    """
    document = {"version": 1, "steps": list(steps), "criteria": list(criteria)}
    path = REPORTS / "migration.json"
    _write(path, json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")
    return path


def _write(path: Path, text: str) -> None:
    """Write beside the file, then rename: it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".unfinished")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
