"""Redis before PostgreSQL: entries that never outlive the truth.

Three keys belong to a memory.  ``entry`` holds what readers get.  ``writers`` is a sorted set of
the writes under way (score: when each is given up); while it is not empty, nobody reads or fills
the entry.  ``lease`` is the right of one reader to fill the entry with what it is about to read;
every write takes it away.  So an entry can only hold what was true after the last write that
began, wherever a process dies.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis.asyncio as redis
from redis.asyncio.connection import BlockingConnectionPool, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from lib.api.configuration import RedisConfiguration

log = logging.getLogger(__name__)

_PREFIX = "orchestra:kv:"
_NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000); "
_LOOK = (
    _NOW
    + """
local entry = redis.call('GET', KEYS[1])
if entry then return {1, entry} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('EXISTS', KEYS[2]) == 1 then return {0, false} end
if redis.call('SET', KEYS[3], ARGV[1], 'NX', 'PX', ARGV[2]) then return {0, ARGV[1]} end
return {0, false}
"""
)
_FILL = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[3])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
_BEGIN = (
    _NOW
    + """
redis.call('DEL', KEYS[1], KEYS[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local until_ = now + ARGV[2]
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('ZADD', KEYS[2], until_, 'contended') end
redis.call('ZADD', KEYS[2], until_, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""
)
_END = """
local alone = redis.call('ZREM', KEYS[2], ARGV[1]) == 1 and redis.call('EXISTS', KEYS[2]) == 0
if redis.call('ZCARD', KEYS[2]) == 1 and redis.call('ZSCORE', KEYS[2], 'contended') then
  redis.call('DEL', KEYS[2])
end
if alone and ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What the cache said: an ``entry``, or else perhaps a ``lease`` to fill it."""

    entry: bytes | None = None
    lease: str = ""


class Cache:
    """Redis, used only while it is known to hold nothing stale.

    One failed command sets it aside; ``watch`` takes it back after the repairs that were noted
    in PostgreSQL meanwhile are done.  ``guard_seconds`` must exceed the longest statement.
    """

    def __init__(self, configuration: RedisConfiguration, guard_seconds: float) -> None:
        self._about = configuration
        self._guard = int(guard_seconds * 1000)
        self._configured = bool(configuration.host)
        self._client: Any = _client(configuration)  # connects when first used
        self._trusted = False
        self._changed = asyncio.Event()
        script = self._client.register_script
        self._look, self._fill = script(_LOOK), script(_FILL)
        self._begin, self._end = script(_BEGIN), script(_END)

    @property
    def state(self) -> str:
        """``up``, ``down`` or ``none`` (not configured)."""
        if not self._configured:
            return "none"
        return "up" if self._trusted else "down"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def look(self, key: str) -> Look | None:
        """The entry of a key, or the right to fill it; None when the cache is set aside."""
        token = uuid4().hex
        answer = await self._try(self._look, key, token, self._guard)
        if answer is None:
            return None
        found, value = answer
        if found:
            return Look(entry=value)
        return Look(lease=token if value else "")

    async def fill(self, key: str, lease: str, entry: bytes, milliseconds: int | None) -> None:
        """Store what was read, if no write began since the lease was given."""
        await self._try(self._fill, key, lease, entry, self._lifetime(milliseconds))

    async def begin(self, key: str) -> str:
        """Announce a write; its token, or empty when the cache is set aside."""
        token = uuid4().hex
        begun = await self._try(self._begin, key, token, self._guard)
        return token if begun is not None else ""

    async def end(self, key: str, token: str, entry: bytes, milliseconds: int | None) -> None:
        """A write is committed: publish its entry (if it was alone), or nothing when empty."""
        await self._try(self._end, key, token, entry, self._lifetime(milliseconds))

    async def forget(self, keys: Sequence[str]) -> None:
        """Remove entries and leases; raises Redis' own error when it does not answer."""
        names = [name for key in keys for name in (_names(key)[0], _names(key)[2])]
        if names:
            await self._client.delete(*names)

    async def forget_now(self, key: str) -> None:
        """Remove one entry; when that fails the cache is set aside."""
        try:
            await self.forget([key])
        except (RedisError, OSError, TimeoutError) as error:
            self._set_aside(error)

    async def watch(self, repair: Callable[[], Awaitable[None]], every: float = 5.0) -> None:
        """Repair and take back the cache, for ever; ``repair`` calls ``forget``.

        While the cache is trusted, repairs that other processes noted are done every ``every``
        seconds.
        """
        if not self._configured:
            return
        pause = 0.25
        while True:
            try:
                await self._client.ping()
                await repair()
                if not self._trusted:
                    log.info("cache is up")
                self._trusted, pause = True, every
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._set_aside(error)
                pause = min(max(pause * 2, 0.5), every) if pause < every else 0.25
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than a moment after the cache was set aside."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):  # wait_for may forget a cancellation
                await self._changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(0.25)

    async def _try(self, script: Any, key: str, *values: object) -> Any:
        if not self._trusted:
            return None
        try:
            return await script(keys=_names(key), args=values)
        except (RedisError, OSError, TimeoutError) as error:
            self._set_aside(error)
            return None

    def _set_aside(self, error: Exception) -> None:
        if self._trusted:
            log.warning("cache is down: %s", type(error).__name__)
            self._trusted = False
            self._changed.set()

    def _lifetime(self, milliseconds: int | None) -> int:
        longest = self._about.entry_seconds * 1000
        return longest if milliseconds is None else max(1, min(longest, milliseconds))


def _names(key: str) -> list[str]:
    return [f"{_PREFIX}entry:{key}", f"{_PREFIX}writers:{key}", f"{_PREFIX}lease:{key}"]


def _client(about: RedisConfiguration) -> Any:
    trust: dict[str, Any] = {}
    if about.tls and about.authorities:
        strict = [ssl.VERIFY_X509_STRICT]
        trust = {"ssl_ca_data": about.authorities, "ssl_exclude_verify_flags": strict}
        trust["ssl_check_hostname"] = False  # nobody else has a certificate of these
    pool = BlockingConnectionPool(
        connection_class=SSLConnection if about.tls else Connection,
        **trust,
        max_connections=about.pool_size,
        timeout=about.timeout,
        host=about.host,
        port=about.port,
        password=about.password or None,
        socket_timeout=about.timeout,
        socket_connect_timeout=about.timeout,
        retry=Retry(NoBackoff(), 0),
    )
    return redis.Redis(connection_pool=pool)
