"""Fills a Valkey server with what the platform keeps in Redis."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

import redis

from lib.sample.words import Prose

_LATER = int(datetime(2099, 1, 1, tzinfo=UTC).timestamp())
_BATCH = 2_000
SHORT, SESSIONS, ODD = 0, 1, 5  # the logical databases in use


def fill(url: str, scale: float) -> None:
    """Write every kind of key; databases 0, 1 and 5 are used."""
    for database, content in ((SHORT, _agents), (SESSIONS, _sessions), (ODD, _odd)):
        with redis.Redis.from_url(urlsplit(url)._replace(path=f"/{database}").geturl()) as client:
            content(client, scale)


def _rows(scale: float, full: int, minimum: int) -> int:
    return max(minimum, round(full * scale))


def _batches(total: int) -> Iterator[range]:
    return (range(at, min(at + _BATCH, total)) for at in range(0, total, _BATCH))


def _agents(client: redis.Redis, scale: float) -> None:
    """Database 0: agents' short-term memory, as strings, hashes, lists, sets and sorted sets."""
    prose = Prose(1000)
    for numbers in _batches(_rows(scale, 20_000, 400)):
        pipe = client.pipeline(transaction=False)
        for number in numbers:
            pipe.set(f"memory:{number}", f"{prose.title(number % 32)} {number}")
            if number % 2:
                pipe.pexpireat(f"memory:{number}", _LATER * 1000 + number)
        pipe.execute()
    for numbers in _batches(_rows(scale, 100_000, 1_000)):
        client.hset(
            "agents:index", mapping={f"field:{n}": f"value {n * n % 9973}" for n in numbers}
        )
    for numbers in _batches(_rows(scale, 30_000, 1_000)):
        client.rpush("queue:tasks", *(f"task {number}" for number in numbers))
        client.sadd("agents:seen", *(f"agent-{number:x}" for number in numbers))
        client.sadd("agents:numbers", *numbers)
        client.zadd("agents:ranking", {f"member {number}": number / 7 for number in numbers})
    client.sadd("small:numbers", 1, 2, 3, -(2**63), 2**63 - 1)
    client.zadd("ranking:extremes", {"low": float("-inf"), "high": float("inf"), "zero": -0.0})
    for number in range(_rows(scale, 1_000, 50)):
        client.hset(f"agent:{number}", mapping={"name": f"Agent {number}", "emoji": "🤖"})
    client.expireat("agent:0", _LATER)


def _sessions(client: redis.Redis, scale: float) -> None:
    """Database 1: sessions that expire, and a stream with a consumer group."""
    for numbers in _batches(_rows(scale, 5_000, 100)):
        pipe = client.pipeline(transaction=False)
        for number in numbers:
            pipe.set(f"session:{number}", f'{{"user": {number}}}', exat=_LATER + number)
        pipe.execute()
    entries = _rows(scale, 10_000, 200)
    for numbers in _batches(entries):
        pipe = client.pipeline(transaction=False)
        for number in numbers:
            pipe.xadd(
                "events",
                {"agent": number % 12, b"event": "message"},
                id=f"{1_760_000_000_000 + number}-{number % 3}",
            )
        pipe.execute()
    client.xdel("events", "1760000000005-2")
    client.xgroup_create("events", "workers", id="0")
    client.xgroup_create("events", "auditors", id="$")
    for consumer, wanted in (("worker-1", 40), ("worker-2", 25)):
        client.xreadgroup("workers", consumer, {"events": ">"}, count=wanted)
    client.xack("events", "workers", "1760000000000-0", "1760000000001-1")


def _odd(client: redis.Redis, scale: float) -> None:
    """Database 5: binary keys and values, HyperLogLog, bit strings, positions, a long value."""
    source = random.Random(5)
    for number in range(50):
        client.set(b"\x00\xff\r\n key " + bytes([number]), source.randbytes(200))
    client.set("", "the empty key")
    client.set("empty", "")
    client.set("schlüssel 🗝", "wert")
    client.set("counter", 2**62)
    client.set("large", source.randbytes(_rows(scale, 4_000_000, 200_000)))
    for numbers in _batches(_rows(scale, 50_000, 2_000)):
        client.pfadd("visitors", *(f"visitor {number}" for number in numbers))
    client.pfadd("visitors:few", "a", "b", "c")
    pipe = client.pipeline(transaction=False)
    for bit in source.sample(range(100_000), 5_000):
        pipe.setbit("active:days", bit, 1)
    pipe.execute()
    client.geoadd("offices", (13.4, 52.5, "Berlin", -9.1, 38.7, "Lisboa"))
    client.lpush(b"list\x00", b"\x00", b"", b"\xff" * 10_000)
