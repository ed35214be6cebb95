"""Looks at the source: is it reachable, what version is it, how much does it hold."""

from typing import Any

from lib.cache.keyspace import key_counts
from lib.cache.server import Server
from lib.orchestra.checks import SourceFacts
from lib.orchestra.redis_access import RedisAccess
from lib.postgres.database import Database, connect, version


def postgresql_facts(source: Database) -> SourceFacts:
    """Version and size of the source's database; raises what ``connect`` raises."""
    with connect(source) as connection:
        row: Any = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        return SourceFacts(str(version(connection)), int(row[0]))


def redis_keys(source: RedisAccess) -> int:
    """How many keys the source's Redis holds in all its databases; raises ``CacheError`` kinds."""
    return sum(key_counts(Server.from_url(source.url, source.password)).values())
