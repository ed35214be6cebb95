"""The extensions that the source uses, on the target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.postgres import failures
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import Obstacle, RestoreFailed


@dataclass(frozen=True, slots=True)
class ExtensionsState:
    """Installed extensions by name, with their versions, and the names that are missing."""

    installed: Mapping[str, str]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extensions:
    """Every extension of the source is there; ``mapping`` renames one, or to "" leaves it out."""

    source: Database
    target: Database
    mapping: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The database."""
        return f"extensions of {self.target.name}"

    def observe(self) -> ExtensionsState:
        """What the target has, and what it lacks."""
        wanted = self._wanted()
        with connect(self.target) as target:
            rows = target.execute("SELECT extname, extversion FROM pg_extension").fetchall()
        installed: dict[str, str] = dict(rows)
        return ExtensionsState(installed, tuple(n for n in wanted if n not in installed))

    def plan(self, observed: ExtensionsState | None) -> Change:
        """The extensions to create; raises ``Obstacle`` for those the server doesn't offer."""
        missing = observed.missing if observed else tuple(self._wanted())
        if not missing:
            return Change(ChangeKind.NONE, self.subject)
        with connect(self.target) as target:
            offered = {r[0] for r in target.execute("SELECT name FROM pg_available_extensions")}
        if unknown := [name for name in missing if name not in offered]:
            raise Obstacle(
                f"The target does not offer the source's extensions {', '.join(unknown)}.",
                remedy="drop them on the source if nothing uses them, or map each to another name"
                ' (or to "" to leave it out)',
            )
        fields = tuple(FieldChange(name, None, "created") for name in missing)
        return Change(ChangeKind.CREATE, self.subject, fields=fields)

    def apply(self, change: Change, journal: Journal) -> None:
        """Create them, in the schemas that the source has them in."""
        del journal
        wanted = self._wanted()
        with connect(self.target) as target:
            for each in change.fields:
                try:
                    _create(target, each.path, wanted.get(each.path, "public"))
                except psycopg.Error as error:
                    what = f"Creating extension {each.path}"
                    raise failures.working(what, error, RestoreFailed) from error

    def verify(self) -> ExtensionsState:
        """None is missing."""
        state = self.observe()
        if state.missing:
            raise VerificationError(
                f"Extensions are missing on the target: {', '.join(state.missing)}."
            )
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Drop those that were created; refuses while something uses them."""
        del journal
        with connect(self.target) as target:
            for each in change.fields:
                statement = sql.SQL("DROP EXTENSION IF EXISTS {}").format(sql.Identifier(each.path))
                try:
                    target.execute(statement)
                except psycopg.Error as error:
                    what = f"Dropping extension {each.path}"
                    raise failures.working(what, error, RestoreFailed) from error

    def _wanted(self) -> dict[str, str]:
        """Name on the target to schema, for each extension of the source that is not left out."""
        with connect(self.source) as source:
            rows = source.execute(
                "SELECT e.extname, n.nspname FROM pg_extension e"
                " JOIN pg_namespace n ON n.oid = e.extnamespace"
                " WHERE e.extname <> 'plpgsql' ORDER BY e.oid"
            ).fetchall()
        named = [(self.mapping.get(name, name), schema) for name, schema in rows]
        return {name: schema for name, schema in named if name}


def _create(target: Connection, name: str, schema: str) -> None:
    fixed: Any = target.execute(
        "SELECT schema FROM pg_available_extension_versions v JOIN pg_available_extensions a"
        " ON a.name = v.name AND a.default_version = v.version WHERE a.name = %s",
        [name],
    ).fetchone()
    identifier = sql.Identifier(name)
    with target.transaction():
        if fixed and fixed[0]:
            target.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(identifier))
            return
        place = sql.Identifier(schema)
        known = target.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema]).fetchone()
        if known is None:
            target.execute(sql.SQL("CREATE SCHEMA {}").format(place))
        target.execute(
            sql.SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(identifier, place)
        )
