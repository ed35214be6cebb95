"""Drivers' exceptions as the failures that a user can mend."""

from typing import Any

import psycopg

from lib.errors import MigrationError
from lib.postgres.errors import (
    AuthenticationFailed,
    ConnectionLost,
    ConnectionRefused,
    CopyFailed,
    NoSuchDatabase,
    PermissionMissing,
    PostgresError,
)

REMEDIES = {
    "53100": "free or add disk space on the server, then run the same command again",
    "53200": "give the server more memory or run fewer workers",
    "53300": "raise max_connections or run fewer workers",
    "55P03": "find who holds the lock (pg_locks), then run the same command again",
    "57014": "someone cancelled the query; run the same command again",
    "42P01": "a table was dropped while the migration ran; run the same command again",
    "42501": "grant the role that connects what the message names",
}
"""What mends a failure, by the server's code for it."""
_LOST = {"57P01", "57P02", "57P03", "08000", "08003", "08006", "40001", "40P01"}


def connecting(url: str, error: Exception) -> PostgresError:
    """The failure behind an exception of asyncpg or of a socket while connecting."""
    state = getattr(error, "sqlstate", None)
    if state == "3D000":
        return NoSuchDatabase(
            f"{url}: the server has no database of that name.",
            remedy="correct the name in the environment file, or create the database",
        )
    if state in ("28P01", "28000"):
        return AuthenticationFailed(
            f"{url}: the server refused the user or the password ({error}).",
            remedy="check user and password, and the server's pg_hba.conf or sslmode",
        )
    if state in REMEDIES and state != "42501":
        return ConnectionRefused(f"{url}: {error}.", remedy=REMEDIES[state])
    if state == "42501":
        return PermissionMissing(f"{url}: {error}.", remedy="GRANT CONNECT on the database")
    if isinstance(error, OSError) or state in _LOST:
        return refused(url, str(error) or type(error).__name__)
    return AuthenticationFailed(
        f"{url}: no session could be opened ({error}).",
        remedy="check user, password and sslmode",
    )


def refused(url: str, text: str) -> ConnectionRefused:
    """Nothing usable answers at the address."""
    return ConnectionRefused(
        f"{url}: the server can't be reached ({text.strip()}).",
        expected="a PostgreSQL server that accepts connections at that address",
        remedy="start the server, or correct host, port and firewall rules",
    )


def working(
    what: str, error: BaseException, kind: type[PostgresError] = CopyFailed
) -> MigrationError:
    """The failure behind an exception while ``what`` was done."""
    if isinstance(error, MigrationError):
        return error
    state = getattr(error, "sqlstate", None)
    text = str(error).strip() or type(error).__name__
    if state in _LOST or (state is None and is_connection_loss(error)):
        return ConnectionLost(
            f"{what}: the connection was lost ({text}).",
            remedy="run the same command again; it goes on where it stopped",
        )
    if state == "42501":
        return PermissionMissing(f"{what}: {text}.", remedy=REMEDIES["42501"])
    remedy = REMEDIES.get(state or "", "mend what the message names, then run the same command")
    return kind(f"{what}: {text}", remedy=remedy)


def is_connection_loss(error: BaseException) -> bool:
    """True for the exceptions that mean a broken connection rather than a refused statement."""
    if getattr(error, "sqlstate", None) in _LOST:
        return True
    names = {each.__name__ for each in type(error).__mro__}
    return (
        isinstance(error, OSError)
        or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None)
        or "PostgresConnectionError" in names
        or _closed(error)
    )


def _closed(error: Any) -> bool:
    return type(error).__name__ in ("InterfaceError", "ConnectionDoesNotExistError") and (
        "clos" in str(error)
    )
