"""How often each method was called, those that change something apart from those that read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lib.localcloud.rehearsal import Rehearsal

READING: Final = re.compile(
    r"(Get|List|Search|BatchGet|AggregatedList|Test|Access|Query|Wait|Fetch|Find|Read|Check)"
    r"[A-Za-z]*|Generate(AccessToken|ClientCertificate)"
)
"""RPCs that leave every resource as it is; a name that is not here counts as a change."""


def mutates(rpc: str) -> bool:
    """Whether an RPC, as ``CreateCluster``, changes a resource."""
    return READING.fullmatch(rpc) is None


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls since the last reset by method, as ``google.cloud.redis.v1.CloudRedis/GetInstance``.

    Refused and failed calls count too.
    """

    reading: Mapping[str, int]
    mutating: Mapping[str, int]


class Calls:
    """Counts the calls that reach the server."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal

    def count(self, method: str) -> None:
        """One more call of ``SERVICE/RPC``."""
        self._rehearsal.rows(
            "INSERT INTO calls VALUES (?, 1) ON CONFLICT DO UPDATE SET number = number + 1", method
        )

    def counts(self) -> Counts:
        """Every method that was called."""
        reading: dict[str, int] = {}
        mutating: dict[str, int] = {}
        for method, number in self._rehearsal.rows("SELECT * FROM calls ORDER BY method"):
            chosen = mutating if mutates(method.rpartition("/")[2]) else reading
            chosen[method] = number
        return Counts(reading, mutating)

    def reset(self) -> None:
        """Count from zero again."""
        self._rehearsal.rows("DELETE FROM calls")
