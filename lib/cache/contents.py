"""Small values of many keys at once, type by type: for servers whose DUMPs don't agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from lib.cache.server import Link
from lib.cache.wire import Argument, Command

MOST_ELEMENTS = 10_000
_READ: dict[bytes, tuple[Argument, tuple[Argument, ...]]] = {
    b"string": ("GET", ()),
    b"hash": ("HGETALL", ()),
    b"list": ("LRANGE", (0, -1)),
    b"set": ("SMEMBERS", ()),
    b"zset": ("ZRANGE", (0, -1, "WITHSCORES")),
}
_WRITE = {b"string": "SET", b"hash": "HSET", b"list": "RPUSH", b"set": "SADD", b"zset": "ZADD"}


@dataclass(frozen=True, slots=True)
class Content:
    """A value as its type's own command reads it, and the expiry of a hash's fields."""

    kind: bytes
    value: Any
    fields: tuple[int, ...] = ()

    def meaning(self) -> tuple[bytes, Any]:
        """What two equal values have in common, whatever their order and encoding."""
        return self.kind, _MEANING[self.kind](self)

    def write(self, to: bytes) -> list[Command]:
        """The commands that make this value under a name that isn't taken."""
        arguments = [self.value] if self.kind == b"string" else self.value
        if self.kind == b"zset":
            pairs = zip(arguments[1::2], arguments[::2], strict=True)
            arguments = [each for pair in pairs for each in pair]
        commands: list[Command] = [(_WRITE[self.kind], to, *arguments)]
        if self.fields:
            for name, at in zip(self.value[::2], self.fields, strict=True):
                if at > 0:
                    commands.append(("HPEXPIREAT", to, at, "FIELDS", 1, name))
        return commands


def _hash(content: Content) -> Any:
    expiries = content.fields or [-1] * (len(content.value) // 2)
    return sorted(zip(content.value[::2], content.value[1::2], expiries, strict=True))


def _scored(content: Content) -> Any:
    scores = [float(each) for each in content.value[1::2]]
    return sorted(zip(content.value[::2], scores, strict=True))


_MEANING: dict[bytes, Callable[[Content], Any]] = {
    b"string": lambda content: content.value,
    b"list": lambda content: content.value,
    b"set": lambda content: sorted(content.value),
    b"hash": _hash,
    b"zset": _scored,
}


def contents(link: Link, keys: Sequence[bytes]) -> list[Content | None]:
    """The contents of keys that are known to be small; None for what must be read in pieces.

    That are streams, types of modules, values of very many elements, and keys that change now.
    """
    kinds = link.batch(("TYPE", key) for key in keys)
    asked = [each for each in zip(keys, kinds, strict=True) if each[1] in _READ]
    answers = link.batch((_READ[kind][0], key, *_READ[kind][1]) for key, kind in asked)
    found: dict[bytes, Content] = {}
    for (key, kind), value in zip(asked, answers, strict=True):
        few = kind == b"string" or (isinstance(value, list) and len(value) <= MOST_ELEMENTS)
        if value and few and not isinstance(value, redis.ResponseError):
            found[key] = Content(kind, value)
    _add_fields(link, found)
    return [found.get(key) for key in keys]


def _add_fields(link: Link, found: dict[bytes, Content]) -> None:
    """Read the expiry of hashes' fields, where the server knows such a thing."""
    hashes = {key: each.value for key, each in found.items() if each.kind == b"hash"}
    answers = link.batch(
        ("HPEXPIRETIME", key, "FIELDS", len(value) // 2, *value[::2])
        for key, value in hashes.items()
    )
    for (key, value), answer in zip(hashes.items(), answers, strict=True):
        if isinstance(answer, list) and len(answer) == len(value) // 2:
            found[key] = Content(b"hash", value, tuple(int(each) for each in answer))
