"""The schema: what must be there before the rows, and what is built on them afterwards."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError
from lib.postgres import (
    dump,
    existing,
    keys,
    left_behind,
    obstacles,
    post_data_drops,
    restore,
)
from lib.postgres.database import Connection, Database, connect
from lib.postgres.dump import Entry
from lib.postgres.keys import Build
from lib.postgres.overlap import by_table
from lib.postgres.selection import ALL, Selection

Section = Literal["pre-data", "post-data"]
_OWNER = re.compile(r"^ALTER SCHEMA .* OWNER TO .*;$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """How the schema is moved.

    ``jobs`` builds that many indexes and constraints at a time; ``owners`` keeps each object's
    owner; ``pg_dump`` is the program to use, else the one on PATH.
    """

    jobs: int = 2
    owners: bool = True
    selection: Selection = ALL
    pg_dump: Path | None = None


@dataclass(frozen=True, slots=True)
class SchemaState:
    """How many of a section's objects are on the target, and the titles of those missing."""

    section: str
    there: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Section:
    source: Database
    target: Database
    options: SchemaOptions = SchemaOptions()

    _name: "Section" = "pre-data"
    _observed: list[tuple[tuple[Entry, ...], frozenset[int]]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @property
    def subject(self) -> str:
        """The section and the database."""
        return f"{self._name} schema of {self.target.name}"

    def observe(self) -> SchemaState:
        """Which objects of the section the target has."""
        every, made = self._look()
        self._observed[:] = [(every, made)]
        entries = tuple(entry for entry in every if entry.object)
        missing = tuple(entry.title for entry in entries if entry.id not in made)
        return SchemaState(self._name, len(entries) - len(missing), missing)

    def verify(self) -> SchemaState:
        """Every object of the section is on the target."""
        state = self.observe()
        if state.missing:
            raise VerificationError(
                f"Objects of the {self.subject} are missing: {', '.join(state.missing[:20])}.",
                remedy="run the same command again",
            )
        return state

    def _plan(self, observed: SchemaState | None) -> Change:
        state = observed if observed is not None else self.observe()
        if not state.missing:
            return Change(ChangeKind.NONE, self.subject)
        kind = ChangeKind.UPDATE if state.there else ChangeKind.CREATE
        fields = tuple(FieldChange(title, None, "created") for title in state.missing)
        return Change(kind, self.subject, fields=fields, quantities={"objects": len(fields)})

    def _missing(self) -> tuple[Entry, ...]:
        # What was observed is what was planned; a dump of many tables takes long.
        entries, made = self._observed.pop() if self._observed else self._look()
        return tuple(
            _owner_only(entry) if entry.id in made else entry
            for entry in entries
            if entry.id not in made or entry.type == "SCHEMA"
        )

    def _look(self) -> tuple[tuple[Entry, ...], frozenset[int]]:
        """The entries that this migration makes at some time; the ids of those that are there."""
        entries = dump.entries(
            self.source,
            self._name,
            self.options.selection,
            pg_dump=self.options.pg_dump,
            owners=self.options.owners,
        )
        with connect(self.source) as source, connect(self.target) as target:
            not_ours = existing.left_out(entries, source, self.options.selection)
            ours = tuple(entry for entry in entries if entry.id not in not_ours)
            return ours, existing.made(ours, source, target)


@dataclass(frozen=True, slots=True)
class PreDataSchema(_Section):
    """Schemas, types, functions, tables, views, sequences, defaults, with comments and grants.

    All in one transaction, so that a kill leaves nothing behind.
    """

    def plan(self, observed: SchemaState | None) -> Change:
        """The objects to create; raises ``Obstacle`` for what the target can't take."""
        obstacles.refuse(self.source, self.target)
        return replace(self._plan(observed), reason=left_behind.describe(self.source))

    def apply(self, change: Change, journal: Journal) -> None:
        """Create what is missing."""
        del change
        entries = self._missing()
        restore.together(self.target, entries)
        journal.progress(self.subject, len(entries), len(entries), "objects")

    def stays(self, change: Change) -> str:
        """Objects that were made beside others': to drop one could take others with it."""
        if change.kind is ChangeKind.CREATE:
            return ""
        return "it was made beside objects that were there; dropping one could take others along"

    def undo(self, change: Change, journal: Journal) -> None:
        """Drop the objects that this change created."""
        del journal
        with connect(self.target) as target:
            if reason := self.stays(change):
                raise CannotUndo(
                    f"The {self.subject}: {reason}.",
                    remedy="drop the database, or the objects by hand",
                )
            made = {field.path for field in change.fields}
            with target.transaction():
                for statement in _drops(target, made):
                    target.execute(statement)


@dataclass(frozen=True, slots=True)
class PostDataSchema(_Section):
    """Indexes, constraints, foreign keys, triggers, rules and policies; no vector indexes."""

    _name: Section = "post-data"

    def plan(self, observed: SchemaState | None) -> Change:
        """The objects to create."""
        return self._plan(observed)

    def apply(self, change: Change, journal: Journal) -> None:
        """Create what is missing, several at a time; each object is there whole or not at all."""
        del change
        entries = self._missing()
        done: set[int] = set()

        def made(entry: Entry) -> None:
            done.add(entry.id)
            journal.progress(self.subject, len(done), len(entries), "objects")

        with connect(self.source) as source:
            builds = keys.builds(source, entries)
        restore.apart(self.target, entries, builds, self.options.jobs, made, journal.safe_point)

    def indexes(self) -> dict[tuple[str, str], list[Build]]:
        """The indexes and key constraints that are missing, by their table."""
        missing = self._missing()
        with connect(self.source) as source:
            return by_table(source, keys.builds(source, missing))

    def undo(self, change: Change, journal: Journal) -> None:
        """Drop the objects that this change created, all or none."""
        del journal
        made = {field.path for field in change.fields}
        with connect(self.target) as target, target.transaction():
            for statement in post_data_drops.drops(target, made):
                target.execute(statement)


def _owner_only(entry: Entry) -> Entry:
    """A schema that exists (an extension's, or public) still gets its owner."""
    statement = _OWNER.search(entry.statements)
    keep = statement is not None and entry.name != "public"
    return replace(entry, oid=0, statements=statement[0] if statement and keep else "")


def _drops(target: Connection, made: set[str]) -> list[sql.Composed]:
    """DROP statements for what was made: whole schemas, else relations, types and functions."""
    found: list[sql.Composed] = []
    # A table takes its sequences along, and they can't go before it.
    rows = sorted(target.execute(_DROPPABLE), key=lambda row: row[0] == "SEQUENCE")
    for kind, schema, name, arguments in rows:
        place = "" if kind == "SCHEMA" else f"{schema}."
        title = f"{str(kind).lower()} {place}{name}"
        shown = f"{title}({arguments})" if arguments is not None else title
        if shown not in made and title not in made:
            continue
        names = (name,) if kind == "SCHEMA" else (schema, name)
        signature = (
            sql.SQL("({})").format(sql.SQL(arguments)) if arguments is not None else sql.SQL("")
        )
        found.append(
            sql.SQL("DROP {} IF EXISTS {}{} CASCADE").format(
                sql.SQL(kind), sql.Identifier(*names), signature
            )
        )
    return found


_DROPPABLE = """
SELECT 'SCHEMA', nspname, nspname, NULL FROM pg_namespace WHERE oid >= 16384
UNION ALL
SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
       WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
       n.nspname, c.relname, NULL
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('v', 'm', 'S', 'f', 'r', 'p') AND c.oid >= 16384
UNION ALL
SELECT CASE typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, n.nspname, t.typname, NULL
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
 WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND EXISTS (
       SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
UNION ALL
SELECT CASE prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
       n.nspname, p.proname, oidvectortypes(p.proargtypes)
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.oid >= 16384
"""
