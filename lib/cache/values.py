"""Values in pieces: read, written and digested type by type, whatever their size or encoding."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import redis

from lib.cache.errors import ServerRefused, UnsupportedValue
from lib.cache.server import Link
from lib.cache.wire import Command

ReadT = TypeVar("ReadT")
_ATTEMPTS = 4
PIECE_BYTES = 1 << 20
PIECE_ELEMENTS = 1_000
KINDS = (b"string", b"hash", b"list", b"set", b"zset", b"stream")
_ADD = {b"hash": "HSET", b"list": "RPUSH", b"set": "SADD", b"zset": "ZADD"}
_SCAN = {b"hash": "HSCAN", b"set": "SSCAN", b"zset": "ZSCAN"}
_COUNT = {b"hash": "HLEN", b"set": "SCARD", b"zset": "ZCARD"}


def steady(read: Callable[[], ReadT]) -> ReadT:
    """What ``read`` gives; again where the server refuses it, as it does when a key is replaced
    by one of another type, or its group destroyed, between two commands."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(ServerRefused):
            return read()
    return read()


def pieces(link: Link, key: bytes, kind: bytes) -> Iterator[list[Any]]:
    """The elements of a value, a bounded number at a time.

    A string gives its bytes; a hash field, value, ...; a sorted set (score, member), ...; a list
    and a set their elements; a stream its entries as [id, [field, value, ...]].  Raises
    ``UnsupportedValue`` for types of modules.
    """
    if kind == b"string":
        length = link.ask("STRLEN", key)
        for start in range(0, length, PIECE_BYTES):
            yield [link.ask("GETRANGE", key, start, start + PIECE_BYTES - 1)]
    elif kind == b"list":
        length = link.ask("LLEN", key)
        for start in range(0, length, PIECE_ELEMENTS):
            yield link.ask("LRANGE", key, start, start + PIECE_ELEMENTS - 1)
    elif kind in _SCAN:
        cursor = 0
        while True:
            answer = link.ask(_SCAN[kind], key, cursor, "COUNT", PIECE_ELEMENTS)
            cursor, found = int(answer[0]), list(answer[1])
            if kind == b"zset":
                found = [
                    each for pair in zip(found[1::2], found[::2], strict=True) for each in pair
                ]
            if found:
                yield found
            if cursor == 0:
                return
    elif kind == b"stream":
        begin = b"-"
        while entries := link.ask("XRANGE", key, begin, "+", "COUNT", PIECE_ELEMENTS):
            yield entries
            begin = b"(" + entries[-1][0]
    else:
        raise UnsupportedValue(
            f"The key {key!r} is of type {kind.decode(errors='replace')!r}, and the target does "
            "not take its DUMP.",
            expected="one of " + ", ".join(each.decode() for each in KINDS),
            remedy="move this key by hand and remove it from the source, then run again",
        )


def write(source: Link, target: Link, key: bytes, kind: bytes, to: bytes) -> None:
    """Write the value of ``key`` on the source to the key ``to`` on the target, in pieces."""
    target.ask("UNLINK", to)
    if kind == b"string":
        target.ask("SET", to, b"")
    for piece in pieces(source, key, kind):
        if kind == b"string":
            target.ask("APPEND", to, piece[0])
        elif kind == b"stream":
            _confirm(target, [("XADD", to, each[0], *each[1]) for each in piece])
        else:
            target.ask(_ADD[kind], to, *piece)
            if kind == b"hash":
                _field_expiry(source, target, key, to, piece[::2])
    if kind == b"stream":
        _write_stream_state(source, target, key, to)


def _confirm(link: Link, commands: list[Command]) -> None:
    for answer in link.batch(commands):
        link.checked(answer)


def field_expiries(link: Link, key: bytes, fields: list[bytes]) -> list[int]:
    """The absolute expiry of each field of a hash (-1 for none), all -1 on servers without."""
    (answer,) = link.batch([("HPEXPIRETIME", key, "FIELDS", len(fields), *fields)])
    if isinstance(answer, redis.ResponseError) or not answer:
        return [-1] * len(fields)
    return [int(each) for each in answer]


def _field_expiry(source: Link, target: Link, key: bytes, to: bytes, fields: list[bytes]) -> None:
    expiries = field_expiries(source, key, fields)
    _confirm(
        target,
        [
            ("HPEXPIREAT", to, expiry, "FIELDS", 1, name)
            for name, expiry in zip(fields, expiries, strict=True)
            if expiry > 0
        ],
    )


def _pairs(answer: list[Any]) -> dict[bytes, Any]:
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _write_stream_state(source: Link, target: Link, key: bytes, to: bytes) -> None:
    """Carry over what a stream knows beside its entries: last id, groups, consumers, pending."""
    about = _pairs(source.ask("XINFO", "STREAM", key))
    for group in (_pairs(each) for each in source.ask("XINFO", "GROUPS", key)):
        name, last = group[b"name"], group[b"last-delivered-id"]
        read = group.get(b"entries-read")
        counted: Command = () if read is None else ("ENTRIESREAD", read)
        _ask_newer(target, ("XGROUP", "CREATE", to, name, last, "MKSTREAM"), counted)
        for consumer in (_pairs(each) for each in source.ask("XINFO", "CONSUMERS", key, name)):
            target.ask("XGROUP", "CREATECONSUMER", to, name, consumer[b"name"])
        for waiting in pending(source, key, name):
            claims: list[Command] = []
            for entry, consumer, idle, delivered in waiting:
                options = ("IDLE", idle, "RETRYCOUNT", delivered, "FORCE", "JUSTID", "LASTID", last)
                claims.append(("XCLAIM", to, name, consumer, 0, entry, *options))
            _confirm(target, claims)
    if not target.ask("EXISTS", to):
        target.ask("XGROUP", "CREATE", to, b"\x00", "$", "MKSTREAM")
        target.ask("XGROUP", "DESTROY", to, b"\x00")
    counts: Command = ()
    if b"entries-added" in about:
        counts = ("ENTRIESADDED", about[b"entries-added"])
        counts = (*counts, "MAXDELETEDID", about[b"max-deleted-entry-id"])
    _ask_newer(target, ("XSETID", to, about[b"last-generated-id"]), counts)


def _ask_newer(link: Link, command: Command, more: Command) -> None:
    """Send a command with arguments that servers before 7.0 don't know, or else without them."""
    (answer,) = link.batch([(*command, *more)])
    unknown = isinstance(answer, redis.ResponseError) and (
        "syntax error" in str(answer) or "wrong number of arguments" in str(answer)
    )
    if unknown and more:
        link.ask(*command)
    else:
        link.checked(answer)


def pending(link: Link, key: bytes, group: bytes) -> Iterator[list[Any]]:
    """Entries that a group delivered and nobody acknowledged: [id, consumer, idle ms, count]."""
    start: bytes = b"-"
    while found := link.ask("XPENDING", key, group, start, "+", PIECE_ELEMENTS):
        yield found
        start = b"(" + found[-1][0]


def digest(link: Link, key: bytes, kind: bytes) -> bytes:
    """A digest of what a value means, the same whatever its encoding or order of storage."""
    for _ in range(3):
        total, elements = _digest(link, key, kind)
        if kind not in _COUNT or elements == link.ask(_COUNT[kind], key):
            break
    return total


def _digest(link: Link, key: bytes, kind: bytes) -> tuple[bytes, int]:
    """The digest and the number of elements seen (a scan may meet an element twice)."""
    if kind in _SCAN:
        return _unordered(link, key, kind)
    running = hashlib.blake2b(digest_size=16)
    for piece in pieces(link, key, kind):
        for each in piece:
            if kind == b"string":
                running.update(each)
            else:
                _feed(running, each)
    if kind == b"stream":
        about = _pairs(link.ask("XINFO", "STREAM", key))
        _feed(running, [about[b"last-generated-id"]])
        groups = [_pairs(each) for each in link.ask("XINFO", "GROUPS", key)]
        for group in sorted(groups, key=lambda each: bytes(each[b"name"])):
            consumers = link.ask("XINFO", "CONSUMERS", key, group[b"name"])
            names = sorted(_pairs(each)[b"name"] for each in consumers)
            _feed(running, [group[b"name"], group[b"last-delivered-id"], names])
            for waiting in pending(link, key, group[b"name"]):
                _feed(running, [[entry, who, count] for entry, who, _, count in waiting])
    return running.digest(), 0


def _unordered(link: Link, key: bytes, kind: bytes) -> tuple[bytes, int]:
    total = elements = 0
    for piece in pieces(link, key, kind):
        width = 1 if kind == b"set" else 2
        groups = list(zip(*[iter(piece)] * width, strict=True))
        if kind == b"hash":
            expiries = field_expiries(link, key, piece[::2])
            groups = [(*group, each) for group, each in zip(groups, expiries, strict=True)]
        if kind == b"zset":
            groups = [(float(score).hex(), member) for score, member in groups]
        for group in groups:
            one = hashlib.blake2b(digest_size=16)
            _feed(one, list(group))
            total += int.from_bytes(one.digest(), "big")
        elements += len(groups)
    return (total % (1 << 128)).to_bytes(16, "big"), elements


def _feed(running: Any, value: Any) -> None:
    """Feed a nested value so that different structures never give the same bytes."""
    if isinstance(value, list | tuple):
        running.update(b"[%d" % len(value))
        for each in value:
            _feed(running, each)
    else:
        data = value if isinstance(value, bytes) else str(value).encode()
        running.update(b"%d:" % len(data))
        running.update(data)
