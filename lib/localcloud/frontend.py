"""The stable address of a Cloud Run service: passes connections to the port that serves now.

``python -m lib.localcloud.frontend HOST PORT FILE``; the file has the serving port, and is read
again whenever it was replaced.
"""

import asyncio
import ipaddress
import os
import sys
from typing import Final, Protocol, cast

UNAVAILABLE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class Destination(Protocol):
    """Where connections are passed to."""

    @property
    def host(self) -> str:
        """The address."""

    def port(self) -> int:
        """The port, asked for each connection."""


class Upstream:
    """The port that serves, by the file that says so."""

    def __init__(self, host: str, file: str) -> None:
        self.host = host
        self._file = file
        self._seen: tuple[int, int] = (0, 0)
        self._port = 0

    def port(self) -> int:
        """The present port; a stat for each connection is cheap."""
        found = os.stat(self._file)
        seen = (found.st_ino, found.st_mtime_ns)
        if seen != self._seen:
            with open(self._file) as file:
                self._port = int(file.read())
            self._seen = seen
        return self._port


class Outgoing(asyncio.Protocol):
    """The side of the revision."""

    def __init__(self, incoming: "Incoming") -> None:
        self._incoming = incoming

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what came meanwhile."""
        self._incoming.connected(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        """Pass an answer on."""
        self._incoming.transport.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The revision has closed."""
        self._incoming.transport.close()

    def pause_writing(self) -> None:
        """The revision reads slowly."""
        self._incoming.transport.pause_reading()

    def resume_writing(self) -> None:
        """The revision reads again."""
        self._incoming.transport.resume_reading()


class Incoming(asyncio.Protocol):
    """The side of the client."""

    transport: asyncio.Transport

    def __init__(self, upstream: Destination, apology: bytes = UNAVAILABLE) -> None:
        self._upstream = upstream
        self._apology = apology
        self._outgoing: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the revision that serves."""
        self.transport = cast(asyncio.Transport, transport)
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Outgoing(self), self._upstream.host, self._upstream.port()
            )
        except OSError:
            self.transport.write(self._apology)
            self.transport.close()

    def connected(self, outgoing: asyncio.Transport) -> None:
        """The revision is there."""
        self._outgoing = outgoing
        outgoing.writelines(self._early)
        self._early.clear()
        if self.transport.is_closing():
            outgoing.close()

    def data_received(self, data: bytes) -> None:
        """Pass a request on."""
        if self._outgoing is None:
            self._early.append(data)
        else:
            self._outgoing.write(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client has gone."""
        if self._outgoing is not None:
            self._outgoing.close()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        if self._outgoing is not None:
            self._outgoing.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._outgoing is not None:
            self._outgoing.resume_reading()


async def serve(host: str, port: int, file: str) -> None:
    """Pass connections until the process is ended."""
    if not ipaddress.ip_address(host).is_loopback:
        sys.exit(f"{host} is not a loopback address")
    upstream = Upstream(host, file)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Incoming(upstream), host, port, backlog=512)
    await server.serve_forever()


def main() -> None:
    """Run with uvloop."""
    import uvloop

    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))


if __name__ == "__main__":
    main()
