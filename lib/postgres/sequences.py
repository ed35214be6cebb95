"""Sequences at exactly the source's positions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.postgres import failures
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import CopyFailed
from lib.postgres.selection import ALL, Selection, left_out

Positions = Mapping[tuple[str, str], tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class SequencesState:
    """How many sequences there are and how many stand elsewhere than on the source."""

    sequences: int
    different: int


@dataclass(frozen=True, slots=True)
class Sequences:
    """Every sequence of the source has the same ``last_value`` and ``is_called`` on the target."""

    source: Database
    target: Database
    selection: Selection = ALL

    @property
    def subject(self) -> str:
        """The database."""
        return f"sequences of {self.target.name}"

    def observe(self) -> SequencesState:
        """Counts; reads both sides."""
        wanted, there = self._both()
        different = sum(there.get(name) != position for name, position in wanted.items())
        return SequencesState(len(wanted), different)

    def plan(self, observed: SequencesState | None) -> Change:
        """Each position that changes, old and new."""
        del observed
        wanted, there = self._both()
        fields = tuple(
            FieldChange(_path(name), _shown(there.get(name)), _shown(position))
            for name, position in wanted.items()
            if there.get(name) != position
        )
        kind = ChangeKind.UPDATE if fields else ChangeKind.NONE
        return Change(kind, self.subject, fields=fields)

    def apply(self, change: Change, journal: Journal) -> None:
        """Set them, in one transaction, to where the source's stand now."""
        del change, journal
        wanted, there = self._both()
        _set(self.target, {n: p for n, p in wanted.items() if there.get(n) != p})

    def verify(self) -> SequencesState:
        """No position differs."""
        state = self.observe()
        if state.different:
            raise VerificationError(
                f"{state.different} of {state.sequences} sequences stand elsewhere than on the"
                " source.",
                remedy="stop writing to the source, then run the same command again",
            )
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Set the positions that were there before."""
        del journal
        old: dict[tuple[str, str], tuple[int, bool]] = {}
        with connect(self.target) as target:
            names = {_path(name): name for name in positions(target)}
        for each in change.fields:
            if each.path in names and isinstance(each.old, list):
                value, called = each.old
                old[names[each.path]] = (int(str(value)), bool(called))
        _set(self.target, old)

    def _both(self) -> tuple[Positions, Positions]:
        with connect(self.source) as source, connect(self.target) as target:
            return positions(source, self.selection), positions(target)


def positions(connection: Connection, selection: Selection = ALL) -> Positions:
    """``last_value`` and ``is_called`` of each sequence, by schema and name."""
    out = left_out(connection, selection)
    names = [(schema, name) for schema, name in connection.execute(_SEQUENCES)]
    found: dict[tuple[str, str], tuple[int, bool]] = {}
    for name in (each for each in names if each not in out):
        row: Any = connection.execute(
            sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(*name))
        ).fetchone()
        found[name] = (row[0], row[1])
    return found


def _set(target: Database, wanted: Positions) -> None:
    with connect(target) as connection, connection.transaction():
        for name, (value, called) in wanted.items():
            identifier = sql.Identifier(*name).as_string(None)
            try:
                connection.execute("SELECT setval(%s, %s, %s)", [identifier, value, called])
            except psycopg.Error as error:
                what = f"Setting sequence {_path(name)}"
                raise failures.working(what, error, CopyFailed) from error


def _path(name: tuple[str, str]) -> str:
    return ".".join(name)


def _shown(position: tuple[int, bool] | None) -> Any:
    return None if position is None else list(position)


_SEQUENCES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND NOT EXISTS (
       SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
          AND e.deptype = 'e')
 ORDER BY 1, 2
"""
