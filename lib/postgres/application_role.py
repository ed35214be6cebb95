"""The application's own role: it reads and writes rows and changes no schema."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError
from lib.postgres import failures
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import PostgresError

_TABLE_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_SEQUENCE_RIGHTS = ("USAGE", "SELECT")


@dataclass(frozen=True, slots=True)
class ApplicationRoleState:
    """The role, the schemas that wait for it, and the powers that it must not have."""

    name: str
    schemas: tuple[str, ...]
    ungranted: tuple[str, ...]
    powers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApplicationRole:
    """A login role that may SELECT, INSERT, UPDATE and DELETE in ``grants`` (schemas).

    It may create nothing.  An empty ``grants`` means every schema that is not the system's nor
    the migration's, nor named in ``without``.  ``password`` is asked for only when the role is
    created.
    """

    server: Database
    name: str
    password: Callable[[], str] = field(repr=False)
    grants: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The role's name."""
        return f"database role {self.name}"

    def observe(self) -> ApplicationRoleState | None:
        """The role and its grants, or None."""
        with connect(self.server) as connection:
            row = connection.execute(_ROLE, [self.name]).fetchone()
            if row is None:
                return None
            schemas = self._schemas(connection)
            ungranted = tuple(s for s in schemas if not _granted(connection, self.name, s))
        powers = tuple(sorted(p for p in row[0] if p))
        return ApplicationRoleState(self.name, schemas, ungranted, powers)

    def plan(self, observed: ApplicationRoleState | None) -> Change:
        """CREATE the role, or UPDATE its grants."""
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject, reason="reads and writes rows, no DDL")
        if observed.powers:
            raise PostgresError(
                f"The {self.subject} exists and has {', '.join(observed.powers)}.",
                expected="a role of the application's own, without such powers",
                remedy="choose another name, or take the powers from it (ALTER ROLE)",
            )
        if not observed.ungranted:
            return Change(ChangeKind.NONE, self.subject)
        reason = f"grants on {', '.join(observed.ungranted)}"
        return Change(ChangeKind.UPDATE, self.subject, reason=reason)

    def apply(self, change: Change, journal: Journal) -> None:
        """Create and grant, in one transaction."""
        del change, journal
        role = sql.Identifier(self.name)
        with connect(self.server) as connection:
            try:
                with connection.transaction():
                    if connection.execute(_ROLE, [self.name]).fetchone() is None:
                        connection.execute(_create(connection, self.name, self.password()))
                    connection.execute(
                        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                            sql.Identifier(self.server.name), role
                        )
                    )
                    for schema in self._schemas(connection):
                        _grant(connection, role, sql.Identifier(schema))
            except psycopg.Error as error:
                what = f"Making the {self.subject}"
                raise failures.working(what, error, PostgresError) from error

    def verify(self) -> ApplicationRoleState:
        """The role is there with its grants and without powers."""
        state = self.observe()
        if state is None or state.ungranted or state.powers:
            raise VerificationError(f"The {self.subject} is not as it must be: {state}.")
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Drop the role that was created; take back grants that were added."""
        del journal
        role = sql.Identifier(self.name)
        with connect(self.server) as connection, connection.transaction():
            if connection.execute(_ROLE, [self.name]).fetchone() is None:
                return
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            if change.kind is ChangeKind.CREATE:
                connection.execute(sql.SQL("DROP ROLE {}").format(role))

    def _schemas(self, connection: Connection) -> tuple[str, ...]:
        if self.grants:
            return self.grants
        found = (row[0] for row in connection.execute(_SCHEMAS))
        return tuple(name for name in found if name not in self.without)


def _create(connection: Connection, name: str, password: str) -> sql.Composed:
    """CREATE ROLE with a verifier, so that the server's log never sees the password."""
    row = connection.execute("SHOW password_encryption").fetchone()
    algorithm = (row[0] if row else "scram-sha-256").encode()
    if not re.fullmatch(rb"scram-sha-256|md5", algorithm):
        algorithm = b"scram-sha-256"
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), algorithm)
    return sql.SQL("CREATE ROLE {} LOGIN NOCREATEDB NOCREATEROLE PASSWORD {}").format(
        sql.Identifier(name), sql.Literal(verifier.decode())
    )


def _grant(connection: Connection, role: sql.Identifier, schema: sql.Identifier) -> None:
    for statement in (
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    ):
        connection.execute(sql.SQL(statement).format(schema=schema, role=role))


def _granted(connection: Connection, role: str, schema: str) -> bool:
    row = connection.execute(
        _LACKING,
        {
            "role": role,
            "schema": schema,
            "tables": list(_TABLE_RIGHTS),
            "sequences": list(_SEQUENCE_RIGHTS),
        },
    ).fetchone()
    return bool(row and not row[0])


_ROLE = """
SELECT ARRAY[CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
             CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
             CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
             CASE WHEN rolreplication THEN 'REPLICATION' END]
  FROM pg_roles WHERE rolname = %s
"""
_SCHEMAS = """
SELECT nspname FROM pg_namespace n WHERE nspname !~ '^pg_'
   AND nspname NOT IN ('information_schema', 'orchestra_migration') ORDER BY 1
"""
_LACKING = """
SELECT NOT has_schema_privilege(%(role)s, n.oid, 'USAGE') OR EXISTS (
       SELECT FROM pg_class c, unnest(%(tables)s::text[]) AS r WHERE c.relnamespace = n.oid
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND NOT has_table_privilege(%(role)s, c.oid, r)) OR EXISTS (
       SELECT FROM pg_class c, unnest(%(sequences)s::text[]) AS r WHERE c.relnamespace = n.oid
          AND c.relkind = 'S' AND NOT has_sequence_privilege(%(role)s, c.oid, r))
  FROM pg_namespace n WHERE n.nspname = %(schema)s
"""
