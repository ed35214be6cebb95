"""Expected failures around vector indexes and search."""

from lib.errors import MigrationError


class VectorError(MigrationError):
    """Something about vector columns, their indexes or search."""


class DatabaseUnreachable(VectorError):
    """The database can't be reached or the connection was lost; worth another try."""

    transient = True


class DesignRefused(VectorError):
    """No index of that kind can be built on that column."""


class RecallNotReached(VectorError):
    """No search parameter reaches the recall target on the index as it was built."""
