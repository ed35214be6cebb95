"""Where a PostgreSQL database is, and how a session on it is opened."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import psycopg
from psycopg import sql

from lib.postgres import failures
from lib.postgres.errors import PostgresError, UnsupportedVersion

OLDEST, NEWEST = 12, 18
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION: Mapping[str, str] = {
    "application_name": "orchestra_migration",
    "search_path": "pg_catalog",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "off",
    "row_security": "off",
    "client_min_messages": "warning",
    "jit": "off",
}
"""Settings of every session: a value has the same text on every server, and no row is hidden."""

NEWER = ("idle_session_timeout", "transaction_timeout")
"""Limits that newer servers have, and that a long copy must not meet."""

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Database:
    """One database on one server; the password is never shown."""

    host: str
    port: int = 5432
    user: str = "postgres"
    password: str = field(default="", repr=False)
    name: str = "postgres"
    sslmode: str = "prefer"
    sslrootcert: str = ""

    @classmethod
    def from_url(cls, url: str, password: str = "") -> "Database":
        """The database that ``postgresql://user@host:port/name?sslmode=...`` means.

        ``password`` wins over one inside the URL.  Raises ``PostgresError`` for a URL that is
        not of that form; the message never holds the password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
        except ValueError as error:
            raise _bad_url("it is not a URL") from error
        if parts.scheme not in ("postgresql", "postgres"):
            raise _bad_url(f"it begins with {parts.scheme or 'nothing'!r}")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        host = unquote(parts.hostname or "") or query.pop("host", "")
        if not host:
            raise _bad_url("it names no host")
        sslmode = query.pop("sslmode", "prefer")
        if sslmode not in SSL_MODES:
            raise _bad_url(f"sslmode is {sslmode!r}, not one of {', '.join(SSL_MODES)}")
        rootcert = query.pop("sslrootcert", "")
        if query:
            raise _bad_url(f"it has parameters that are not known: {', '.join(sorted(query))}")
        user = unquote(parts.username or "postgres")
        return cls(
            host=host,
            port=port,
            user=user,
            password=password or unquote(parts.password or ""),
            name=unquote(parts.path.lstrip("/")) or user,
            sslmode=sslmode,
            sslrootcert=rootcert,
        )

    @property
    def url(self) -> str:
        """The URL without the password."""
        query = {"sslmode": self.sslmode} if self.sslmode != "prefer" else {}
        if self.sslrootcert:
            query["sslrootcert"] = self.sslrootcert
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        if self.host.startswith("/"):  # the folder of a socket, whose letters keep their case
            query["host"], host = self.host, ""
        tail = f"?{urlencode(query)}" if query else ""
        return (
            f"postgresql://{quote(self.user, safe='')}@{host}:{self.port}"
            f"/{quote(self.name, safe='')}{tail}"
        )

    def named(self, name: str) -> "Database":
        """Another database on the same server."""
        return replace(self, name=name)

    @property
    def environment(self) -> dict[str, str]:
        """What a client program of PostgreSQL reads from its environment; holds the password."""
        values = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGDATABASE": self.name,
            "PGSSLMODE": self.sslmode,
            "PGAPPNAME": SESSION["application_name"],
        }
        if self.password:
            values["PGPASSWORD"] = self.password
        if self.sslrootcert:
            values["PGSSLROOTCERT"] = self.sslrootcert
        return values


def connect(database: Database, *, autocommit: bool = True) -> Connection:
    """A psycopg session with the settings of ``SESSION``.

    Raises ``ConnectionRefused``, ``AuthenticationFailed``, ``NoSuchDatabase`` or
    ``UnsupportedVersion``.
    """
    connection = _open(database)
    try:
        _check_version(database, connection.info.server_version)
        connection.execute(_settings_statement())
        connection.autocommit = autocommit
    except BaseException:
        connection.close()
        raise
    return connection


def connect_replication(database: Database) -> Connection:
    """A session that speaks the replication protocol; raises what ``connect`` raises."""
    return _open(database, replication="database")


async def connect_async(database: Database) -> Any:
    """An asyncpg session with the settings of ``SESSION``; raises what ``connect`` raises."""
    import asyncpg

    try:
        connection = await _open_async(database)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise failures.connecting(database.url, error) from error
    try:
        version = connection.get_server_version()
        _check_version(database, version.major * 10000)
        await connection.execute(_settings_statement().as_string(None))
    except BaseException:
        connection.terminate()
        raise
    return connection


def version(connection: Connection) -> int:
    """The server's major version."""
    return connection.info.server_version // 10000


def _open(database: Database, **more: Any) -> Connection:
    try:
        return psycopg.connect(
            host=database.host,
            port=database.port,
            user=database.user,
            password=database.password or None,
            dbname=database.name,
            sslmode=database.sslmode,
            sslrootcert=database.sslrootcert or None,
            connect_timeout=15,
            autocommit=True,
            application_name=SESSION["application_name"],
            **more,
        )
    except psycopg.OperationalError as error:
        raise asyncio.run(_diagnose(database, str(error))) from error


async def _open_async(database: Database) -> Any:
    import asyncpg

    query = {"sslmode": database.sslmode}
    if database.sslrootcert:
        query["sslrootcert"] = database.sslrootcert
    return await asyncpg.connect(
        f"postgresql://?{urlencode(query)}",
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password or None,
        database=database.name,
        timeout=15,
        statement_cache_size=0,
        server_settings={"application_name": SESSION["application_name"]},
    )


async def _diagnose(database: Database, text: str) -> PostgresError:
    """Connect once more with a driver that tells the kinds of refusal apart."""
    import asyncpg

    try:
        connection = await _open_async(database)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return failures.connecting(database.url, error)
    connection.terminate()
    return failures.refused(database.url, text)


def _settings_statement() -> sql.Composed:
    calls = [
        sql.SQL("set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
        for name, value in SESSION.items()
    ] + [
        sql.SQL(
            "CASE WHEN current_setting({0}, true) <> '' THEN set_config({0}, '0', false) END"
        ).format(sql.Literal(name))
        for name in NEWER
    ]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls))


def _check_version(database: Database, number: int) -> None:
    major = number // 10000
    if not OLDEST <= major <= NEWEST:
        raise UnsupportedVersion(
            f"{database.url} runs PostgreSQL {major}.",
            expected=f"PostgreSQL {OLDEST} to {NEWEST}",
            remedy="upgrade the server first" if major < OLDEST else "update this project",
        )


def _bad_url(why: str) -> PostgresError:
    return PostgresError(
        f"The PostgreSQL URL can't be used: {why}.",
        expected="postgresql://user@host:5432/name, with ?sslmode=... where needed",
    )
