"""Moves one part of one logical database: SCAN, DUMP, RESTORE in pipelines of bounded size."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, TypeAlias

import redis

from lib.cache import values
from lib.cache.ahead import ahead
from lib.cache.comparison import Group, Pair, groups, refused, same
from lib.cache.contents import Content, contents
from lib.cache.errors import ExistingKeys
from lib.cache.keyspace import RESERVED, Slice, measured
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
    with (
        Mover(source, target, part.database, existing) as mover,
        Link(source, part.database) as scanned,
    ):
        for each in mover.moved(measured(scanned, part.number, part.of, part.cursor)):
            told(part, each.cursor, len(each.keys))


@dataclass(slots=True)
class _Load:
    """A group of keys under way, and the slice that is finished with it (if one is)."""

    group: Group
    ends: Slice | None = None
    keys: list[bytes] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)


class Mover:
    """Brings keys of one logical database to the target.

    Several slices are under way at once: the source dumps one while the target restores another.
    Whatever needs more questions goes over connections of its own.
    """

    def __init__(self, source: Server, target: Server, database: int, existing: Existing) -> None:
        self._dumping, self._restoring = Link(source, database), Link(target, database)
        self._existing = existing
        self._pair = Pair(source, target, database)
        self._here, self._there = self._pair.here, self._pair.there

    def __enter__(self) -> "Mover":
        self._expiry, _ = self._pair.__enter__().expiry
        return self

    def __exit__(self, *_: object) -> None:
        self._pair.__exit__()
        self._dumping.close()
        self._restoring.close()

    def moved(self, slices: Iterable[Slice]) -> Iterator[Slice]:
        """Each slice, once all of its keys are on the target."""
        loads = (load for each in slices for load in _loads(each))
        dumped = ahead(loads, self._ask, self._prepare)
        for load in ahead(dumped, self._send, self._finish):
            if load.ends is not None:
                yield load.ends

    def _ask(self, load: _Load) -> None:
        if not load.group.large:
            expiry = self._expiry.per_key
            self._dumping.send([c for k in load.group.keys for c in (("DUMP", k), (expiry, k))])

    def _prepare(self, load: _Load) -> _Load:
        if load.group.large:
            return load
        answers = self._dumping.receive(2 * len(load.group.keys))
        for key, payload, expiry in zip(load.group.keys, answers[::2], answers[1::2], strict=True):
            if self._dumping.checked(payload) is not None:
                load.keys.append(key)
                load.commands.append(self._restore(key, payload, self._expiry.read(expiry)))
        return load

    def _send(self, load: _Load) -> None:
        self._restoring.send(load.commands)
        load.commands = []

    def _finish(self, load: _Load) -> _Load:
        if load.group.large:
            self._in_pieces(load.group.keys[0])
        foreign: list[bytes] = []
        for key, answer in zip(load.keys, self._restoring.receive(len(load.keys)), strict=True):
            if answer == b"OK":
                continue
            if refused(answer, "BUSYKEY"):
                self._occupied(key)
            elif refused(answer, "DUMP payload") or refused(answer, "Bad data format"):
                foreign.append(key)
            else:
                self._there.checked(answer)
        self._by_type(foreign)
        return load

    def _by_type(self, keys: list[bytes]) -> None:
        """Bring small values whose DUMP the target does not take."""
        expiries = self._here.batch((self._expiry.per_key, key) for key in keys)
        written: list[tuple[bytes, list[Command]]] = []
        for key, content, expiry in zip(keys, contents(self._here, keys), expiries, strict=True):
            if content is None:
                self._in_pieces(key)
            else:
                written.append((key, self._writing(key, content, self._expiry.read(expiry))))
        answers = iter(self._there.batch(each for _, commands in written for each in commands))
        for key, commands in written:
            own = list(islice(answers, len(commands)))
            if any(isinstance(each, redis.ResponseError) for each in own):
                self._in_pieces(key)
            elif own[-1] == 0:
                self._there.ask("UNLINK", temporary(key))
                self._occupied(key)

    def _writing(self, key: bytes, content: Content, expires: int | None) -> list[Command]:
        """Write under a temporary name, then give it its own: never seen half-made."""
        name = temporary(key)
        expiring: list[Command] = [] if expires is None else [("PEXPIREAT", name, expires)]
        rename = "RENAME" if self._existing == "overwrite" else "RENAMENX"
        return [("UNLINK", name), *content.write(name), *expiring, (rename, name, key)]

    def _restore(self, key: bytes, payload: bytes, expires: int | None) -> Command:
        command: Command = ("RESTORE", key, expires or 0, payload)
        if self._existing == "overwrite":
            command = (*command, "REPLACE")
        return command if expires is None else (*command, "ABSTTL")

    def _occupied(self, key: bytes) -> None:
        """A key that exists: ours from an interrupted run when it is equal, else a conflict."""
        if self._existing == "refuse" and not same(self._pair, key):
            raise conflict(self._there.server, [(self._there.database, key)])

    def _in_pieces(self, key: bytes) -> None:
        """Build a value under a temporary name, then give it its own: never seen half-made."""
        if self._existing != "overwrite" and self._there.ask("EXISTS", key):
            self._occupied(key)
        else:
            values.steady(lambda: self._build(key))

    def _build(self, key: bytes) -> None:
        kind = self._here.ask("TYPE", key)
        if kind == b"none":
            return
        name = temporary(key)
        values.write(self._here, self._there, key, kind, name)
        expires = self._expiry.read(self._here.ask(self._expiry.per_key, key))
        if expires is not None:
            self._there.ask("PEXPIREAT", name, expires)
        if self._there.ask("EXISTS", name):
            self._there.ask("RENAME", name, key)


def temporary(key: bytes) -> bytes:
    """The name under which a key is built on the target."""
    return TEMPORARY + hashlib.blake2b(key, digest_size=16).hexdigest().encode()


def _loads(each: Slice) -> Iterator[_Load]:
    loads = [_Load(group) for group in groups(each.keys, each.sizes)] or [_Load(Group([]))]
    loads[-1].ends = each
    yield from loads


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
