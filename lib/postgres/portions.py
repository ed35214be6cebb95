"""Rows on their way from one session to another, in portions that are each a whole COPY."""

import asyncio
from collections.abc import AsyncIterator

PORTION_BYTES = 8 << 20
"""How much one COPY brings to the target.

What a COPY writes goes through a ring of 16 MB of the server's buffers; once it is full, each page
is written out by the session itself and is gone from the cache (PostgreSQL's source,
storage/buffer/README, "Buffer Ring Replacement Strategy").  Of a COPY that brings less all pages
stay, and the indexes are built from them.  Rows take up to twice as much there as on the wire.
"""

_BUFFERS = 8
# PostgreSQL's manual, COPY, "Binary Format": signature, flags, length of the extension.
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"


class Portions:
    """What one COPY gives, as several that can be taken; ``bytes`` counts what has passed.

    A buffer holds whole rows, as a server sends one in each message.  At most eight wait.
    """

    def __init__(self, *, binary: bool) -> None:
        self.bytes = 0
        self._binary = binary
        self._buffers: asyncio.Queue[bytes | None] = asyncio.Queue(_BUFFERS)
        self._next: bytes | None = b""  # not asked for yet; None: the end

    async def put(self, buffer: bytes) -> None:
        """Add rows; waits while too many do."""
        await self._buffers.put(buffer)

    async def end(self) -> None:
        """Say that no more rows come."""
        await self._buffers.put(None)

    async def each(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The portions, each to be read to its end before the next; one at least."""
        yield self._portion(b"")
        while self._next is not None:
            yield self._portion(_HEADER if self._binary else b"")

    async def _portion(self, header: bytes) -> AsyncIterator[bytes]:
        if header:
            yield header
        carried = 0
        self._next = self._next or await self._buffers.get()
        while (buffer := self._next) is not None:
            carried += len(buffer)
            self.bytes += len(buffer)
            yield buffer
            # The last buffer brings the source's own trailer: look for another before adding one.
            self._next = await self._buffers.get()
            if carried >= PORTION_BYTES and self._next is not None:
                if self._binary:
                    yield _TRAILER
                return
