"""The roles that the source database uses, and who is a member of which."""

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.errors import VerificationError
from lib.postgres import failures
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import RestoreFailed


@dataclass(frozen=True, slots=True)
class Role:
    """A role and its attributes; the password's verifier is never shown."""

    name: str
    login: bool
    inherit: bool
    create_database: bool
    create_role: bool
    superuser: bool
    replication: bool
    bypass_rls: bool
    connections: int
    valid_until: str | None
    verifier: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class RolesState:
    """Names of roles, those missing on the target, and memberships missing there."""

    roles: tuple[str, ...]
    missing: tuple[str, ...]
    missing_memberships: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles that own something in the source, are granted something, or are their members.

    A role that exists on the target is left as it is.  SUPERUSER, REPLICATION and BYPASSRLS are
    given only where the target's role may.  Passwords move as verifiers where the source lets them
    be read; else the roles have none and the plan says so.  Role settings (ALTER ROLE SET) stay.
    """

    source: Database
    target: Database

    @property
    def subject(self) -> str:
        """The databases' roles."""
        return f"roles of {self.source.name}"

    def observe(self) -> RolesState:
        """What the target lacks."""
        with connect(self.source) as source, connect(self.target) as target:
            wanted = tuple(role.name for role in _roles(source, passwords=False))
            there = {row[0] for row in target.execute("SELECT rolname FROM pg_roles")}
            have = _memberships(target)
            members = tuple(
                sorted(pair for pair in _memberships(source) - have if set(pair) <= set(wanted))
            )
        missing = tuple(name for name in wanted if name not in there)
        return RolesState(wanted, missing, members)

    def plan(self, observed: RolesState | None) -> Change:
        """The roles and memberships to create, and what they will lack."""
        state = observed or self.observe()
        if not (state.missing or state.missing_memberships):
            return Change(ChangeKind.NONE, self.subject)
        fields = [FieldChange(f"role {name}", None, "created") for name in state.missing]
        fields += [
            FieldChange(f"member {member}", None, group)
            for group, member in state.missing_memberships
        ]
        return Change(
            ChangeKind.CREATE, self.subject, fields=tuple(fields), reason=self._lacking(state)
        )

    def apply(self, change: Change, journal: Journal) -> None:
        """Create them in one transaction."""
        del change, journal
        state = self.observe()
        with connect(self.source) as source, connect(self.target) as target:
            roles = {role.name: role for role in _roles(source, passwords=_readable(source))}
            powers = _powers(target)
            try:
                with target.transaction():
                    for name in state.missing:
                        _create(target, roles[name], powers)
                    for group, member in state.missing_memberships:
                        _grant(target, group, sql.Identifier(member))
            except psycopg.Error as error:
                what = f"Creating {self.subject}"
                raise failures.working(what, error, RestoreFailed) from error

    def verify(self) -> RolesState:
        """None is missing."""
        state = self.observe()
        if state.missing or state.missing_memberships:
            raise VerificationError(
                f"Roles or memberships are missing on the target: "
                f"{', '.join(state.missing)} {state.missing_memberships or ''}"
            )
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Drop the roles and memberships that were created."""
        del journal
        with connect(self.target) as target:
            try:
                with target.transaction():
                    _undo(target, change)
            except psycopg.Error as error:
                what = f"Dropping {self.subject}"
                raise failures.working(what, error, RestoreFailed) from error

    def _lacking(self, state: RolesState) -> str:
        with connect(self.source) as source, connect(self.target) as target:
            readable = _readable(source)
            powers = _powers(target)
            roles = [r for r in _roles(source, passwords=False) if r.name in state.missing]
        said = []
        if not readable and (names := [role.name for role in roles if role.login]):
            said.append(f"without passwords, which can't be read: {', '.join(names)}")
        if not powers and (
            names := [r.name for r in roles if r.superuser or r.replication or r.bypass_rls]
        ):
            said.append(
                f"without SUPERUSER, REPLICATION or BYPASSRLS, which the target's role can't"
                f" give: {', '.join(names)}"
            )
        return "; ".join(said)


def _readable(source: Connection) -> bool:
    row: Any = source.execute(
        "SELECT has_table_privilege('pg_authid'::regclass, 'SELECT')"
    ).fetchone()
    return bool(row[0])


def _powers(target: Connection) -> bool:
    row: Any = target.execute(
        "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    return bool(row[0])


def _roles(source: Connection, *, passwords: bool) -> tuple[Role, ...]:
    names = sql.SQL(_USED)
    verifier = sql.SQL(
        "(SELECT a.rolpassword FROM pg_authid a WHERE a.oid = r.oid)" if passwords else "NULL"
    )
    return tuple(Role(*row) for row in source.execute(names + sql.SQL(_ROLE).format(verifier)))


def _memberships(connection: Connection) -> set[tuple[str, str]]:
    """Pairs of group and member."""
    return {
        (group, member)
        for group, member in connection.execute(
            "SELECT g.rolname, m.rolname FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid"
            " JOIN pg_roles m ON m.oid = a.member"
        )
    }


def _create(target: Connection, role: Role, powers: bool) -> None:
    words = [
        "LOGIN" if role.login else "NOLOGIN",
        "INHERIT" if role.inherit else "NOINHERIT",
        "CREATEDB" if role.create_database else "NOCREATEDB",
        "CREATEROLE" if role.create_role else "NOCREATEROLE",
    ]
    if powers:
        words += ["SUPERUSER"] * role.superuser + ["REPLICATION"] * role.replication
        words += ["BYPASSRLS"] * role.bypass_rls
    parts = [sql.SQL("CREATE ROLE {}").format(sql.Identifier(role.name))]
    parts += [sql.SQL(word).format() for word in words]
    parts.append(sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(role.connections)))
    if role.valid_until is not None:
        parts.append(sql.SQL("VALID UNTIL {}").format(sql.Literal(role.valid_until)))
    if role.verifier is not None:
        parts.append(sql.SQL("PASSWORD {}").format(sql.Literal(role.verifier)))
    target.execute(sql.SQL(" ").join(parts))
    if not powers:
        # Without it, the role that migrates could not give objects to their owners.
        _grant(target, role.name, sql.SQL("CURRENT_USER"))


def _grant(target: Connection, group: str, member: sql.Composable) -> None:
    target.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), member))


def _undo(target: Connection, change: Change) -> None:
    there = {row[0] for row in target.execute("SELECT rolname FROM pg_roles")}
    for each in change.fields:
        kind, _, name = each.path.partition(" ")
        group = str(each.new)
        if kind == "member" and {group, name} <= there:
            target.execute(
                sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(group), sql.Identifier(name))
            )
    for each in reversed(change.fields):
        kind, _, name = each.path.partition(" ")
        if kind == "role" and name in there:
            for (schema,) in target.execute(_GRANTED_SCHEMAS, [name]).fetchall():
                target.execute(
                    sql.SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(
                        sql.Identifier(schema), sql.Identifier(name)
                    )
                )
            target.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


_USED = """
WITH RECURSIVE used(oid) AS (
    SELECT d.refobjid FROM pg_shdepend d, pg_database b
     WHERE b.datname = current_database() AND d.refclassid = 'pg_authid'::regclass
       AND (d.dbid = b.oid OR (d.dbid = 0 AND d.objid = b.oid))
  UNION SELECT relowner FROM pg_class WHERE oid >= 16384
  UNION SELECT proowner FROM pg_proc WHERE oid >= 16384
  UNION SELECT nspowner FROM pg_namespace WHERE oid >= 16384
), known(oid) AS (
    SELECT oid FROM used
  UNION
    SELECT CASE WHEN a.member = k.oid THEN a.roleid ELSE a.member END
      FROM known k JOIN pg_auth_members a ON k.oid IN (a.member, a.roleid)
)
"""
_ROLE = """
SELECT r.rolname, r.rolcanlogin, r.rolinherit, r.rolcreatedb, r.rolcreaterole, r.rolsuper,
       r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil::text, {}
  FROM pg_roles r WHERE r.oid IN (SELECT oid FROM known) AND r.rolname !~ '^pg_' ORDER BY 1
"""
_GRANTED_SCHEMAS = """
SELECT DISTINCT n.nspname FROM pg_namespace n, aclexplode(n.nspacl) a
  JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = %s
"""
