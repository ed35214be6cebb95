"""A full source of every type, and the clients that tests look through."""

from collections.abc import Iterator

import pytest
import redis

from tests.cache.journal import MemoryJournal


@pytest.fixture
def source(redis_source_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_source_url) as client:
        yield client
        client.config_set("min-replicas-to-write", 0)


@pytest.fixture
def target(redis_target_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_target_url) as client:
        yield client


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()
