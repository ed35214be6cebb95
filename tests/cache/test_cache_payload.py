"""Two DUMPs are equal only where the values are, and no bytes make the reader fail."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.cache import payload

LONG = st.integers(0, 3).map(lambda number: b"%d" % number * 70)
"""Too long for the compact encodings, and few, so that near misses are common."""
ELEMENTS = st.one_of(LONG, st.sampled_from([b"1", b"200", b"70000", b"5000000000", b"text"]))
TABLES = {
    "hash": st.dictionaries(ELEMENTS, ELEMENTS, min_size=1, max_size=5),
    "set": st.sets(ELEMENTS, min_size=1, max_size=5),
    "zset": st.dictionaries(ELEMENTS, st.integers(0, 2), min_size=1, max_size=5),
}


def put(client, kind: str, elements) -> bytes:
    """The DUMP of a hash table with these elements, put in any order."""
    client.delete("key")
    if kind == "set":
        client.sadd("key", b"x" * 100, *elements)
    elif kind == "hash":
        client.hset("key", mapping={b"x" * 100: b"", **elements})
    else:
        client.zadd("key", {b"x" * 100: 0, **elements})
    return client.dump("key")


@pytest.mark.parametrize("kind", list(TABLES))
def test_hash_tables_are_equal_exactly_when_their_elements_are(source, target, kind):
    @settings(max_examples=60)
    @given(one=TABLES[kind], other=TABLES[kind])
    def check(one, other):
        here = put(source, kind, one)
        assert payload.equal(here, put(target, kind, one))
        assert payload.equal(here, put(target, kind, other)) == (one == other)

    check()


@given(st.binary(min_size=1, max_size=80), st.binary(min_size=1, max_size=80))
def test_no_bytes_make_it_fail(one, other):
    for first in (2, 4, 5):
        one, other = bytes([first]) + one[1:], bytes([first]) + other[1:]
        assert payload.equal(one, one)
        assert payload.equal(one, other) == payload.equal(other, one)
