"""TLS before a server that has none: ends it, and passes the bytes on.

``python -m lib.localcloud.tls_front HOST PORT INNER_HOST INNER_PORT CERTIFICATE KEY``.
"""

import asyncio
import ipaddress
import ssl
import sys
from dataclasses import dataclass

from lib.localcloud.frontend import Incoming


@dataclass(frozen=True, slots=True)
class Inner:
    """The server behind."""

    host: str
    inner_port: int

    def port(self) -> int:
        """Its port."""
        return self.inner_port


async def serve(host: str, port: int, inner: Inner, tls: ssl.SSLContext) -> None:
    """Serve until the process is ended."""
    for each in (host, inner.host):
        if not ipaddress.ip_address(each).is_loopback:
            sys.exit(f"{each} is not a loopback address")
    server = await asyncio.get_running_loop().create_server(
        lambda: Incoming(inner, apology=b""), host, port, ssl=tls, backlog=512
    )
    await server.serve_forever()


def main() -> None:
    """Run with uvloop."""
    import uvloop

    host, port, inner_host, inner_port, certificate, key = sys.argv[1:]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(certificate, key)
    uvloop.run(serve(host, int(port), Inner(inner_host, int(inner_port)), tls))


if __name__ == "__main__":
    main()
