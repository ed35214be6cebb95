"""Key-value memories: PostgreSQL holds the truth, Redis what was read or written lately.

A memory is passed on as the JSON document that PostgreSQL made of its row, so that an answer is
the same bytes whether it came from the cache or not.
"""

import base64
import logging
from dataclasses import dataclass

from lib.api.cache import Cache
from lib.api.database import Database
from lib.api.errors import ApiError, Refused
from lib.api.metrics import Metrics
from lib.api.values import json_text, key_prefix, lifetime, memory_key

log = logging.getLogger(__name__)

_DOCUMENT = """
json_build_object('key', m.key, 'value', m.value, 'version', m.version,
    'updated_at', m.updated_at, 'expires_at', m.expires_at)::text as document,
ceil(extract(epoch from m.expires_at - now()) * 1000)::bigint as milliseconds
"""
_GET = f"""
select {_DOCUMENT} from orchestra.kv_memories m
where m.key = $1 and (m.expires_at is null or m.expires_at > now())
"""  # noqa: S608
_SET = f"""
with noted as (insert into orchestra.kv_cache_repairs (key) select $1::text where $4::boolean)
insert into orchestra.kv_memories as m (key, value, expires_at)
values ($1::text, $2::text::jsonb, now() + $3::float8 * interval '1 second')
on conflict (key) do update set value = excluded.value, expires_at = excluded.expires_at,
    updated_at = now(), version = nextval('orchestra.kv_memories_version')
returning {_DOCUMENT}
"""  # noqa: S608
_DELETE = """
with noted as (insert into orchestra.kv_cache_repairs (key) select $1::text where $2::boolean)
delete from orchestra.kv_memories where key = $1
returning expires_at is null or expires_at > now()
"""
_LIST = f"""
select m.key, {_DOCUMENT} from orchestra.kv_memories m
where m.key ^@ $1 and m.key > $2 and (m.expires_at is null or m.expires_at > now())
order by m.key limit $3
"""  # noqa: S608
_REPAIRS = "select id, key from orchestra.kv_cache_repairs order by id limit 1000"
_REPAIRED = "delete from orchestra.kv_cache_repairs where id = any($1::bigint[])"
_EXPIRED = """
delete from orchestra.kv_memories where key in (
    select key from orchestra.kv_memories where expires_at <= now()
    limit 1000 for update skip locked) and expires_at <= now()
"""


@dataclass(frozen=True, slots=True)
class Page:
    """Documents in the order of their keys, and where the next page begins (empty: nowhere)."""

    documents: list[str]
    next_cursor: str


class Memories:
    """Set, get, list and delete memories."""

    def __init__(self, database: Database, cache: Cache, metrics: Metrics) -> None:
        self._database = database
        self._cache = cache
        self._metrics = metrics

    async def get(self, key: str) -> bytes | None:
        """The document of a memory that has not expired, or None."""
        look = await self._cache.look(memory_key(key))
        if look is not None and look.entry is not None:
            self._metrics.cache("hit")
            return look.entry
        self._metrics.cache("unavailable" if look is None else "miss")
        row = await self._database.fetchrow(_GET, key)
        if row is None:
            return None
        document: bytes = row["document"].encode()
        if look is not None and look.lease:
            await self._cache.fill(key, look.lease, document, row["milliseconds"])
        return document

    async def set(self, key: str, value: object, ttl_seconds: float | None) -> bytes:
        """Store a value under a key, new or not; returns its document."""
        text, seconds = json_text(value), lifetime(ttl_seconds)
        token = await self._cache.begin(memory_key(key))
        row = await self._database.fetchrow(_SET, key, text, seconds, self._unannounced(token))
        document: bytes = row["document"].encode()
        await self._publish(key, token, document, row["milliseconds"])
        return document

    async def delete(self, key: str) -> bool:
        """Delete a memory; says whether there was one that had not expired."""
        token = await self._cache.begin(memory_key(key))
        existed = await self._database.fetchval(_DELETE, key, self._unannounced(token))
        await self._publish(key, token, b"", None)
        return bool(existed)

    async def list(self, prefix: str, limit: int, cursor: str = "") -> Page:
        """Up to ``limit`` memories whose key begins with ``prefix``; always from PostgreSQL."""
        after = _after(cursor)
        rows = await self._database.fetch(_LIST, key_prefix(prefix), after, limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        next_cursor = _cursor(rows[-1]["key"]) if more else ""
        return Page([row["document"] for row in rows], next_cursor)

    async def repair(self) -> None:
        """Remove from the cache what was written while it could not be told; delete expired."""
        while repairs := await self._database.fetch(_REPAIRS):
            await self._cache.forget([row["key"] for row in repairs])
            await self._database.fetch(_REPAIRED, [row["id"] for row in repairs])

    async def expire(self) -> None:
        """Delete up to a thousand memories whose time is over; never raises."""
        try:
            await self._database.fetch(_EXPIRED)
        except ApiError as error:
            log.warning("expired memories stay for now: %s", type(error).__name__)

    def _unannounced(self, token: str) -> bool:
        """Whether a cache exists that was not told of a write: then PostgreSQL notes it."""
        return not token and self._cache.state != "none"

    async def _publish(
        self, key: str, token: str, document: bytes, milliseconds: int | None
    ) -> None:
        if token:
            await self._cache.end(key, token, document, milliseconds)
        elif self._cache.state == "up":
            # The cache came back while this was written: its repair may have been too early.
            await self._cache.forget_now(key)


def _cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _after(cursor: str) -> str:
    try:
        key = base64.urlsafe_b64decode(cursor.encode("ascii")).decode()
    except ValueError as error:
        raise Refused("The cursor is not one that this API gave.") from error
    return key_prefix(key)
