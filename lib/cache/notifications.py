"""The names of keys that change on a server, as it announces them (keyspace notifications)."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import redis

from lib.cache.errors import AccessRefused, ServerUnreachable
from lib.cache.keyspace import RESERVED
from lib.cache.server import Link, Server
from lib.engine.actions import Journal
from lib.errors import MigrationError

SETTING = "notify-keyspace-events"
_PATTERN = b"__keyevent@*__:*"
_CHANNEL = b"__keyevent@"
_EVERY_KIND = frozenset("g$lshzxetd")
_RETRY_SECONDS = 0.2
_LISTEN_SECONDS = 0.02
_ANSWER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Lag:
    """Keys whose change is not on the target yet, and seconds since the oldest of them changed."""

    keys: int
    seconds: float


class Notifications:
    """Collects changed keys while it is open; each waits once, however often it changes.

    The server's setting is widened for as long, never narrowed, and put back as it was; what it
    was is kept in the journal, for the next attempt after a kill.  A connection that breaks is
    made anew and remembered as a gap.  ``complete`` is false where the server doesn't announce
    every change and can't be told to: then only a sweep finds them.
    """

    def __init__(self, source: Server, journal: Journal) -> None:
        self._source, self._journal = source, journal
        self._waiting: OrderedDict[tuple[int, bytes], float] = OrderedDict()
        self._mutex = threading.Lock()
        self._closing, self._began, self._listening = (threading.Event() for _ in range(3))
        self._mark, self._marked = threading.Event(), threading.Event()
        self._gap = False
        self._failure: MigrationError | None = None
        self.complete = False
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)

    def __enter__(self) -> "Notifications":
        self._thread.start()
        self._began.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        with suppress(MigrationError) if kind else nullcontext():
            put_back(self._source, self._journal)

    def add(self, database: int, key: bytes) -> None:
        """Let a key wait that something else found changed."""
        with self._mutex:
            self._waiting.setdefault((database, key), time.monotonic())

    def take(self, most: int) -> dict[int, list[bytes]]:
        """The keys that wait longest, by database; they wait no more."""
        taken: dict[int, list[bytes]] = {}
        with self._mutex:
            for _ in range(min(most, len(self._waiting))):
                (number, key), _since = self._waiting.popitem(last=False)
                taken.setdefault(number, []).append(key)
        return taken

    def lag(self) -> Lag:
        """How far behind the target is."""
        with self._mutex:
            oldest = next(iter(self._waiting.values()), None)
            waited = 0.0 if oldest is None else time.monotonic() - oldest
            return Lag(len(self._waiting), waited)

    def gap(self) -> bool:
        """Whether announcements may have been missed since this was asked last."""
        with self._mutex:
            gap, self._gap = self._gap, False
            return gap

    def settle(self) -> None:
        """Wait until everything that the server has announced so far is collected."""
        if not self._listening.is_set() and not self._thread.is_alive():
            return
        self._marked.clear()
        self._mark.set()
        if not self._marked.wait(_ANSWER_SECONDS):
            raise ServerUnreachable(
                f"The Redis server at {self._source.address} announces no changes any more.",
                expected="a connection that stays open",
                remedy="check the server and the network, then run again",
            )

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with Link(self._source) as link:
                    self._subscribe(link)
                    self._listen(link)
            except AccessRefused:
                self.complete = False
                break
            except MigrationError as error:
                if not self._began.is_set():
                    self._failure = error
                    break
                self._listening.clear()
                self._closing.wait(_RETRY_SECONDS)
        self._listening.clear()
        self._began.set()
        self._marked.set()

    def _subscribe(self, link: Link) -> None:
        complete = widen(link, self._journal)
        link.ask("PSUBSCRIBE", _PATTERN)
        with self._mutex:
            self.complete = complete
            self._gap = self._began.is_set()
        self._listening.set()
        self._began.set()

    def _listen(self, link: Link) -> None:
        asked = False
        while not self._closing.is_set():
            if self._mark.is_set() and not asked:
                link.send([("PING",)])
                asked = True
            answers = link.listen(_LISTEN_SECONDS)
            if self._collect(answers) and asked:
                asked = False
                self._mark.clear()
                self._marked.set()

    def _collect(self, answers: Sequence[Any]) -> bool:
        """Take in announcements; true where the answer to a PING was among them."""
        now, marked = time.monotonic(), False
        with self._mutex:
            for answer in answers:
                if answer[0] == b"pong":
                    marked = True
                elif answer[0] == b"pmessage" and not answer[3].startswith(RESERVED):
                    number = answer[2][len(_CHANNEL) :].partition(b"__:")[0]
                    self._waiting.setdefault((int(number), answer[3]), now)
        return marked


def widen(link: Link, journal: Journal) -> bool:
    """Have every change announced; false where the server doesn't let us."""
    (answer,) = link.batch([("CONFIG", "GET", SETTING)])
    if isinstance(answer, redis.ResponseError) or len(answer) != 2:
        return False
    old = answer[1].decode()
    if "E" in old and ("A" in old or set(old) >= _EVERY_KIND):
        return True
    if journal.get(SETTING) is None:
        journal.put(SETTING, old)
    (done,) = link.batch([("CONFIG", "SET", SETTING, "".join(sorted(set(old) | {"A", "E"})))])
    return not isinstance(done, redis.ResponseError)


def put_back(source: Server, journal: Journal) -> None:
    """Give the setting the value that it had before ``widen``, if that changed it."""
    old = journal.get(SETTING)
    if isinstance(old, str):
        with Link(source) as link:
            link.batch([("CONFIG", "SET", SETTING, old)])
        journal.forget(SETTING)
