"""What a server holds: its logical databases, their keys by slices, sizes and expiry."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from lib.cache.server import Link, Server
from lib.cache.wire import Command

RESERVED = b"\x00orchestra:"
"""Names of our own on a target while a copy is under way; never copied nor compared."""
SLICE_KEYS = 1_000
PARTED_ABOVE = 20_000
"""Databases with fewer keys are scanned in one part."""
_MOST_DATABASES = 256


def key_counts(server: Server) -> Mapping[int, int]:
    """The number of keys in each logical database that holds any."""
    with Link(server) as link:
        commands: list[Command] = []
        for number in range(_MOST_DATABASES):
            commands += [("SELECT", number), ("DBSIZE",)]
        answers = link.batch(commands)
    link.checked(answers[1])
    counts: dict[int, int] = {}
    for number in range(_MOST_DATABASES):
        selected, keys = answers[2 * number : 2 * number + 2]
        if isinstance(selected, redis.ResponseError):
            break
        if keys:
            counts[number] = keys
    return counts


def can_select(server: Server, database: int) -> bool:
    """Whether the server has a logical database of this number."""
    with Link(server) as link:
        (answer,) = link.batch([("SELECT", database)])
    return not isinstance(answer, redis.ResponseError)


def run_id(link: Link) -> str:
    """What changes when the server restarts, and with it the meaning of cursors; '' if unknown."""
    (answer,) = link.batch([("INFO", "server")])
    if isinstance(answer, redis.ResponseError):
        return ""
    for line in bytes(answer).decode(errors="replace").splitlines():
        if line.startswith("run_id:"):
            return line.partition(":")[2].strip()
    return ""


def parts(keys: int, workers: int) -> int:
    """How many parts a database of this many keys is scanned in: a power of two."""
    if keys < PARTED_ABOVE or workers < 2:
        return 1
    return 1 << (workers.bit_length() - 1)


def slices(
    link: Link, part: int = 0, of: int = 1, cursor: int | None = None
) -> Iterator[tuple[int | None, list[bytes]]]:
    """The keys of one part of a database, and where the part goes on (None at its end).

    SCAN walks the buckets in the order of their reversed bits, so the low bits of a cursor are
    the most significant part of its position: part ``p`` begins at cursor ``p`` and ends where
    those bits change.  Every bucket belongs to one part, whatever the size of the table.
    """
    position = part if cursor is None else cursor
    while True:
        following, keys = _scanned(link.ask(*_scan(position)), part, of)
        yield following, keys
        if following is None:
            return
        position = following


def _scan(position: int) -> Command:
    return ("SCAN", position, "COUNT", SLICE_KEYS)


def _scanned(answer: Any, part: int, of: int) -> tuple[int | None, list[bytes]]:
    """The keys of an answer to SCAN, ours left out, and the cursor unless the part ends here."""
    position, keys = int(answer[0]), [k for k in answer[1] if not k.startswith(RESERVED)]
    return (None if position == 0 or position % of != part else position), keys


@dataclass(frozen=True, slots=True)
class Slice:
    """Some keys of a database, about the bytes of each, and where the next ones begin."""

    keys: list[bytes]
    sizes: list[int]
    cursor: int | None


def measured(link: Link, part: int = 0, of: int = 1, cursor: int | None = None) -> Iterator[Slice]:
    """``slices`` with sizes; it asks ahead, so ``link`` can be used for nothing else."""
    position, keys = _scanned(link.ask(*_scan(part if cursor is None else cursor)), part, of)
    ready: list[Slice] = []
    while True:
        scan = [] if position is None else [_scan(position)]
        usage = _usage(link, keys)
        link.send([*usage, *scan])
        yield from ready
        answers, scanned = link.receive(len(usage)), link.receive(len(scan))
        ready = [Slice(keys, _bytes(link, keys, answers), position)]
        if not scanned:
            break
        position, keys = _scanned(link.checked(scanned[0]), part, of)
    yield from ready


def sizes(link: Link, keys: Sequence[bytes]) -> list[int]:
    """About how many bytes each value takes (0 for a key that is gone).

    Asks MEMORY USAGE; where that is refused it counts elements at 64 bytes each.
    """
    return _bytes(link, keys, link.batch(_usage(link, keys)))


def _usage(link: Link, keys: Sequence[bytes]) -> list[Command]:
    return [] if link.server.managed else [("MEMORY", "USAGE", key) for key in keys]


def _bytes(link: Link, keys: Sequence[bytes], usage: Sequence[Any]) -> list[int]:
    if usage and not any(isinstance(each, redis.ResponseError) for each in usage):
        return [each or 0 for each in usage]
    kinds = link.batch(("TYPE", key) for key in keys)
    lengths = link.batch(
        (_LENGTH.get(link.checked(kind), "EXISTS"), key)
        for kind, key in zip(kinds, keys, strict=True)
    )
    return [
        0 if isinstance(length, redis.ResponseError) else length * (1 if kind == b"string" else 64)
        for kind, length in zip(kinds, lengths, strict=True)
    ]


_LENGTH = {
    b"string": "STRLEN",
    b"hash": "HLEN",
    b"list": "LLEN",
    b"set": "SCARD",
    b"zset": "ZCARD",
    b"stream": "XLEN",
}


class Expiry:
    """Reads absolute expiry in milliseconds of the epoch: None for none, on servers old and new.

    Servers before 7.0 know only the time that is left; their own clock makes it absolute.
    """

    def __init__(self, link: Link) -> None:
        (probe,) = link.batch([("PEXPIRETIME", RESERVED)])
        self.absolute = not isinstance(probe, redis.ResponseError)
        self.per_key = "PEXPIRETIME" if self.absolute else "PTTL"
        self._shift = 0
        if not self.absolute:
            seconds, microseconds = link.ask("TIME")
            self._shift = int(seconds) * 1000 + int(microseconds) // 1000 - _now()

    def read(self, answer: Any) -> int | None:
        """The expiry that an answer to ``per_key`` stands for."""
        if not isinstance(answer, int) or answer < 0:
            return None
        return answer if self.absolute else answer + _now() + self._shift


def _now() -> int:
    return int(time.time() * 1000)
