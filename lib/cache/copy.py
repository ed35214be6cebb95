"""The action that moves every key of one Redis server to another."""

import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lib.cache import before as past
from lib.cache.comparison import Comparison, Kind, compare, require_equal
from lib.cache.errors import CacheError
from lib.cache.keyspace import can_select, key_counts, parts, run_id, sizes, slices
from lib.cache.server import Link, Server
from lib.cache.transfer import Existing, Part, transfer
from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, Json
from lib.engine.errors import CannotUndo

_SAMPLED_SLICES = 2
_KEYS_A_MARK = 20_000


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """Keys by logical database on both sides, and whether a copy was left unfinished."""

    source: Mapping[int, int]
    target: Mapping[int, int]
    unfinished: bool


class CopyKeys:
    """Makes the target hold every key of the source: value, type and absolute expiry.

    ``existing`` decides about keys that the target holds with other contents: ``refuse`` (found
    before anything is changed), ``overwrite`` or ``skip``.  ``workers`` bounds the connections
    that read the source at once.  The target is sent only what Memorystore allows.  Keys that only
    the target holds stay.  Raises ``CacheError`` kinds and ``SettingsError``.
    """

    def __init__(
        self,
        source_url: str,
        target_url: str,
        *,
        source_password: str = "",
        target_password: str = "",
        source_ca_file: str = "",
        target_ca_file: str = "",
        target_authorities: str = "",
        existing: Existing = "refuse",
        workers: int = 2,
    ) -> None:
        self.source = Server.from_url(source_url, source_password, ca_file=source_ca_file)
        self.target = Server.from_url(
            target_url,
            target_password,
            ca_file=target_ca_file,
            managed=True,
            authorities=target_authorities,
        )
        self.existing = existing
        self.workers = max(1, workers)

    def using(self, existing: Existing) -> "CopyKeys":
        """The same copy under another policy."""
        other = copy(self)
        other.existing = existing
        return other

    @property
    def allowed(self) -> tuple[Kind, ...]:
        """How keys of the source may differ on the target after the copy."""
        return (Kind.TYPE, Kind.VALUE, Kind.EXPIRY) if self.existing == "skip" else ()

    @property
    def subject(self) -> str:
        """``Redis keys from host:port to host:port``."""
        return f"Redis keys from {self.source.address} to {self.target.address}"

    def observe(self) -> KeyCounts:
        """Count the keys on both sides."""
        unfinished = past.marked(self.target) is not None
        return KeyCounts(key_counts(self.source), key_counts(self.target), unfinished)

    def plan(self, observed: KeyCounts | None) -> Change:
        """A copy with its keys and estimated bytes; none where the target holds them all."""
        counts = observed or self.observe()
        if not counts.source:
            if counts.unfinished:
                return self._copy(counts, "removes what an unfinished copy left")
            return Change(ChangeKind.NONE, self.subject, reason="the source holds no keys")
        self._require_databases(counts.source)
        if counts.unfinished:
            return self._copy(counts, "goes on with an unfinished copy")
        covered = all(counts.target.get(db, 0) >= n for db, n in counts.source.items())
        if covered and self._compare(stop_at_first=True).equal:
            return Change(ChangeKind.NONE, self.subject, reason="the target holds them all")
        return self._copy(counts, f"keys that exist: {self.existing}" if counts.target else "")

    def apply(self, change: Change, journal: Journal) -> None:
        """Copy what isn't there yet; an interrupted copy goes on at its last finished slices."""
        self.bring(change, journal)
        past.unmark(self.target, key_counts(self.target))

    def bring(self, change: Change, journal: Journal) -> None:
        """``apply``, but leave the target marked as unfinished."""
        if past.marked(self.target) is None:
            journal.forget("db")
            past.mark(self.target, past.Before.of(change))
        counts = key_counts(self.source)
        with Link(self.source) as link:
            run = run_id(link)
        todo, done = self._todo(counts, run, journal)
        progress = _Progress(journal, run, done, sum(counts.values()))
        try:
            self._run(todo, progress, journal)
        finally:
            progress.mark()

    def verify(self) -> Comparison:
        """Compare every key; under ``skip``, keys that were there may differ."""
        return require_equal(self._compare())

    def undo(self, change: Change, journal: Journal) -> None:
        """Delete the keys that the copy created; what the target held before stays."""
        before = past.Before.of(change)
        if before.shared is None:
            raise CannotUndo(
                f"{self.target.address} held more than {past.REMEMBERED:,} of the source's keys "
                "before the copy, so the copied ones can't be told apart.",
                remedy="flush the target or delete the keys by hand, then run again",
            )
        for number in key_counts(self.target):
            self._delete(number, frozenset(before.shared.get(number, ())), journal)
        past.unmark(self.target, key_counts(self.target))
        if self.existing == "overwrite" and before.shared:
            count = sum(map(len, before.shared.values()))
            raise CannotUndo(
                f"{count:,} keys were on {self.target.address} before; if they had other contents "
                "the copy overwrote them, and those are gone.",
                remedy="restore them from a backup of the target; everything else is undone",
            )

    # -- inside --------------------------------------------------------------------------------

    def _compare(self, *, stop_at_first: bool = False) -> Comparison:
        blind = (Kind.EXTRA, *self.allowed)
        return compare(self.source, self.target, stop_at_first=stop_at_first, blind=blind)

    def _copy(self, counts: KeyCounts, reason: str) -> Change:
        before = past.marked(self.target) if counts.unfinished else None
        if before is None:
            before = past.find(self.source, self.target, counts.target, self.existing)
        keys = sum(counts.source.values())
        quantities = {"keys": keys, "bytes": self._estimate(counts.source)}
        return Change(
            ChangeKind.COPY,
            self.subject,
            fields=before.fields(),
            reason=reason,
            quantities=quantities,
        )

    def _require_databases(self, counts: Mapping[int, int]) -> None:
        for number in counts:
            if number and not can_select(self.target, number):
                raise CacheError(
                    f"The source uses logical database {number}, which the target at "
                    f"{self.target.address} doesn't have.",
                    expected="as many logical databases on the target",
                    remedy="raise the instance's 'databases' setting, or move those keys",
                )

    def _estimate(self, counts: Mapping[int, int]) -> int:
        """Bytes of all values, from the first slices of each database."""
        total = 0
        for number, keys in counts.items():
            with Link(self.source, number) as link:
                found = [k for _, some in islice(slices(link), _SAMPLED_SLICES) for k in some]
                sampled = sizes(link, found)
            total += sum(sampled) * keys // max(1, len(sampled))
        return total

    def _todo(
        self, counts: Mapping[int, int], run: str, journal: Journal
    ) -> tuple[list[Part], dict[str, int]]:
        """The parts that are left, largest database first, and the keys done in each part.

        A cursor means nothing after the source restarted (``run``); then a part begins anew.
        """
        todo: list[Part] = []
        done: dict[str, int] = {}
        marks = _marks(journal, run)
        for database, keys in sorted(counts.items(), key=lambda each: -each[1]):
            of = next((m.of for m in marks.values() if m.database == database), 0)
            of = of or parts(keys, self.workers)
            for number in range(of):
                part = Part(database, number, of)
                mark = marks.get(part.name)
                if mark is None:
                    todo.append(part)
                    continue
                done[part.name] = mark.keys
                if mark.cursor is not None:
                    todo.append(Part(database, number, of, mark.cursor))
        return todo, done

    def _run(self, todo: list[Part], progress: "_Progress", journal: Journal) -> None:
        with ThreadPoolExecutor(self.workers, "copy-keys") as pool:
            running: set[Future[None]] = {
                pool.submit(transfer, self.source, self.target, part, self.existing, progress.told)
                for part in todo
            }
            try:
                while running:
                    finished, running = wait(running, 0.2, FIRST_EXCEPTION)
                    for each in finished:
                        each.result()
                    progress.show()
                    journal.safe_point()
            except BaseException:
                progress.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _delete(self, number: int, keep: frozenset[bytes], journal: Journal) -> None:
        with Link(self.source, number) as here, Link(self.target, number) as there:
            for _, keys in slices(there):
                known = here.batch(("EXISTS", key) for key in keys)
                ours = [k for k, e in zip(keys, known, strict=True) if e and k not in keep]
                there.batch(("UNLINK", key) for key in ours)
                journal.safe_point()


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far a part came: where it goes on (None: finished), and the keys handled."""

    database: int
    of: int
    cursor: int | None
    keys: int


def _marks(journal: Journal, run: str) -> dict[str, _Mark]:
    """The marks that still mean something: those of the source's present ``run``."""
    found: dict[str, _Mark] = {}
    for name, kept in journal.entries("db").items():
        stored: Any = kept
        if run and stored["run"] == run:
            cursor = None if stored["cursor"] is None else int(stored["cursor"])
            found[name] = _Mark(stored["database"], stored["of"], cursor, stored["keys"])
    return found


class _Stopped(Exception):
    """A worker was told to end."""


class _Progress:
    """Collects what workers tell and writes it to the journal every so many keys."""

    def __init__(self, journal: Journal, run: str, done: dict[str, int], total: int) -> None:
        self._journal, self._run, self._total = journal, run, total
        self._keys = dict(done)
        self._open: dict[str, Json] = {}
        self._since = 0
        self._stopped = False
        self._mutex = threading.Lock()

    def told(self, part: Part, cursor: int | None, keys: int) -> None:
        """Take note of a finished slice; ends the worker when the copy was stopped."""
        with self._mutex:
            handled = self._keys[part.name] = self._keys.get(part.name, 0) + keys
            self._open[part.name] = {
                "cursor": None if cursor is None else str(cursor),
                "database": part.database,
                "of": part.of,
                "run": self._run,
                "keys": handled,
            }
            self._since += keys
            due = self._since >= _KEYS_A_MARK or cursor is None
        if due:
            self.mark()
        if self._stopped:
            raise _Stopped

    def mark(self) -> None:
        """Make the finished slices durable."""
        with self._mutex:
            entries, self._open, self._since = self._open, {}, 0
        if entries:
            self._journal.put_many(entries)

    def show(self) -> None:
        """Report progress."""
        self._journal.progress("keys", sum(self._keys.values()), self._total, "keys")

    def stop(self) -> None:
        """Let each worker end after its slice."""
        self._stopped = True
