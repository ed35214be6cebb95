"""The API's own tables, made with an administrator's rights; the API's role may only use them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import CannotUndo
from lib.errors import MigrationError, VerificationError

_OBJECTS = ("kv_memories", "kv_cache_repairs", "kv_memories_version")
_STATEMENTS = (
    "create schema if not exists orchestra",
    "create sequence if not exists orchestra.kv_memories_version",
    """create table if not exists orchestra.kv_memories (
        key text collate "C" primary key check (key <> ''),
        value jsonb not null,
        expires_at timestamptz,
        updated_at timestamptz not null default now(),
        version bigint not null default nextval('orchestra.kv_memories_version')
    )""",
    "create index if not exists kv_memories_expires_at on orchestra.kv_memories (expires_at)"
    " where expires_at is not null",
    """create table if not exists orchestra.kv_cache_repairs (
        id bigint generated always as identity primary key,
        key text not null
    )""",
    "comment on table orchestra.kv_memories is 'Memories that the agent API keeps by key'",
    "comment on table orchestra.kv_cache_repairs is"
    " 'Keys that were written while the cache could not be told'",
)
_GRANTS = (
    "grant usage on schema orchestra to {role}",
    "grant select, insert, update, delete on orchestra.kv_memories to {role}",
    "grant select, insert, delete on orchestra.kv_cache_repairs to {role}",
    "grant usage on sequence orchestra.kv_memories_version to {role}",
    # The vector search settings are written later, by the same administrator.
    "alter default privileges in schema orchestra grant select on tables to {role}",
)
_THERE = "select to_regclass('orchestra.' || name) is not null from unnest(%s::text[]) name"
_RIGHTS = """
select has_schema_privilege(%(role)s, 'orchestra', 'usage')
    and has_table_privilege(%(role)s, 'orchestra.kv_memories', 'select')
    and has_table_privilege(%(role)s, 'orchestra.kv_memories', 'insert')
    and has_table_privilege(%(role)s, 'orchestra.kv_memories', 'update')
    and has_table_privilege(%(role)s, 'orchestra.kv_memories', 'delete')
    and has_table_privilege(%(role)s, 'orchestra.kv_cache_repairs', 'select')
    and has_table_privilege(%(role)s, 'orchestra.kv_cache_repairs', 'insert')
    and has_table_privilege(%(role)s, 'orchestra.kv_cache_repairs', 'delete')
    and has_sequence_privilege(%(role)s, 'orchestra.kv_memories_version', 'usage')
    and coalesce(has_table_privilege(%(role)s,
        to_regclass('orchestra.vector_search_settings'), 'select'), true)
"""
_SETTINGS = "select to_regclass('orchestra.vector_search_settings') is not null"
_DROPS = (
    "drop table if exists orchestra.kv_memories",
    "drop table if exists orchestra.kv_cache_repairs",
    "drop sequence if exists orchestra.kv_memories_version",
)


class ApiSchemaError(MigrationError):
    """The API's tables cannot be made: no connection, no right, or no such role."""


@dataclass(frozen=True, slots=True)
class AdminConnection:
    """How an administrator reaches the database; the password is in no repr."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(default="", repr=False)
    sslmode: str = "prefer"

    def connect(self) -> "psycopg.Connection[Any]":
        """A new connection; raises ``ApiSchemaError``."""
        try:
            return psycopg.connect(
                host=self.host,
                port=self.port,
                dbname=self.name,
                user=self.user,
                password=self.password or None,
                sslmode=self.sslmode,
                connect_timeout=10,
                application_name="agent-api-schema",
            )
        except psycopg.OperationalError as error:
            failure = ApiSchemaError(
                f"Database {self.name} on {self.host}:{self.port} does not let {self.user} in.",
                expected="a running database and an administrator's login",
                remedy="check that the instance runs, and its address, user and password",
            )
            failure.transient = True  # type: ignore[attr-defined]
            raise failure from error


@dataclass(frozen=True, slots=True)
class ApiSchemaState:
    """Which of the API's objects exist, and whether the application's role may use them."""

    objects: tuple[str, ...]
    role: str
    granted: bool

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.objects == _OBJECTS and self.granted


def statements(application_role: str) -> Sequence[sql.SQL | sql.Composed]:
    """The statements that make the tables and grants; each may be run again."""
    role = sql.Identifier(application_role)
    made: list[sql.SQL | sql.Composed] = [sql.SQL(each) for each in _STATEMENTS]
    return [*made, *(sql.SQL(each).format(role=role) for each in _GRANTS)]


def ensure(admin: AdminConnection, application_role: str) -> None:
    """Make the tables and grants in one transaction; raises ``ApiSchemaError``."""
    with admin.connect() as connection:
        try:
            # Two runs at once would both see no schema; the second waits here for the first.
            connection.execute("select pg_advisory_xact_lock(hashtext('orchestra.kv_memories'))")
            for statement in statements(application_role):
                connection.execute(statement)
            there = connection.execute(_SETTINGS).fetchone()
            if there and there[0]:
                grant = sql.SQL("grant select on orchestra.vector_search_settings to {}")
                connection.execute(grant.format(sql.Identifier(application_role)))
        except psycopg.errors.UndefinedObject as error:
            raise _no_role(application_role) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise ApiSchemaError(
                f"{admin.user} may not make the API's tables: {error.diag.message_primary}.",
                expected="a role that may create a schema in this database",
                remedy=f"grant create on database {admin.name} to {admin.user}",
            ) from error


class ApiSchema:
    """Action: the API's tables exist and ``application_role`` may use them."""

    def __init__(self, admin: AdminConnection, application_role: str) -> None:
        self._admin = admin
        self._role = application_role

    @property
    def subject(self) -> str:
        """``API tables in <database>``."""
        return f"API tables in {self._admin.name}"

    def observe(self) -> ApiSchemaState | None:
        """What exists; None when none of it does."""
        with self._admin.connect() as connection:
            found = connection.execute(_THERE, [list(_OBJECTS)]).fetchall()
            there = tuple(name for name, row in zip(_OBJECTS, found, strict=True) if row[0])
            if not there:
                return None
            return ApiSchemaState(there, self._role, self._granted(connection, there))

    def plan(self, observed: ApiSchemaState | None) -> Change:
        """Create, complete, or nothing."""
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject)
        if observed.complete:
            return Change(ChangeKind.NONE, self.subject)
        missing = [name for name in _OBJECTS if name not in observed.objects]
        missing += [] if observed.granted else [f"grants of {self._role}"]
        return Change(ChangeKind.UPDATE, self.subject, reason="missing: " + ", ".join(missing))

    def apply(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Make what is missing, all or nothing."""
        ensure(self._admin, self._role)

    def verify(self) -> ApiSchemaState:
        """Look again; raises ``VerificationError``."""
        state = self.observe()
        if state is None or not state.complete:
            raise VerificationError(
                f"{self.subject} are not complete: {state}.",
                remedy="run the step again, and look at the database's log",
            )
        return state

    def undo(self, change: Change, journal: Journal) -> None:  # noqa: ARG002
        """Drop what was created while it holds no memory; what was there before stays."""
        if change.kind is not ChangeKind.CREATE:
            return
        with self._admin.connect() as connection:
            try:
                held = connection.execute("select count(*) from orchestra.kv_memories").fetchone()
            except psycopg.errors.UndefinedTable:
                return
            if held and held[0]:
                raise CannotUndo(
                    f"{self.subject} hold {held[0]} memories that were stored since.",
                    remedy="delete them, or drop schema orchestra by hand",
                )
            for statement in _DROPS:
                connection.execute(statement)
            self._revoke(connection)

    def _granted(self, connection: "psycopg.Connection[Any]", there: tuple[str, ...]) -> bool:
        role = connection.execute("select 1 from pg_roles where rolname = %s", [self._role])
        if role.fetchone() is None or there != _OBJECTS:
            return False
        answer = connection.execute(_RIGHTS, {"role": self._role}).fetchone()
        return bool(answer and answer[0])

    def _revoke(self, connection: "psycopg.Connection[Any]") -> None:
        """Take the default privileges back, and the schema where nothing else is in it."""
        role = sql.Identifier(self._role)
        revoke = "alter default privileges in schema orchestra revoke select on tables from {}"
        connection.execute(sql.SQL(revoke).format(role))
        try:
            with connection.transaction():
                connection.execute("drop schema orchestra restrict")
        except psycopg.errors.DependentObjectsStillExist:
            pass


def _no_role(role: str) -> ApiSchemaError:
    return ApiSchemaError(
        f"Role {role} does not exist.",
        expected="the application's own database role",
        remedy="run security-configuration first: --component security-configuration",
    )
