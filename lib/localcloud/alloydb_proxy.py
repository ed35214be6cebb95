"""AlloyDB's proxy before an instance: mutual TLS on port 5433, the metadata exchange, PostgreSQL.

``python -m lib.localcloud.alloydb_proxy STATE INSTANCE CA SERVER_PEM SERVER_KEY HOST...`` serves
Google's own connectors on every HOST until it is ended; the first HOST is where the instance's
PostgreSQL listens.
"""

import asyncio
import contextlib
import ipaddress
import logging
import ssl
import struct
import sys
from pathlib import Path
from typing import Any, Final

import google.cloud.alloydb_connectors_v1.proto.resources_pb2 as exchanged
from google.protobuf.message import DecodeError

from lib.localcloud.alloydb_admission import Admission, Identity, Refused
from lib.localcloud.alloydb_wire import (
    Startup,
    ask_password,
    log_in,
    read_password,
    read_startup,
    refusal,
)
from lib.piping import CHUNK, passed_on

log = logging.getLogger(__name__)

PORT: Final = 5433
DATABASE_PORT: Final = 5432
EXCHANGE_SECONDS: Final = 30.0
LARGEST_EXCHANGE: Final = 1 << 16
Request: Final = exchanged.MetadataExchangeRequest
Response: Final = exchanged.MetadataExchangeResponse


class Proxy:
    """The proxy of one instance."""

    def __init__(self, admission: Admission, database: str) -> None:
        self._admission = admission
        self._database = database

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client whose certificate the TLS layer has accepted."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            try:
                async with asyncio.timeout(EXCHANGE_SECONDS):
                    upstream = await self._admit(reader, writer)
                if upstream is not None:
                    await passed_on(reader, writer, *upstream)
            except Refused as error:
                log.info("refused: %s", error)
                writer.write(refusal(error.state, str(error)))
                await writer.drain()
        writer.close()

    async def _admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A session of the database, once the client may have one; None where it may not."""
        shown = Identity.of(writer.get_extra_info("peercert"))
        token = None
        if shown.exchanges:
            answer, token = await self._exchanged(reader)
            writer.write(_framed(answer))
            await writer.drain()
            if answer.response_code != Response.OK:
                return None
            startup = await read_startup(reader, writer)
        else:
            startup = await read_startup(reader, writer)
            self._admission.require_connect(shown.principal)
        return await self._session(startup, token, reader, writer)

    async def _exchanged(self, reader: asyncio.StreamReader) -> tuple[Any, str | None]:
        """The answer to a metadata exchange, and the token where it is to log in with."""
        request = Request()
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        try:
            if size > LARGEST_EXCHANGE:
                raise Refused("the metadata exchange request is too large")
            request.ParseFromString(await reader.readexactly(size))
            automatic = request.auth_type == Request.AUTO_IAM
            if not automatic and request.auth_type != Request.DB_NATIVE:
                raise Refused("the authentication type is neither DB_NATIVE nor AUTO_IAM")
            principal = self._admission.principal(request.oauth2_token)
            self._admission.require_connect(principal)
            if automatic:
                self._admission.require_iam()
        except (Refused, DecodeError) as error:
            log.info("exchange refused: %s", error)
            return Response(response_code=Response.ERROR, error=str(error)), None
        return Response(response_code=Response.OK), request.oauth2_token if automatic else None

    async def _session(
        self,
        startup: Startup,
        token: str | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A session of PostgreSQL; for an IAM user the proxy logs in, others do it themselves."""
        secret = self._admission.login(startup.user)
        if secret is None and token is not None:
            raise Refused(f'"{startup.user}" is no IAM user of the cluster')
        if secret is not None:
            if token is None:
                await ask_password(writer)
                token = await read_password(reader)
            self._admission.require_login(token, startup.user)
        upstream = await asyncio.open_connection(self._database, DATABASE_PORT)
        upstream[1].write(startup.message)
        if secret is not None:
            writer.write(await log_in(*upstream, secret))
        return upstream


def _framed(message: Any) -> bytes:
    body: bytes = message.SerializeToString()
    return struct.pack("!I", len(body)) + body


def context(authority: str, certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.3 with a certificate from the cluster's authority on both sides."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_3
    found.load_cert_chain(certificate, key)
    found.load_verify_locations(authority)
    found.verify_mode = ssl.CERT_REQUIRED
    return found


async def serve(hosts: list[str], proxy: Proxy, tls: ssl.SSLContext) -> None:
    """Serve until the process is ended."""
    for host in hosts:
        if not ipaddress.ip_address(host).is_loopback:
            sys.exit(f"{host} is not a loopback address")
    servers = [
        await asyncio.start_server(proxy.serve, host, PORT, ssl=tls, limit=CHUNK, backlog=512)
        for host in hosts
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Run with uvloop."""
    import uvloop

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state, instance, authority, certificate, key, *hosts = sys.argv[1:]
    proxy = Proxy(Admission(Path(state), instance), hosts[0])
    uvloop.run(serve(hosts, proxy, context(authority, certificate, key)))


if __name__ == "__main__":
    main()
