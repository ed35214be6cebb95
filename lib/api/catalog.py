"""What the migrated database holds, read from PostgreSQL's catalog and kept for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """A value that is loaded once for many callers, and again when it is ``seconds`` old."""

    def __init__(self, load: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._load = load
        self._seconds = seconds
        self._value: T | None = None
        self._loaded_at = 0.0
        self._lock = asyncio.Lock()

    async def get(self, at_most: float | None = None) -> T:
        """The value, no older than ``at_most`` seconds; raises what loading raises."""
        oldest = self._seconds if at_most is None else at_most
        if self._value is not None and time.monotonic() - self._loaded_at < oldest:
            return self._value
        async with self._lock:
            if self._value is None or time.monotonic() - self._loaded_at >= oldest:
                self._value = await self._load()
                self._loaded_at = time.monotonic()
            return self._value
