"""Large objects, each whole or not at all, with owner, grants and comment."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError
from lib.postgres import failures
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import CopyFailed

PART = 1 << 20


@dataclass(frozen=True, slots=True)
class LargeObjectsState:
    """How many the source has, and the oids that differ on the target or are missing there."""

    objects: int
    different: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LargeObjects:
    """Every large object of the source has the same oid and content on the target.

    With ``exact`` the target keeps none that the source no longer has.
    """

    source: Database
    target: Database
    exact: bool = False

    @property
    def subject(self) -> str:
        """The database."""
        return f"large objects of {self.target.name}"

    def observe(self) -> LargeObjectsState:
        """Compares every object by digest on both servers."""
        with connect(self.source) as source, connect(self.target) as target:
            wanted, there = digests(source), digests(target)
        different = [oid for oid, value in wanted.items() if there.get(oid) != value]
        if self.exact:
            different += sorted(there.keys() - wanted.keys())
        return LargeObjectsState(len(wanted), tuple(different))

    def plan(self, observed: LargeObjectsState | None) -> Change:
        """COPY of those that differ."""
        if observed is None or not observed.different:
            return Change(ChangeKind.NONE, self.subject)
        with connect(self.target) as target:
            known = {row[0] for row in target.execute(_OBJECTS)}
        fields = tuple(
            FieldChange(str(oid), "other content" if oid in known else None, "copied")
            for oid in observed.different
        )
        quantities = {"large objects": len(fields)}
        return Change(ChangeKind.COPY, self.subject, fields=fields, quantities=quantities)

    def apply(self, change: Change, journal: Journal) -> None:
        """Copy them in parts of a megabyte, one target transaction for each object."""
        del change
        different = self.observe().different
        with connect(self.source) as source, connect(self.target) as target:
            for done, oid in enumerate(different):
                journal.safe_point()
                try:
                    with target.transaction():
                        _copy(source, target, oid)
                except psycopg.Error as error:
                    what = f"Copying large object {oid}"
                    raise failures.working(what, error, CopyFailed) from error
                journal.progress(self.subject, done + 1, len(different), "objects")

    def verify(self) -> LargeObjectsState:
        """None differs."""
        state = self.observe()
        if state.different:
            shown = ", ".join(map(str, state.different[:20]))
            raise VerificationError(f"Large objects differ on the target: {shown}.")
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Remove those that were created; those that were overwritten have no way back."""
        del journal
        with connect(self.target) as target:
            for each in change.fields:
                oid = int(each.path)
                if each.old is None and _exists(target, oid):
                    target.execute("SELECT lo_unlink(%s::oid)", [oid])
        if kept := [each.path for each in change.fields if each.old is not None]:
            raise CannotUndo(f"Large objects whose content was replaced stay: {', '.join(kept)}.")


def digests(connection: Connection) -> dict[int, tuple[int, str]]:
    """Size and digest of the content by oid."""
    oids = [row[0] for row in connection.execute(_OBJECTS)]
    found: dict[int, tuple[int, str]] = {}
    for oid in oids:
        size = _size(connection, oid)
        row: Any = connection.execute(_DIGEST, {"oid": oid, "size": size, "part": PART}).fetchone()
        found[oid] = (size, row[0])
    return found


def _size(connection: Connection, oid: int) -> int:
    with connection.transaction():
        row: Any = connection.execute(
            "SELECT lo_lseek64(lo_open(%s::oid, 262144), 0, 2)", [oid]
        ).fetchone()
    size: int = row[0]
    return size


def _exists(connection: Connection, oid: int) -> bool:
    asked = "SELECT FROM pg_largeobject_metadata WHERE oid = %s::oid"
    return connection.execute(asked, [oid]).fetchone() is not None


def _copy(source: Connection, target: Connection, oid: int) -> None:
    if _exists(target, oid):
        target.execute("SELECT lo_unlink(%s::oid)", [oid])
    if not _exists(source, oid):
        return
    target.execute("SELECT lo_create(%s::oid)", [oid])
    for offset in range(0, _size(source, oid), PART):
        row: Any = source.execute(
            "SELECT lo_get(%s::oid, %s::int8, %s)", [oid, offset, PART], binary=True
        ).fetchone()
        target.execute("SELECT lo_put(%s::oid, %s::int8, %s)", [oid, offset, row[0]])
    _dress(source, target, oid)


def _dress(source: Connection, target: Connection, oid: int) -> None:
    """Comment, grants and owner, those whose roles the target has; the owner last."""
    known = {row[0] for row in target.execute("SELECT rolname FROM pg_roles")}
    row: Any = source.execute(_ABOUT, [oid]).fetchone()
    owner, comment = row
    number = sql.Literal(oid)
    if comment is not None:
        target.execute(
            sql.SQL("COMMENT ON LARGE OBJECT {} IS {}").format(number, sql.Literal(comment))
        )
    for grantee, privilege in source.execute(_GRANTS, [oid]):
        if grantee is None or grantee in known:
            role = sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)
            target.execute(
                sql.SQL("GRANT {} ON LARGE OBJECT {} TO {}").format(
                    sql.SQL(privilege), number, role
                )
            )
    if owner in known:
        target.execute(
            sql.SQL("ALTER LARGE OBJECT {} OWNER TO {}").format(number, sql.Identifier(owner))
        )


_OBJECTS = "SELECT oid::int8 FROM pg_largeobject_metadata ORDER BY oid"
_DIGEST = """
SELECT md5(coalesce(string_agg(md5(lo_get(%(oid)s::oid, n * %(part)s, %(part)s::int)), ''
           ORDER BY n), ''))
  FROM generate_series(0::int8, (%(size)s::int8 - 1) / %(part)s) AS n WHERE %(size)s > 0
"""
_ABOUT = """
SELECT pg_get_userbyid(lomowner), obj_description(oid, 'pg_largeobject')
  FROM pg_largeobject_metadata WHERE oid = %s::oid
"""
_GRANTS = """
SELECT r.rolname, a.privilege_type
  FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
 WHERE m.oid = %s::oid AND a.grantee <> m.lomowner
"""
