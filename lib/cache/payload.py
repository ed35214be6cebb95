"""The payload of DUMP, as far as it tells whether two differ in more than order.

Hash tables are dumped in the order of their buckets, which each server's own seed decides.  So
two payloads of one set, hash or sorted set differ; their elements, sorted, don't.
"""

from typing import TypeAlias

FOOTER = 10
"""A payload ends with the version of the format and a checksum over it: not part of the value."""
_WIDTHS: dict[int, tuple[int, int]] = {2: (1, 0), 4: (2, 0), 5: (1, 8)}
"""Types of hash tables (set, hash, sorted set): strings of an element, and bytes after them."""
_PLAIN = {0xC0: 1, 0xC1: 2, 0xC2: 4}
"""Encodings of a string as a number: bytes that follow."""
_COMPRESSED = 0xC3
_Length: TypeAlias = tuple[int, int]


def equal(one: bytes, other: bytes) -> bool:
    """Whether two payloads surely hold the same value; False where only their servers can tell."""
    if one == other or one[:-FOOTER] == other[:-FOOTER]:
        return True
    if len(one) != len(other) or one[0] != other[0] or one[0] not in _WIDTHS:
        return False
    mine = _elements(one)
    return mine is not None and mine == _elements(other)


def _elements(payload: bytes) -> list[bytes] | None:
    """The elements of a hash table as they are written, sorted; None where unreadable."""
    strings, extra = _WIDTHS[payload[0]]
    try:
        count, at = _length(payload, 1)
        found = []
        for _ in range(count):
            start = at
            for _ in range(strings):
                at = _after(payload, at)
            at += extra
            found.append(payload[start:at])
    except (IndexError, ValueError):
        return None
    return sorted(found) if at == len(payload) - FOOTER else None


def _after(payload: bytes, at: int) -> int:
    """Where the string that begins at ``at`` ends."""
    first = payload[at]
    if first < 0x40:
        return at + 1 + first
    if first in _PLAIN:
        return at + 1 + _PLAIN[first]
    if first == _COMPRESSED:
        length, at = _length(payload, at + 1)
        _, at = _length(payload, at)
        return at + length
    length, at = _length(payload, at)
    return at + length


def _length(payload: bytes, at: int) -> _Length:
    """A length and where it ends."""
    first = payload[at]
    if first < 0x40:
        return first, at + 1
    if first < 0x80:
        return (first & 0x3F) << 8 | payload[at + 1], at + 2
    if first == 0x80:
        return int.from_bytes(payload[at + 1 : at + 5], "big"), at + 5
    if first == 0x81:
        return int.from_bytes(payload[at + 1 : at + 9], "big"), at + 9
    raise ValueError(first)
