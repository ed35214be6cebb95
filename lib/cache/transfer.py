"""Moves one part of one logical database: SCAN, DUMP, RESTORE in pipelines of bounded size."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import redis

from lib.cache import values
from lib.cache.comparison import LARGE_BYTES, Pair, groups, refused, same
from lib.cache.errors import ExistingKeys
from lib.cache.keyspace import RESERVED, Expiry, sizes, slices
from lib.cache.server import Link, Server
from lib.cache.wire import Command

Existing: TypeAlias = Literal["refuse", "overwrite", "skip"]
TEMPORARY = RESERVED + b"copying:"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a logical database, and where to begin in it (None: at its start)."""

    database: int
    number: int = 0
    of: int = 1
    cursor: int | None = None

    @property
    def name(self) -> str:
        """How the journal names the part."""
        return f"db{self.database}/{self.number}of{self.of}"


Report: TypeAlias = Callable[[Part, int | None, int], None]
"""Told after each slice: the part, where it goes on (None: finished), and the keys handled."""


def transfer(source: Server, target: Server, part: Part, existing: Existing, told: Report) -> None:
    """Copy a part, slice by slice; a slice is told only once all its keys are on the target."""
    with Link(source, part.database) as here, Link(target, part.database) as there:
        mover = _Mover(here, there, existing)
        for cursor, keys in slices(here, part.number, part.of, part.cursor):
            mover.move(keys)
            told(part, cursor, len(keys))


class _Mover:
    def __init__(self, here: Link, there: Link, existing: Existing) -> None:
        self._here, self._there = here, there
        self._existing = existing
        self._expiry = Expiry(here)
        self._pair = Pair(here, there)

    def move(self, keys: Sequence[bytes]) -> None:
        """Bring the keys of one slice to the target."""
        for group in groups(keys, sizes(self._here, keys)):
            if len(group) == 1 and group[0][1] > LARGE_BYTES:
                self._in_pieces(group[0][0])
            else:
                self._whole([key for key, _ in group])

    def _whole(self, keys: list[bytes]) -> None:
        asked = [each for k in keys for each in (("DUMP", k), (self._expiry.per_key, k))]
        answers = self._here.batch(asked)
        present: list[bytes] = []
        commands: list[Command] = []
        for index, key in enumerate(keys):
            payload = self._here.checked(answers[2 * index])
            if payload is None:
                continue
            expires = self._expiry.read(answers[2 * index + 1])
            present.append(key)
            commands.append(self._restore(key, payload, expires))
        for key, answer in zip(present, self._there.batch(commands), strict=True):
            self._settle(key, answer)

    def _restore(self, key: bytes, payload: bytes, expires: int | None) -> Command:
        command: Command = ("RESTORE", key, expires or 0, payload)
        if self._existing == "overwrite":
            command = (*command, "REPLACE")
        return command if expires is None else (*command, "ABSTTL")

    def _settle(self, key: bytes, answer: Any) -> None:
        if not isinstance(answer, redis.ResponseError):
            return
        if refused(answer, "BUSYKEY"):
            self._occupied(key)
        elif refused(answer, "DUMP payload") or refused(answer, "Bad data format"):
            self._in_pieces(key)
        else:
            self._there.checked(answer)

    def _occupied(self, key: bytes) -> None:
        """A key that exists: ours from an interrupted run when it is equal, else a conflict."""
        if self._existing == "refuse" and not same(self._pair, key):
            raise conflict(self._there.server, [(self._there.database, key)])

    def _in_pieces(self, key: bytes) -> None:
        """Build a value under a temporary name, then give it its own: never seen half-made."""
        if self._existing != "overwrite" and self._there.ask("EXISTS", key):
            self._occupied(key)
            return
        kind = self._here.ask("TYPE", key)
        if kind == b"none":
            return
        temporary = TEMPORARY + hashlib.blake2b(key, digest_size=16).hexdigest().encode()
        values.write(self._here, self._there, key, kind, temporary)
        expires = self._expiry.read(self._here.ask(self._expiry.per_key, key))
        if expires is not None:
            self._there.ask("PEXPIREAT", temporary, expires)
        if self._there.ask("EXISTS", temporary):
            self._there.ask("RENAME", temporary, key)


def conflict(target: Server, keys: Sequence[tuple[int, bytes]]) -> ExistingKeys:
    """The failure for keys that hold something else on the target."""
    named = ", ".join(f"db {number}: {key!r}" for number, key in keys[:5])
    return ExistingKeys(
        f"The Redis server at {target.address} already holds keys of the source's names with "
        f"other contents: {named}{', ...' if len(keys) > 5 else ''}.",
        expected="no such keys, or a policy for them",
        remedy="remove them, or set data_migration.existing_keys to 'overwrite' or 'skip'",
    )


def encoded(key: bytes) -> str:
    """A binary key as plans and markers keep it."""
    return base64.b64encode(key).decode()


def decoded(text: str) -> bytes:
    """The key that ``encoded`` wrote."""
    return base64.b64decode(text)
