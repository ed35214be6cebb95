"""What an online move is told: the one name of all that it makes, and what it does about tables."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from lib.postgres.database import Database

PREFIX = "orchestra"
_LONGEST = 63


@dataclass(frozen=True, slots=True)
class Online:
    """How the source's changes are followed.

    ``name`` is that of the publication and slot on the source and of the subscription on the
    target; it is the same in every run, so that a run finds what a killed one left.  ``keyless``
    says what happens to tables whose updates can't be followed: they are copied again while
    writes are stopped, or the plan refuses them.  ``seen_from_target`` is the source's address
    as the target's server reaches it, where that is another one.
    """

    name: str
    keyless: Literal["copy_again", "refuse"] = "copy_again"
    seen_from_target: Database | None = None


def replication_name(*parts: str) -> str:
    """A name that PostgreSQL takes for a slot, made of ``parts`` and unlike that of others."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9]+", "_", "_".join(parts).lower()).strip("_")
    room = _LONGEST - len(PREFIX) - len(digest) - 2
    return f"{PREFIX}_{readable[:room]}_{digest}"
