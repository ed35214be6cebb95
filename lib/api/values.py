"""What may come in: keys, JSON values, lifetimes and vectors that PostgreSQL can keep."""

import json
import math
import re
from collections.abc import Sequence

from lib.api.errors import Refused

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
KEY_LENGTH = 512
DEEPEST = 64
LONGEST_TTL = 10 * 365 * 86400
DIMENSIONS = 16_000
_INTEGERS = range(-(2**63), 2**63)
_LARGEST = {"vector": 3.4028235e38, "halfvec": 65504.0}


def memory_key(key: str) -> str:
    """The key, or ``Refused``: 1 to 512 characters of UTF-8, none of them a control character."""
    _text(key, "The key")
    if CONTROL.search(key):
        raise Refused("The key holds a control character.")
    if not 1 <= len(key) <= KEY_LENGTH:
        raise Refused(f"A key has 1 to {KEY_LENGTH} characters.")
    return key


def key_prefix(prefix: str) -> str:
    """The beginning of a key; may be empty."""
    _text(prefix, "The prefix")
    if len(prefix) > KEY_LENGTH:
        raise Refused(f"A prefix has at most {KEY_LENGTH} characters.")
    return prefix


def lifetime(seconds: float | None) -> float | None:
    """A time to live in seconds, or None for ever."""
    if seconds is None:
        return None
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST_TTL):
        raise Refused(f"ttl_seconds is more than 0 and at most {LONGEST_TTL}.")
    return float(seconds)


def json_text(value: object) -> str:
    """The value as JSON that PostgreSQL's ``jsonb`` takes, or ``Refused``.

    Refuses NUL and lone surrogates in strings, numbers that are not finite, integers beyond 64
    bits, and nesting deeper than 64.
    """
    level: list[object] = [value]
    for _ in range(DEEPEST):
        inner: list[object] = []
        for each in level:
            _scalar(each)
            if isinstance(each, dict):
                inner += [*each.keys(), *each.values()]
            elif isinstance(each, list):
                inner += each
        if not inner:
            return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        level = inner
    raise Refused(f"The value is nested deeper than {DEEPEST}.")


def query_vector(vector: Sequence[float], dimensions: int, kind: str, metric: str) -> None:
    """Refuse a vector that cannot be compared with those of a column of ``kind``."""
    if dimensions > 0 and len(vector) != dimensions:
        raise Refused(f"The vector has {len(vector)} dimensions, the collection {dimensions}.")
    largest = max(map(abs, vector))
    if not largest <= _LARGEST[kind]:
        raise Refused(f"A component of the vector is too large for {kind}.")
    if metric == "cosine" and largest < 1e-30:
        raise Refused("A vector of zeros has no direction, which the cosine distance needs.")


def _scalar(value: object) -> None:
    if isinstance(value, str):
        _text(value, "A string")
    elif isinstance(value, float) and not math.isfinite(value):
        raise Refused("A number is not finite.")
    elif isinstance(value, int) and value not in _INTEGERS:
        raise Refused("An integer does not fit 64 bits.")


def _text(text: str, what: str) -> None:
    if "\x00" in text:
        raise Refused(f"{what} holds the NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"{what} holds half of a surrogate pair.") from error
