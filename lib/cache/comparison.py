"""Do two servers hold the same?  Both directions: missing, extra, type, value and expiry."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

import redis

from lib.cache import payload, values
from lib.cache.ahead import ahead
from lib.cache.contents import contents
from lib.cache.keyspace import Expiry, key_counts, measured, sizes, slices
from lib.cache.server import Link, Server
from lib.errors import VerificationError

LARGE_BYTES = 8 << 20
BATCH_BYTES = 8 << 20


class Kind(StrEnum):
    """How a key differs."""

    MISSING = "missing"
    EXTRA = "extra"
    TYPE = "type"
    VALUE = "value"
    EXPIRY = "expiry"


@dataclass(frozen=True, slots=True)
class Difference:
    """One key that differs; ``detail`` says how, never with the value."""

    kind: Kind
    database: int
    key: bytes
    detail: str = ""

    def __str__(self) -> str:
        return f"db {self.database}: {self.key!r} {self.kind}" + (
            f" ({self.detail})" if self.detail else ""
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many keys were compared, how many differ by kind, and the first few that do."""

    keys: int
    counts: dict[Kind, int] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        """True where nothing differs in either direction."""
        return not self.counts

    def describe(self) -> str:
        """One line for people."""
        if self.equal:
            return f"{self.keys:,} keys are equal"
        found = ", ".join(f"{n:,} {kind}" for kind, n in self.counts.items())
        return f"{self.keys:,} keys compared: {found}"


def compare(
    source: Server,
    target: Server,
    *,
    expiry_tolerance_ms: int = 1_000,
    keep: int = 20,
    stop_at_first: bool = False,
    blind: Sequence[Kind] = (),
    ignore: Callable[[Difference], bool] = lambda difference: False,  # noqa: ARG005
) -> Comparison:
    """Compare every key of every logical database in both directions.

    Values are compared by their DUMP, and where that differs (encodings do) or the value is
    large, by a digest of what they mean.  ``keep`` bounds the list of differences; ``blind``
    kinds are not looked for, nor differences that ``ignore`` is true for.  Raises ``CacheError``
    kinds.
    """
    counts: dict[Kind, int] = {}
    kept: list[Difference] = []
    here, there = key_counts(source), key_counts(target)
    compared = sum(here.values())
    for difference in differences(
        source,
        target,
        here.keys() | there.keys(),
        expiry_tolerance_ms=expiry_tolerance_ms,
        blind=blind,
    ):
        if difference.kind in blind or ignore(difference):
            continue
        counts[difference.kind] = counts.get(difference.kind, 0) + 1
        if len(kept) < keep:
            kept.append(difference)
        if stop_at_first:
            break
    return Comparison(compared, counts, tuple(kept))


def require_equal(comparison: Comparison) -> Comparison:
    """The comparison, if nothing differs; raises ``VerificationError`` with the first few."""
    if comparison.equal:
        return comparison
    shown = "\n  ".join(str(each) for each in comparison.differences[:5])
    raise VerificationError(
        f"Source and target differ: {comparison.describe()}.\n  {shown}",
        expected="the same keys, types, values and expiry on both",
        remedy="stop what writes to either side, then run the copy again",
    )


def differences(
    source: Server,
    target: Server,
    databases: Iterable[int],
    *,
    expiry_tolerance_ms: int = 1_000,
    blind: Sequence[Kind] = (),
) -> Iterator[Difference]:
    """Every difference of these logical databases as it is found; see ``compare``."""
    for number in sorted(databases):
        yield from _ours(source, target, number, expiry_tolerance_ms)
        if Kind.EXTRA not in blind:
            yield from extra(source, target, number)


def _ours(source: Server, target: Server, number: int, tolerance: int) -> Iterator[Difference]:
    with Pair(source, target, number, tolerance) as pair, Link(source, number) as scanned:
        found = (each for one in measured(scanned) for each in groups(one.keys, one.sizes))
        for each in ahead(found, pair.ask, pair.judge):
            yield from each


def extra(source: Server, target: Server, number: int) -> Iterator[Difference]:
    """The keys of a logical database that only the target holds."""
    with (
        Link(source, number) as here,
        Link(target, number) as there,
        Link(target, number) as scanned,
    ):

        def ask(keys: list[bytes]) -> None:
            here.send([("EXISTS", key) for key in keys])

        def unknown(keys: list[bytes]) -> list[bytes]:
            return [k for k, e in zip(keys, here.receive(len(keys)), strict=True) if not e]

        for keys in ahead((keys for _, keys in slices(scanned)), ask, unknown):
            still = there.batch(("EXISTS", key) for key in keys)
            for key, exists in zip(keys, still, strict=True):
                if exists:
                    yield Difference(Kind.EXTRA, number, key)


class Pair:
    """The same logical database on two servers, compared key by key.

    ``ask`` and ``judge`` are for groups of keys, the next asked before the last is judged;
    whatever needs more questions goes over connections of its own.  ``expiry`` reads that of each
    side.
    """

    def __init__(
        self, source: Server, target: Server, database: int, tolerance_ms: int = 1_000
    ) -> None:
        self.here, self.there = Link(source, database), Link(target, database)
        self._asked = Link(source, database), Link(target, database)
        self._tolerance = tolerance_ms
        self.expiry: tuple[Expiry, ...] = ()

    def __enter__(self) -> "Pair":
        self.expiry = Expiry(self.here), Expiry(self.there)
        return self

    def __exit__(self, *_: object) -> None:
        for link in (self.here, self.there, *self._asked):
            link.close()

    def differences(self, keys: Sequence[bytes]) -> Iterator[Difference]:
        """How the target differs from the source in these keys of the source."""
        for group in groups(keys, sizes(self.here, keys)):
            self.ask(group)
            yield from self.judge(group)

    def ask(self, group: "Group") -> None:
        """Send what ``judge`` needs to know about a group."""
        if not group.large:
            for link, expiry in zip(self._asked, self.expiry, strict=True):
                link.send([c for k in group.keys for c in (("DUMP", k), (expiry.per_key, k))])

    def judge(self, group: "Group") -> list[Difference]:
        """How the target differs in the keys of a group that was asked about."""
        if group.large:
            return [each for key in group.keys for each in self._whole(key)]
        mine, theirs = (link.receive(2 * len(group.keys)) for link in self._asked)
        found: list[Difference] = []
        unsure: list[tuple[bytes, Any, Any]] = []
        for index, key in enumerate(group.keys):
            ours, its = mine[2 * index], theirs[2 * index]
            expiries = mine[2 * index + 1], theirs[2 * index + 1]
            if isinstance(ours, bytes) and isinstance(its, bytes):
                if payload.equal(ours, its):
                    found += self._expiries(key, *expiries)
                else:
                    unsure.append((key, *expiries))
            elif ours is not None:
                found += self._whole(key)
        return found + self._meanings(unsure)

    def _meanings(self, unsure: Sequence[tuple[bytes, Any, Any]]) -> list[Difference]:
        """Compare small values whose DUMPs differ, as they do between versions."""
        found: list[Difference] = []
        keys = [key for key, *_ in unsure]
        both = zip(unsure, contents(self.here, keys), contents(self.there, keys), strict=True)
        for (key, *expiries), ours, its in both:
            if ours is not None and its is not None and ours.meaning() == its.meaning():
                found += self._expiries(key, *expiries)
            else:
                found += self._whole(key)
        return found

    def _whole(self, key: bytes) -> list[Difference]:
        """Compare type by type: for large values and those whose DUMPs differ."""
        return values.steady(lambda: list(self._by_type(key)))

    def _by_type(self, key: bytes) -> Iterator[Difference]:
        number = self.here.database
        kind, other = self.here.ask("TYPE", key), self.there.ask("TYPE", key)
        if kind == b"none":
            return
        if other == b"none":
            if self.here.ask("EXISTS", key):
                yield Difference(Kind.MISSING, number, key)
            return
        if kind != other:
            detail = f"{kind.decode()} here, {other.decode()} there"
            yield Difference(Kind.TYPE, number, key, detail)
            return
        if values.digest(self.here, key, kind) != values.digest(self.there, key, kind):
            yield Difference(Kind.VALUE, number, key, kind.decode())
        links = zip((self.here, self.there), self.expiry, strict=True)
        yield from self._expiries(key, *(link.ask(each.per_key, key) for link, each in links))

    def _expiries(self, key: bytes, mine: Any, theirs: Any) -> Iterator[Difference]:
        if mine == theirs == -1:
            return
        ours, its = self.expiry[0].read(mine), self.expiry[1].read(theirs)
        if ours is None and its is None:
            return
        if ours is None or its is None:
            detail = "expires only there" if ours is None else "expires only here"
        elif abs(ours - its) <= self._tolerance:
            return
        else:
            detail = f"{its - ours:+,} ms there"
        if self.here.ask("EXISTS", key):
            yield Difference(Kind.EXPIRY, self.here.database, key, detail)


@dataclass(frozen=True, slots=True)
class Group:
    """Keys whose values together take bounded memory, or a single one that is ``large``."""

    keys: list[bytes]
    large: bool = False


def groups(keys: Sequence[bytes], lengths: Sequence[int]) -> Iterator[Group]:
    """Keys in groups of bounded bytes; a large one alone, a vanished one (size 0) left out."""
    group: list[bytes] = []
    held = 0
    for key, length in zip(keys, lengths, strict=True):
        if length == 0:
            continue
        if length > LARGE_BYTES:
            yield Group([key], large=True)
            continue
        if group and held + length > BATCH_BYTES:
            yield Group(group)
            group, held = [], 0
        group.append(key)
        held += length
    if group:
        yield Group(group)


def same(pair: Pair, key: bytes) -> bool:
    """Whether the target already holds this key exactly as the source does."""
    return not list(islice(pair.differences([key]), 1))


def refused(answer: Any, word: str) -> bool:
    """Whether an answer is an error that begins with ``word``, beside the general ``ERR``."""
    return isinstance(answer, redis.ResponseError) and (
        str(answer).removeprefix("ERR ").startswith(word)
    )
