"""The move of Redis, put together: actions of ``lib.cache`` from settings."""

from typing import Any

from lib.cache import standing
from lib.cache.comparison import Comparison, Kind, compare, require_equal
from lib.cache.copy import CopyKeys
from lib.cache.online import CutOverKeys, SyncKeys
from lib.orchestra.redis_access import RedisAccess


class Keyspace:
    """Source and target of the keys."""

    def __init__(self, source: RedisAccess, target: RedisAccess, settings: Any) -> None:
        self._source = source
        self._target = target
        self._settings = settings

    def copied(self) -> CopyKeys:
        """Every key is on the target (an action)."""
        data = self._settings.data_migration
        return CopyKeys(
            self._source.url,
            self._target.url,
            source_password=self._source.password,
            target_password=self._target.password,
            target_authorities=self._target.authorities,
            existing=data.existing_keys,
            workers=data.workers,
        )

    @property
    def is_online(self) -> bool:
        """Whether changes are followed until a cutover."""
        return bool(self._settings.data_migration.mode == "online")

    def moved(self) -> CopyKeys | SyncKeys:
        """The keys are on the target: copied once, or followed while the source is in use."""
        return self.synchronised() if self.is_online else self.copied()

    def synchronised(self) -> SyncKeys:
        """Every key of a source in use is on the target, about as it is now (an action)."""
        return SyncKeys(self.copied())

    def cut_over(self) -> CutOverKeys:
        """The source takes no writes any more, and the target holds its last (an action)."""
        return CutOverKeys(self.copied())

    def compare(self, *, in_use: bool = False) -> Comparison:
        """Compare every key from both sides (network); raises ``VerificationError``.

        A target that is ``in_use`` may hold keys that the platform has written since.  What the
        move left as it was may differ: an online one wrote down which keys those are.
        """
        copy = self.copied()
        blind = (Kind.EXTRA,) if in_use else ()
        begun = standing.read(copy.target)
        if begun is None:
            found = compare(copy.source, copy.target, blind=(*blind, *copy.allowed))
        else:
            found = compare(copy.source, copy.target, blind=blind, ignore=begun.ignores)
        return require_equal(found)
