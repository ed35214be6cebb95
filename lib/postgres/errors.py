"""Expected failures of the PostgreSQL part."""

from lib.errors import MigrationError


class PostgresError(MigrationError):
    """Something about a PostgreSQL source or target is not as it must be."""


class ConnectionRefused(PostgresError):
    """Nothing answers at the address, or the server is not ready."""

    transient = True


class ConnectionLost(PostgresError):
    """A connection broke while it worked; the same call may succeed again."""

    transient = True


class AuthenticationFailed(PostgresError):
    """The server refused the user, the password or the encryption."""


class NoSuchDatabase(PostgresError):
    """The server answers but has no database of that name."""


class UnsupportedVersion(PostgresError):
    """The server or a client program is older or newer than what is supported."""


class PermissionMissing(PostgresError):
    """The role that connects may not do what the migration needs."""


class Obstacle(PostgresError):
    """The source holds something that the target can't take; nothing was changed."""


class RestoreFailed(PostgresError):
    """An object of the schema could not be created on the target."""


class CopyFailed(PostgresError):
    """Rows could not be copied; what was copied before is whole and is kept."""


class Superseded(PostgresError):
    """Another run copies into the target now, or this one was stopped; nothing was written."""


class ForeignRows(PostgresError):
    """A target table holds rows that this migration did not write."""


class SlotLost(PostgresError):
    """The source no longer has the changes that the target still needs."""


class BeamUnavailable(PostgresError):
    """Apache Beam, or the runner that is configured, can't be used here; nothing was changed."""


class SchemaChanged(PostgresError):
    """The source's tables are no longer those that were copied."""


class ApplyFailed(PostgresError):
    """The target can't apply a change that the source sent."""


class WritesNotStopped(PostgresError):
    """Writes on the source could not be stopped; they go on as before."""
