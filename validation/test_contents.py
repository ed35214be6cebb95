"""Source and target hold the same, row by row and key by key."""

import pytest

pytestmark = [pytest.mark.validation, pytest.mark.benchmark(group="contents")]


def test_rows_agree(contents, benchmark):
    """Every row, sequence and large object of the source is on the target as it was."""
    if contents.relational is None:
        pytest.skip("no PostgreSQL source: no rows to compare")
    benchmark.pedantic(contents.require_equal_rows, rounds=1)


def test_keys_agree(contents, benchmark):
    """Every Redis key of the source is on the target as it was."""
    if contents.keyspace is None:
        pytest.skip("no Redis source: no keys to compare")
    benchmark.pedantic(contents.require_equal_keys, rounds=1)
