"""What the target held before a copy: kept on the target until the copy ends, and in the plan.

A killed copy leaves keys that the next attempt must not take for somebody else's, and that an
undo must delete.  So the first attempt writes what it found to a marker key on the target itself
before its first key; later attempts read it.  The marker goes when the copy is complete.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lib.cache.comparison import Pair
from lib.cache.keyspace import RESERVED, slices
from lib.cache.server import Link, Server
from lib.cache.transfer import TEMPORARY, Existing, conflict, decoded, encoded
from lib.engine.changes import Change, FieldChange, Json

MARKER = RESERVED + b"copy"
REMEMBERED = 1_000
_FIELD = "keys on both before"


@dataclass(frozen=True, slots=True)
class Before:
    """The keys that both sides held before the copy, by database; None where too many to name."""

    shared: Mapping[int, tuple[bytes, ...]] | None

    def fields(self) -> tuple[FieldChange, ...]:
        """As a change keeps it."""
        return (FieldChange(_FIELD, _plain(self), None),)

    def also(self, more: Iterable[tuple[int, bytes]]) -> "Before":
        """The same with other keys that must be kept."""
        if self.shared is None:
            return self
        shared = {number: list(keys) for number, keys in self.shared.items()}
        for number, key in more:
            shared.setdefault(number, []).append(key)
        return Before({number: tuple(keys) for number, keys in shared.items()})

    @classmethod
    def of(cls, change: Change) -> "Before":
        """What a planned change kept; raises ``StopIteration`` where it kept nothing."""
        return _read(next(each.old for each in change.fields if each.path == _FIELD))


def find(
    source: Server, target: Server, databases: Mapping[int, int], existing: Existing
) -> Before:
    """Look for keys on the target that the source holds too (``databases``: target's counts).

    Under ``refuse`` raises ``ExistingKeys`` where contents differ, before anything is changed.
    """
    shared: dict[int, list[bytes]] = {}
    conflicts: list[tuple[int, bytes]] = []
    count = 0
    for number in databases:
        with Pair(source, target, number) as pair:
            for keys in _on_both(pair.here, pair.there):
                count += len(keys)
                if count <= REMEMBERED:
                    shared.setdefault(number, []).extend(keys)
                if existing == "refuse":
                    conflicts += [(number, each.key) for each in pair.differences(keys)]
                if len(conflicts) > 5:
                    raise conflict(target, conflicts)
    if conflicts:
        raise conflict(target, conflicts)
    if count > REMEMBERED:
        return Before(None)
    return Before({number: tuple(keys) for number, keys in shared.items()})


def _on_both(here: Link, there: Link) -> Iterator[list[bytes]]:
    for _, keys in slices(there):
        known = here.batch(("EXISTS", key) for key in keys)
        yield [key for key, exists in zip(keys, known, strict=True) if exists]


def marked(target: Server) -> Before | None:
    """What an unfinished copy wrote on the target, or None where none is under way."""
    with Link(target) as link:
        text = link.ask("GET", MARKER)
    return None if text is None else _read(json.loads(text))


def mark(target: Server, before: Before) -> None:
    """Write the marker of a copy that begins."""
    with Link(target) as link:
        link.ask("SET", MARKER, json.dumps(_plain(before)))


def unmark(target: Server, databases: Mapping[int, int]) -> None:
    """Remove what only an unfinished copy needs: temporary values first, the marker last."""
    for number in databases:
        with Link(target, number) as link:
            cursor = 0
            while True:
                answer = link.ask("SCAN", cursor, "MATCH", TEMPORARY + b"*", "COUNT", 10_000)
                link.batch(("UNLINK", key) for key in answer[1])
                cursor = int(answer[0])
                if cursor == 0:
                    break
    with Link(target) as link:
        link.ask("UNLINK", MARKER)


def _plain(before: Before) -> Json:
    if before.shared is None:
        return None
    return {str(number): [encoded(k) for k in keys] for number, keys in before.shared.items()}


def _read(stored: object) -> Before:
    if not isinstance(stored, dict):
        return Before(None)
    return Before({int(number): tuple(decoded(k) for k in keys) for number, keys in stored.items()})
