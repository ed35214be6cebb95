"""Whatever differs is found, and by its right name; whatever is equal, never."""

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.cache.comparison import Kind, compare
from lib.cache.copy import CopyKeys
from lib.cache.keyspace import RESERVED
from lib.cache.server import Server
from tests.cache.journal import MemoryJournal
from tests.cache.platform import fill

BYTES = st.binary(min_size=1, max_size=12)
NUMBERS = st.floats(allow_nan=False)
VALUES = st.one_of(
    st.tuples(st.just("string"), BYTES),
    st.tuples(st.just("hash"), st.dictionaries(BYTES, BYTES, min_size=1, max_size=5)),
    st.tuples(st.just("list"), st.lists(BYTES, min_size=1, max_size=5)),
    st.tuples(st.just("set"), st.sets(BYTES, min_size=1, max_size=5)),
    st.tuples(st.just("zset"), st.dictionaries(BYTES, NUMBERS, min_size=1, max_size=5)),
    st.tuples(st.just("stream"), st.lists(st.tuples(BYTES, BYTES), min_size=1, max_size=4)),
)
KEYS = BYTES.filter(lambda key: not key.startswith(RESERVED))
KEYSPACE = st.dictionaries(KEYS, st.tuples(VALUES, st.booleans()), min_size=1, max_size=8)


def put(client: redis.Redis, key: bytes, kind: str, value) -> None:
    if kind == "string":
        client.set(key, value)
    elif kind == "hash":
        client.hset(key, mapping=value)
    elif kind == "list":
        client.rpush(key, *value)
    elif kind == "set":
        client.sadd(key, *value)
    elif kind == "zset":
        client.zadd(key, value)
    else:
        for number, (name, text) in enumerate(value):
            client.xadd(key, {name: text}, id=f"{number + 1}-0")


def corrupt(client: redis.Redis, key: bytes, kind: str) -> None:
    """Change the least that can be changed."""
    change = {
        "string": lambda: client.append(key, b"\x00"),
        "hash": lambda: client.hset(key, b"new field of the target", b""),
        "list": lambda: client.rpush(key, b"x"),
        "set": lambda: client.sadd(key, b"new member of the target"),
        "zset": lambda: client.zadd(key, {b"new member of the target": 0}),
        "stream": lambda: client.xadd(key, {"a": "b"}),
    }
    change[kind]()


@settings(max_examples=40)
@given(keyspace=KEYSPACE, choice=st.integers(0, 7))
def test_any_keyspace_survives_and_any_change_is_found(
    source, target, redis_source_url, redis_target_url, keyspace, choice
):
    source.flushall()
    target.flushall()
    for key, ((kind, value), expires) in keyspace.items():
        put(source, key, kind, value)
        if expires:
            source.pexpire(key, 5_000_000)
    action = CopyKeys(redis_source_url, redis_target_url)
    action.apply(action.plan(action.observe()), MemoryJournal())
    assert compare(action.source, action.target).equal
    key = sorted(keyspace)[choice % len(keyspace)]
    corrupt(target, key, keyspace[key][0][0])
    assert [(d.kind, d.key) for d in compare(action.source, action.target).differences] == [
        (Kind.VALUE, key)
    ]


@pytest.fixture
def servers(redis_source_url, redis_target_url):
    return Server.from_url(redis_source_url), Server.from_url(redis_target_url)


@pytest.mark.parametrize(
    "kind, spoil",
    [
        (Kind.MISSING, lambda c: c.delete("plain")),
        (Kind.EXTRA, lambda c: c.set("more", 1)),
        (Kind.TYPE, lambda c: (c.delete("plain"), c.rpush("plain", "value"))),
        (Kind.VALUE, lambda c: c.hset("big hash", "field 7", "other")),
        (Kind.VALUE, lambda c: c.zadd("scores", {"m3": 3.0})),
        (Kind.VALUE, lambda c: c.xack("stream", "workers", "2-0")),
        (Kind.VALUE, lambda c: c.xgroup_destroy("stream", "idle")),
        (Kind.EXPIRY, lambda c: c.persist("expires")),
        (Kind.EXPIRY, lambda c: c.pexpire("expires", 1_800_000)),
        (Kind.EXPIRY, lambda c: c.pexpire("plain", 1_800_000)),
    ],
)
def test_each_kind_of_difference_has_its_name(
    source, target, servers, redis_source_url, redis_target_url, kind, spoil
):
    fill(source)
    action = CopyKeys(redis_source_url, redis_target_url)
    action.apply(action.plan(action.observe()), MemoryJournal())
    spoil(target)
    comparison = compare(*servers)
    assert comparison.counts == {kind: 1}
    assert kind in str(comparison.differences[0])


def test_equal_values_in_other_encodings_are_equal(source, target, servers):
    names = [f"m{n}" for n in range(300)]
    source.sadd("set", *names)
    target.sadd("set", *reversed(names))
    source.hset("hash", mapping={"a": "x" * 200, "b": "1"})
    source.hset("hash", "a", "y")
    target.hset("hash", mapping={"b": "1", "a": "y"})
    assert source.dump("hash") != target.dump("hash")
    assert compare(*servers).equal


def test_expiry_within_the_tolerance_is_equal(source, target, servers):
    source.set("key", 1, pxat=4_000_000_000_000)
    target.set("key", 1, pxat=4_000_000_000_500)
    assert compare(*servers).equal
    assert not compare(*servers, expiry_tolerance_ms=100).equal


def test_the_list_of_differences_is_bounded_and_their_number_exact(source, servers):
    source.mset({f"key {n}": n for n in range(100)})
    comparison = compare(*servers, keep=3)
    assert (comparison.counts, len(comparison.differences)) == ({Kind.MISSING: 100}, 3)
