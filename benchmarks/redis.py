"""Keys a second from one Valkey to another: the project's copy beside plain one-thread loops.

Fills a Valkey with mixed keys, copies them in turn by each way into an emptied second one, has
the project compare both sides, and prints a Markdown table.
"""

import argparse
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # in place of this folder, whose redis.py would hide the library's

import hiredis  # noqa: E402
import redis  # noqa: E402

from lib.cache.comparison import compare, require_equal  # noqa: E402
from lib.cache.copy import CopyKeys  # noqa: E402
from lib.cache.server import Server  # noqa: E402
from lib.runtime.valkey import Valkey  # noqa: E402
from tests.cache.journal import MemoryJournal  # noqa: E402

BATCH = 1_000
MEDIAN_BYTES = 200
KINDS = ["string"] * 8 + ["hash"] * 5 + ["list"] * 2 + ["set"] * 2 + ["zset"] * 2 + ["stream"]
EXPIRING = 0.1
PERSISTENCE = {"appendonly": "no"}  # as on an instance of Memorystore unless it is asked for
Way = Callable[[str, str], None]


@dataclass(frozen=True)
class Measured:
    """One copy: wall seconds, and the processor seconds of this process and both servers."""

    seconds: float
    ours: float
    servers: float


def keyspace(number: int) -> Iterator[list[tuple[object, ...]]]:
    """Commands that make so many keys, the same every time, a batch at a time."""
    chance = random.Random(20)
    text = chance.randbytes(1 << 16).hex()

    def words(length: int, pieces: int) -> list[str]:
        each = max(1, length // pieces)
        starts = (chance.randrange(len(text) - each) for _ in range(pieces))
        return [text[start : start + each] for start in starts]

    commands: list[tuple[object, ...]] = []
    for index in range(number):
        kind = KINDS[index % len(KINDS)]
        key = f"{kind}:{index:09d}"
        length = min(100_000, int(chance.lognormvariate(0, 0.8) * MEDIAN_BYTES))
        commands += _value(kind, key, length, words)
        if chance.random() < EXPIRING:
            commands.append(("PEXPIRE", key, chance.randrange(86_400_000, 10**9)))
        if len(commands) >= BATCH:
            yield commands
            commands = []
    yield commands


def _value(
    kind: str, key: str, length: int, words: Callable[[int, int], list[str]]
) -> list[tuple[object, ...]]:
    if kind == "string":
        return [("SET", key, *words(length, 1))]
    if kind == "hash":
        return [("HSET", key, *(part for pair in enumerate(words(length, 5)) for part in pair))]
    if kind == "list":
        return [("RPUSH", key, *words(length, 5))]
    if kind == "set":
        return [("SADD", key, *words(length, 5))]
    if kind == "zset":
        scored = (part for pair in enumerate(words(length, 5)) for part in pair)
        return [("ZADD", key, *scored)]
    return [("XADD", key, "*", "field", word) for word in words(length, 2)]


class Wire:
    """A socket with hiredis on it: the least that Python needs to speak to Redis."""

    def __init__(self, url: str) -> None:
        with redis.Redis.from_url(url) as client:
            options = client.get_connection_kwargs()
        self._socket = socket.create_connection((options["host"], options["port"]))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def batch(self, commands: list[tuple[object, ...]]) -> list[object]:
        """Send commands in one pipeline and give their answers."""
        self._socket.sendall(b"".join(hiredis.pack_command(each) for each in commands))
        answers: list[object] = []
        while len(answers) < len(commands):
            answer = self._reader.gets()
            if answer is Ellipsis:
                self._reader.feed(self._socket.recv(1 << 18))
                continue
            if isinstance(answer, Exception):
                raise answer
            answers.append(answer)
        return answers


def loop_hiredis(source: str, target: str) -> None:
    """One thread: SCAN, then DUMP and PTTL in one pipeline, then RESTORE in another."""
    with Wire(source) as here, Wire(target) as there:
        cursor = 0
        while True:
            ((cursor, keys),) = here.batch([("SCAN", cursor, "COUNT", BATCH)])
            answers = here.batch([each for k in keys for each in (("DUMP", k), ("PTTL", k))])
            dumps = zip(keys, answers[::2], answers[1::2], strict=True)
            there.batch([("RESTORE", k, max(0, left), dump) for k, dump, left in dumps])
            cursor = int(cursor)
            if cursor == 0:
                return


def loop_redis_py(source: str, target: str) -> None:
    """The same with the pipelines of redis-py, which uses hiredis to read."""
    with redis.Redis.from_url(source) as here, redis.Redis.from_url(target) as there:
        cursor = 0
        while True:
            cursor, keys = here.scan(cursor, count=BATCH)
            asked, written = here.pipeline(transaction=False), there.pipeline(transaction=False)
            for key in keys:
                asked.dump(key)
                asked.pttl(key)
            answers = asked.execute()
            for key, dump, left in zip(keys, answers[::2], answers[1::2], strict=True):
                written.restore(key, max(0, left), dump)
            written.execute()
            if cursor == 0:
                return


def ours(source: str, target: str) -> None:
    """The project's action, planned and applied, not yet verified."""
    action = CopyKeys(source, target)
    action.apply(action.plan(action.observe()), MemoryJournal())


WAYS: dict[str, Way] = {
    "the project": ours,
    "one thread, hiredis on a socket": loop_hiredis,
    "one thread, redis-py pipelines": loop_redis_py,
}


def processor(urls: list[str]) -> float:
    """Seconds of processor time that servers used so far."""
    total = 0.0
    for url in urls:
        with redis.Redis.from_url(url) as client:
            used = client.info("cpu")
        total += used["used_cpu_user"] + used["used_cpu_sys"]
    return total


def measured(way: Way, source: str, target: str) -> Measured:
    """Do it once."""
    before = processor([source, target])
    began, ours_began = time.perf_counter(), time.process_time()
    way(source, target)
    seconds, own = time.perf_counter() - began, time.process_time() - ours_began
    return Measured(seconds, own, processor([source, target]) - before)


def verified(source: str, target: str) -> None:
    """Every key, both ways."""
    require_equal(compare(Server.from_url(source), Server.from_url(target)))


def row(name: str, number: int, runs: list[Measured]) -> str:
    """A line of the table: medians."""
    values = [
        f"{number / median(each.seconds for each in runs):,.0f}",
        f"{median(each.seconds for each in runs):.2f}",
        f"{median(each.ours for each in runs):.2f}",
        f"{median(each.servers for each in runs):.2f}",
    ]
    return "| " + " | ".join([name, *values]) + " |"


def run(source: str, target: str, keys: int, rounds: int, names: list[str]) -> None:
    """Fill the source, measure each way so many times in turn, print the table."""
    with Wire(source) as wire:
        for commands in keyspace(keys):
            if commands:
                wire.batch(commands)
    with redis.Redis.from_url(source) as client, redis.Redis.from_url(target) as emptied:
        number, memory = client.dbsize(), client.info("memory")["used_memory"]
        runs: dict[str, list[Measured]] = {name: [] for name in names}
        checks: list[Measured] = []
        for _ in range(rounds):
            for name in names:
                emptied.flushall()
                runs[name].append(measured(WAYS[name], source, target))
                if emptied.dbsize() != number:
                    raise SystemExit(f"{name} left keys behind")
                if name == "the project":
                    checks.append(measured(verified, source, target))
    print(f"{number:,} keys, {memory / 1e6:,.0f} MB in the source; medians of {rounds}\n")
    print("| | keys/s | seconds | processor s, client | processor s, both servers |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        print(row(f"copy: {name}", number, runs[name]))
    if checks:
        print(row("comparison of every key, both ways: the project", number, checks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(WAYS), action="append", help="these ways alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        servers = [
            Valkey(Path(folder) / name, f"127.0.0.{10 + n}", 26_379, arguments=PERSISTENCE)
            for n, name in enumerate(("source", "target"))
        ]
        try:
            for server in servers:
                server.start()
            urls = [server.url for server in servers]
            run(urls[0], urls[1], options.keys, options.rounds, options.only or list(WAYS))
        finally:
            for server in servers:
                server.stop(immediate=True)


if __name__ == "__main__":
    main()
