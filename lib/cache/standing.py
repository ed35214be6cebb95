"""How far an online move came: kept on the target, where every later run finds it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.cache import before as past
from lib.cache.comparison import Difference, Kind, extra
from lib.cache.errors import CacheError
from lib.cache.keyspace import RESERVED, key_counts
from lib.cache.server import Link, Server
from lib.cache.transfer import Existing, decoded, encoded

_KEY = RESERVED + b"sync"
Named = tuple[int, bytes]
"""A key by its database and name."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What an online move may not touch, and what of it is done.

    ``protected`` keys were on the target before and stay as they are; with ``overwrite``, while
    the source has none of that name.  ``seconds_without_writes``
    is None until the cutover, and after one at which the source could not be closed; ``closed``
    are the source's settings as they were before it was.
    """

    protected: frozenset[Named] = frozenset()
    overwrite: bool = False
    copied: bool = False
    cut_over: bool = False
    seconds_without_writes: float | None = None
    closed: Mapping[str, str] = field(default_factory=dict)

    def spares(self, database: int, key: bytes, *, on_source: bool) -> bool:
        """Whether a key of the target is to be left alone."""
        return (database, key) in self.protected and not (self.overwrite and on_source)

    def ignores(self, difference: Difference) -> bool:
        """Whether a difference is as it should be."""
        on_source = difference.kind is not Kind.EXTRA
        return self.spares(difference.database, difference.key, on_source=on_source)

    def keep(self, target: Server) -> "Standing":
        """Write it to the target."""
        named = [[number, encoded(key)] for number, key in sorted(self.protected)]
        stored = {
            "protected": named,
            "overwrite": self.overwrite,
            "copied": self.copied,
            "cut_over": self.cut_over,
            "seconds_without_writes": self.seconds_without_writes,
            "closed": dict(self.closed),
        }
        with Link(target) as link:
            link.ask("SET", _KEY, json.dumps(stored))
        return self


def read(target: Server) -> Standing | None:
    """What the target knows of an online move; None where none has begun."""
    with Link(target) as link:
        text = link.ask("GET", _KEY)
    if text is None:
        return None
    stored = json.loads(text)
    named = frozenset((int(number), decoded(key)) for number, key in stored.pop("protected"))
    return Standing(named, **stored)


def remove(target: Server) -> None:
    """Forget it."""
    with Link(target) as link:
        link.ask("UNLINK", _KEY)


def begin(
    source: Server, target: Server, shared: Mapping[int, tuple[bytes, ...]] | None, policy: Existing
) -> Standing:
    """What must be left alone, seen before the first key is copied; kept on the target.

    Those are the keys that only the target holds and, under ``skip``, those that both hold
    (``shared``; None for too many to name).  Raises ``CacheError`` where they are too many.
    """
    found: set[Named] = set()
    for number in key_counts(target):
        for each in extra(source, target, number):
            found.add((number, each.key))
            _require_few(len(found), target)
    if policy == "skip":
        if shared is None:
            _require_few(past.REMEMBERED + 1, target)
        found |= {(number, key) for number, keys in (shared or {}).items() for key in keys}
    return Standing(frozenset(found), overwrite=policy == "overwrite").keep(target)


def _require_few(number: int, target: Server) -> None:
    if number > past.REMEMBERED:
        raise CacheError(
            f"The Redis server at {target.address} holds more than {past.REMEMBERED:,} keys that "
            "the move must leave alone; deletions on the source can't be told from them.",
            expected="a target that is empty, or nearly so, before an online move",
            remedy="remove those keys, or move offline (data_migration.mode = 'offline')",
        )
