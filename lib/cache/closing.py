"""Closing a server to writes, and opening it again.

A Redis that is told to want more replicas than it has refuses every write with NOREPLICAS, those
of scripts and transactions too; reads go on and keys still expire.
"""

from collections.abc import Mapping

import redis

from lib.cache.server import Link, Server
from lib.engine.actions import Journal

_WANTED = "min-replicas-to-write"
_MOST_LAG = "min-replicas-max-lag"
_NEVER = 2_147_483_647
_KEPT = "closed:"


def close(source: Server, journal: Journal) -> bool:
    """Refuse writes from now on; false where the server doesn't let us.

    The settings as they were are in the journal before the first is changed.
    """
    with Link(source) as link:
        for name, closed in ((_MOST_LAG, 10), (_WANTED, _NEVER)):
            (answer,) = link.batch([("CONFIG", "GET", name)])
            if isinstance(answer, redis.ResponseError) or len(answer) != 2:
                return False
            if name == _MOST_LAG and int(answer[1]) > 0:
                continue
            if journal.get(_KEPT + name) is None:
                journal.put(_KEPT + name, answer[1].decode())
            (done,) = link.batch([("CONFIG", "SET", name, closed)])
            if isinstance(done, redis.ResponseError):
                journal.forget(_KEPT + name)
                return False
    return True


def settings_before(journal: Journal) -> Mapping[str, str]:
    """The settings that ``close`` changed, as they were."""
    return {name.removeprefix(_KEPT): str(old) for name, old in journal.entries(_KEPT).items()}


def reopen(source: Server, settings: Mapping[str, str]) -> None:
    """Take writes again, with the settings as they were."""
    if settings:
        with Link(source) as link:
            for name, old in settings.items():
                link.ask("CONFIG", "SET", name, old)


def forget(journal: Journal) -> None:
    """Drop what ``settings_before`` gives."""
    journal.forget(_KEPT)
