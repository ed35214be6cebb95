"""What the API answers when it cannot do what was asked: one exception per reason."""

from lib.errors import MigrationError


class ApiError(MigrationError):
    """An answer that is not a success; ``status`` is HTTP's, ``code`` names the reason."""

    status = 500
    code = "internal"
    retry_after: float | None = None


class NotHere(ApiError):
    """The thing, or the table that would hold it, does not exist."""

    status = 404
    code = "not_found"


class CollectionNotHere(NotHere):
    """This database has no such table or vector column: it need not be AI Orchestra's."""

    code = "collection_not_here"


class Refused(ApiError):
    """The request is well-formed HTTP, but a value in it cannot be accepted."""

    status = 422
    code = "invalid_value"


class DatabaseUnavailable(ApiError):
    """PostgreSQL does not answer; ``retry_after`` in seconds."""

    status = 503
    code = "database_unavailable"
    transient = True

    def __init__(self, what: str, *, retry_after: float = 1.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class DatabaseForbids(ApiError):
    """The API's database role lacks a permission, or a table that the API needs is missing."""

    status = 503
    code = "database_not_prepared"
