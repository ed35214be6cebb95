"""Expected failures while keys are moved."""

from lib.errors import MigrationError


class CacheError(MigrationError):
    """Something about one of the two Redis servers or their keys."""


class ServerUnreachable(CacheError):
    """No connection, a lost one, or a server that still loads; worth another try."""

    transient = True


class AccessRefused(CacheError):
    """The server refuses the user, the password or a command."""


class ServerRefused(CacheError):
    """The server answered a command with an error that another try won't mend."""


class ExistingKeys(CacheError):
    """The target holds keys of the source's names with other contents."""


class UnsupportedValue(CacheError):
    """A value can be moved neither whole nor in pieces."""
