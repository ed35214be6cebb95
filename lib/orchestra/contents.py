"""Source and target side by side, after the migration."""

from functools import cached_property
from typing import Any

from lib.orchestra.keyspace import Keyspace
from lib.orchestra.platform import Platform
from lib.orchestra.relational import Relational


class Contents:
    """Compares what the source holds with what the target holds now.

    The target is in use by then: what it holds beyond the source is no difference.
    """

    def __init__(self, platform: Platform, outputs: Any, settings: Any) -> None:
        self._platform = platform
        self._outputs = outputs
        self._settings = settings

    @cached_property
    def relational(self) -> Relational | None:
        """The two databases; None where there is no such source."""
        source = self._platform.source_database
        if source is None:
            return None
        return Relational(source, self._platform.database(self._outputs), self._settings)

    @cached_property
    def keyspace(self) -> Keyspace | None:
        """The two Redis; None where there is no such source."""
        source = self._platform.source_redis
        if source is None:
            return None
        return Keyspace(source, self._platform.redis(self._outputs), self._settings)

    def require_equal_rows(self) -> None:
        """Compare every row (network); raises ``VerificationError`` with the differences."""
        if self.relational is not None:
            self.relational.verified(schema=False).verify()

    def require_equal_keys(self) -> None:
        """Compare every key (network); raises ``VerificationError`` with the differences."""
        if self.keyspace is not None:
            self.keyspace.compare(in_use=True)
