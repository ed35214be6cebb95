"""A socket of this machine whose connections end at an AlloyDB instance, by Google's connector.

The connector itself gives connections of some drivers, and no bytes for others such as pg_dump.
So its parts are put together here: its client asks for addresses and certificate, its cache keeps
them and renews the certificate, its TLS context dials; the metadata exchange is ours.
"""

import asyncio
import contextlib
import shutil
import ssl
import struct
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from lib.cloud.clients import Clients
from lib.cloud.errors import CloudError, Precondition, Situation, Unavailable, told
from lib.cloud.operations import patiently
from lib.piping import CHUNK, passed_on

PROXY_PORT = 5433
SOCKET_PORT = 5432
DIAL_SECONDS = 30.0
_STARTUP_BYTES = 1 << 16

T = TypeVar("T")


class Tunnel:
    """PostgreSQL's own kind of socket in a folder that this user alone may enter.

    ``host`` is the folder, ``port`` the number in the socket's name, as clients of PostgreSQL
    take them.  TLS begins in this process, so that ``sslmode`` is "disable" on the socket.
    ``endpoint`` is an address to go to instead of looking the instance's name up in DNS.
    """

    port = SOCKET_PORT

    def __init__(
        self, clients: Clients, project: str, instance: str, ip_type: str, endpoint: str = ""
    ) -> None:
        self._clients = clients
        self._instance = instance
        self._ip_type = ip_type
        self._endpoint = endpoint
        kind = clients.target.kind
        self._situation = Situation(f"connection to {instance.rpartition('/')[2]}", project, kind)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tunnel", daemon=True)
        self._folder = Path(tempfile.mkdtemp(prefix="alloydb-"))
        self._cache: Any = None

    @property
    def host(self) -> str:
        """The folder of the socket."""
        return str(self._folder)

    def open(self) -> None:
        """Reach the instance once, then listen (network); raises ``CloudError`` kinds."""
        self._thread.start()
        try:
            self._run(self._open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Listen no more; connections that are open break."""
        if self._thread.is_alive():
            self._run(_ended())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if not self._loop.is_closed():
            self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        from google.cloud.alloydbconnector.client import AlloyDBClient
        from google.cloud.alloydbconnector.lazy import LazyRefreshCache
        from google.cloud.alloydbconnector.utils import generate_keys

        api: Any = _Api(self._clients, self._situation)
        with told(self._situation):
            credentials = self._clients.login_credentials()
        client = AlloyDBClient("", None, credentials, client=api, driver="psycopg")
        keys = asyncio.ensure_future(generate_keys())
        self._cache = LazyRefreshCache(self._instance, client, keys)
        _, writer = await self._dial()
        writer.close()
        path = self._folder / f".s.PGSQL.{SOCKET_PORT}"
        await asyncio.start_unix_server(self._serve, str(path), limit=CHUNK, backlog=128)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; where the instance is not reached, its client is told why."""
        # Closing cancels this; from a cancelled one Python 3.11 would print a traceback.
        ended = (OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ended):
            try:
                upstream = await self._dial()
            except CloudError as error:
                await reader.read(_STARTUP_BYTES)
                writer.write(_refusal(f"{error.what} {error.remedy or ''}".strip()))
                await writer.drain()
            else:
                await passed_on(reader, writer, *upstream)
        writer.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the instance's proxy that PostgreSQL may be spoken on."""
        from google.cloud.alloydbconnector.enums import IPTypes
        from google.cloud.alloydbconnector.exceptions import IPTypeNotFoundError

        with told(self._situation):
            info = await self._cache.connect_info()
        try:
            address = info.get_preferred_ip(IPTypes(self._ip_type))
        except IPTypeNotFoundError as error:
            raise Precondition(
                f"{self._instance} has no address of the type {self._ip_type}.",
                expected="an instance that was made with one",
                remedy="correct ip_type under [alloydb] in the environment file",
            ) from error
        context = await info.create_ssl_context()
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                reader, writer = await asyncio.open_connection(
                    self._endpoint or address, PROXY_PORT,
                    ssl=context, server_hostname=address, limit=CHUNK,
                )  # fmt: skip
                await self._introduce(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            await self._cache.force_refresh()
            raise self._unreached(self._endpoint or address, error) from error
        return reader, writer

    async def _introduce(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The metadata exchange: who asks, by which token; raises ``CloudError`` kinds."""
        import google.cloud.alloydb_connectors_v1.proto.resources_pb2 as exchanged

        with told(self._situation):
            token = await asyncio.to_thread(self._clients.login_token)
        request = exchanged.MetadataExchangeRequest(
            user_agent="ai-orchestra-migration",
            auth_type=exchanged.MetadataExchangeRequest.DB_NATIVE,
            oauth2_token=token,
        )
        body = request.SerializeToString()
        writer.write(struct.pack("!I", len(body)) + body)
        await writer.drain()
        (size,) = struct.unpack("!I", await reader.readexactly(4))
        answer = exchanged.MetadataExchangeResponse.FromString(await reader.readexactly(size))
        if answer.response_code != exchanged.MetadataExchangeResponse.OK:
            writer.close()
            raise Precondition(
                f"The proxy of {self._instance} refuses the connection: {answer.error}.",
                expected="the right to connect",
                remedy="grant roles/alloydb.client to whoever runs the migration",
            )

    def _unreached(self, address: str, error: Exception) -> CloudError:
        said = str(error) or type(error).__name__
        if isinstance(error, ssl.SSLError):
            said = f"TLS fails: {said}"
        return Unavailable(
            f"The proxy of {self._instance} at {address}:{PROXY_PORT} can't be reached: {said}.",
            expected="a machine inside the network, and port 5433 open to it",
            remedy="run inside the network (docs/google-cloud.md), or correct ip_type under "
            "[alloydb]",
        )


class _Api:
    """The two calls that the connector's client makes, without keeping its loop waiting."""

    def __init__(self, clients: Clients, situation: Situation) -> None:
        self._clients = clients
        self._situation = situation

    async def get_connection_info(self, request: Any) -> Any:
        """The addresses of the instance."""
        return await asyncio.to_thread(self._ask, "get_connection_info", request)

    async def generate_client_certificate(self, request: Any) -> Any:
        """A certificate for our key."""
        return await asyncio.to_thread(self._ask, "generate_client_certificate", request)

    def _ask(self, method: str, request: Any) -> Any:
        polling = self._clients.target.polling
        with told(self._situation):
            call = getattr(self._clients.get("alloydb_connections"), method)
            return call(request=request, retry=patiently(polling), timeout=polling.call)


async def _ended() -> None:
    """End every other task of the loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _refusal(text: str) -> bytes:
    """PostgreSQL's message that the connection failed (08006)."""
    fields = (b"SFATAL", b"VFATAL", b"C08006", b"M" + text.encode())
    body = b"".join(each + b"\0" for each in fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body
