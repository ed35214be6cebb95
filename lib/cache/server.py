"""One Redis server: its address, and a connection that sends what it is told and nothing else."""

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

from lib.cache.errors import AccessRefused, ServerRefused, ServerUnreachable
from lib.cache.wire import Argument, Command, Wire
from lib.errors import SettingsError

SERVICE_SAFE = frozenset(
    (
        "APPEND",
        "AUTH",
        "DBSIZE",
        "DEL",
        "DUMP",
        "EXISTS",
        "GET",
        "GETRANGE",
        "HGETALL",
        "HLEN",
        "HPEXPIREAT",
        "HPEXPIRETIME",
        "HSCAN",
        "HSET",
        "LLEN",
        "LRANGE",
        "PEXPIREAT",
        "PEXPIRETIME",
        "PING",
        "PTTL",
        "RENAME",
        "RENAMENX",
        "RESTORE",
        "RPUSH",
        "SADD",
        "SCAN",
        "SCARD",
        "SELECT",
        "SET",
        "SMEMBERS",
        "SSCAN",
        "STRLEN",
        "TIME",
        "TYPE",
        "UNLINK",
        "XADD",
        "XCLAIM",
        "XGROUP",
        "XINFO",
        "XLEN",
        "XPENDING",
        "XRANGE",
        "XSETID",
        "ZADD",
        "ZCARD",
        "ZRANGE",
        "ZSCAN",
    )
)
"""The commands a managed server is sent.  Memorystore blocks CONFIG, CLIENT, OBJECT, MIGRATE,
REPLICAOF, DEBUG, MONITOR, COMMAND, BGSAVE and more; a list of what is allowed can't miss one."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a Redis server listens and how to enter; the password never shows.

    ``ca_file`` is a PEM file that signs the server's certificate (``tls`` only).  ``authorities``
    (PEM) sign the certificates of this server and of no other, so that who has one is the server,
    whatever name it has.  ``managed`` servers are sent nothing but ``SERVICE_SAFE`` commands.
    """

    host: str
    port: int = 6379
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca_file: str = ""
    managed: bool = False
    authorities: str = field(default="", repr=False)

    @classmethod
    def from_url(
        cls,
        url: str,
        password: str = "",
        *,
        ca_file: str = "",
        managed: bool = False,
        authorities: str = "",
    ) -> "Server":
        """Read ``redis[s]://[user[:password]@]host[:port]``; raises ``SettingsError``."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 6379
        except ValueError:
            host, port = None, 0
        if not host or parts.scheme not in ("redis", "rediss"):
            raise SettingsError(
                "The URL of a Redis server can't be read.",
                expected="redis://host:port, or rediss:// for TLS",
                remedy="correct the URL in the environment file",
            )
        return cls(
            host=host,
            port=port,
            username=unquote(parts.username or ""),
            password=password or unquote(parts.password or ""),
            tls=parts.scheme == "rediss",
            ca_file=ca_file,
            managed=managed,
            authorities=authorities,
        )

    @property
    def address(self) -> str:
        """``host:port``, as messages name the server."""
        return f"{self.host}:{self.port}"


class Link:
    """A connection to one logical database; pipelines are sent and read whole.

    Opened lazily; not shared between threads.  Raises ``ServerUnreachable``, ``AccessRefused``
    and, from ``ask``, ``ServerRefused``.
    """

    def __init__(self, server: Server, database: int = 0) -> None:
        self.server = server
        self.database = database
        self._wire: Wire | None = None

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; it opens again when it is used."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands without waiting; ``receive`` as many answers afterwards."""
        if self.server.managed:
            _refuse_unsafe(commands)
        try:
            self._open().send(commands)
        except OSError as error:
            raise self._failure(error) from error

    def receive(self, count: int) -> list[Any]:
        """The next ``count`` answers; an error answer stands in its place as a value."""
        try:
            return self._open().receive(count)
        except OSError as error:
            raise self._failure(error) from error

    def listen(self, seconds: float) -> list[Any]:
        """What the server sends by itself within so many seconds; then what else is there."""
        try:
            return self._open().arrived(seconds)
        except OSError as error:
            raise self._failure(error) from error

    def batch(self, commands: Iterable[Command]) -> list[Any]:
        """Send commands in one pipeline and give their answers; errors stand as values."""
        listed = list(commands)
        if not listed:
            return []
        self.send(listed)
        return self.receive(len(listed))

    def ask(self, *command: Argument) -> Any:
        """Send one command and give its answer."""
        return self.checked(self.batch([command])[0])

    def checked(self, answer: Any) -> Any:
        """The answer, unless it is an error: that is raised."""
        if isinstance(answer, redis.ResponseError):
            raise self._failure(answer) from answer
        return answer

    def _open(self) -> Wire:
        if self._wire is None:
            wire = self._wire = Wire(self.server.host, self.server.port, _tls(self.server))
            greeting = _greeting(self.server, self.database)
            wire.send(greeting)
            try:
                for answer in wire.receive(len(greeting)):
                    self.checked(answer)
            except BaseException:
                self.close()  # or it would be used on, in database 0
                raise
        return self._wire

    def _failure(self, error: Exception) -> Exception:
        """The expected failure that an error of the library or of the server stands for."""
        where = self.server.address
        said = str(error).rstrip(".")
        words = said.partition(" ")[0]
        if words in ("NOAUTH", "WRONGPASS", "NOPERM"):
            self.close()
            return AccessRefused(
                f"The Redis server at {where} refuses access: {said}.",
                expected="a user and password that may read and write every key",
                remedy="correct the user name or the password (source.redis_password_env)",
            )
        if isinstance(error, OSError) or words in ("LOADING", "TRYAGAIN", "MASTERDOWN"):
            self.close()
            return ServerUnreachable(
                f"The Redis server at {where} can't be reached: {said}.",
                expected="a Redis server that accepts connections there",
                remedy="start it, or correct the URL; check firewall and network; then run again",
            )
        if words == "OOM":
            return ServerRefused(
                f"The Redis server at {where} is full: {said}.",
                expected="memory for every key of the source",
                remedy="give the instance more memory (redis.memory_gb), then run again",
            )
        return ServerRefused(f"The Redis server at {where} refused a command: {error}")


def _greeting(server: Server, database: int) -> list[Command]:
    commands: list[Command] = []
    if server.password:
        user = (server.username,) if server.username else ()
        commands.append(("AUTH", *user, server.password))
    if database:
        commands.append(("SELECT", database))
    return commands


def _tls(server: Server) -> ssl.SSLContext | None:
    if not server.tls:
        return None
    context = ssl.create_default_context(
        cafile=server.ca_file or None, cadata=server.authorities or None
    )
    if server.authorities:
        context.check_hostname = False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # not all that services issue would pass
    return context


def _refuse_unsafe(commands: Sequence[Command]) -> None:
    for name in {command[0] for command in commands}:
        if name not in SERVICE_SAFE:
            raise ValueError(f"{name!r} must not be sent to a managed Redis server")
