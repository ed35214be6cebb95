"""The API's configuration, read from environment variables alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.errors import SettingsError

_SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class ConfigurationError(SettingsError):
    """An environment variable is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class DatabaseConfiguration:
    """Where PostgreSQL is and how much of it the API uses; times in seconds."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)
    sslmode: str
    pool_size: int
    connect_timeout: float
    statement_timeout: float


@dataclass(frozen=True, slots=True)
class RedisConfiguration:
    """Where the cache is; an empty ``host`` means that there is none.  Times in seconds.

    ``authorities`` (PEM) sign the certificates of this server and of no other (``tls`` only).
    """

    host: str
    port: int
    password: str = field(repr=False)
    tls: bool
    authorities: str
    pool_size: int
    timeout: float
    entry_seconds: int


@dataclass(frozen=True, slots=True)
class BreakerConfiguration:
    """When the breaker before the database opens, and for how many seconds."""

    failure_rate: float
    window: int
    minimum_calls: int
    open_seconds: float
    trial_calls: int


@dataclass(frozen=True, slots=True)
class VertexConfiguration:
    """Vertex AI as the backend of vector search; times in seconds.

    ``endpoint``, ``ca`` and ``token`` are those of an embedded cloud, which tells them to what it
    runs; on Google they are empty, and the service's own identity is asked for.
    """

    enabled: bool
    project: str
    region: str
    timeout: float
    sync_seconds: float
    endpoint: str
    ca: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that the process is told; no secret in its repr."""

    host: str
    port: int
    token: str = field(repr=False)
    database: DatabaseConfiguration
    redis: RedisConfiguration
    breaker: BreakerConfiguration
    vertex: VertexConfiguration
    log_level: str
    max_body_bytes: int
    shutdown_seconds: int

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Configuration":
        """Read every variable; raises ``ConfigurationError`` for the first wrong one."""
        read = _Reader(environ)
        return cls(
            host=read.text("HOST", "0.0.0.0"),
            port=read.integer("PORT", 8080, 0, 65535),
            token=_token(read),
            database=_database(read),
            redis=_redis(read),
            breaker=BreakerConfiguration(
                failure_rate=read.number("BREAKER_FAILURE_RATE", 50, 1, 100),
                window=read.integer("BREAKER_WINDOW", 20, 1, 10_000),
                minimum_calls=read.integer("BREAKER_MINIMUM_CALLS", 5, 1, 10_000),
                open_seconds=read.number("BREAKER_OPEN_SECONDS", 2, 0.05, 600),
                trial_calls=read.integer("BREAKER_TRIAL_CALLS", 2, 1, 100),
            ),
            vertex=_vertex(read),
            log_level=read.choice("LOG_LEVEL", "INFO", _LOG_LEVELS),
            max_body_bytes=read.integer("MAX_BODY_BYTES", 1 << 20, 1024, 32 << 20),
            shutdown_seconds=read.integer("SHUTDOWN_SECONDS", 8, 1, 600),
        )


def _database(read: "_Reader") -> DatabaseConfiguration:
    return DatabaseConfiguration(
        host=read.required("DATABASE_HOST"),
        port=read.integer("DATABASE_PORT", 5432, 1, 65535),
        name=read.required("DATABASE_NAME"),
        user=read.required("DATABASE_USER"),
        password=read.text("DATABASE_PASSWORD", ""),
        sslmode=read.choice("DATABASE_SSLMODE", "prefer", _SSL_MODES),
        pool_size=read.integer("DATABASE_POOL_SIZE", 10, 1, 500),
        connect_timeout=read.number("DATABASE_CONNECT_TIMEOUT", 2, 0.05, 60),
        statement_timeout=read.number("DATABASE_STATEMENT_TIMEOUT", 5, 0.05, 600),
    )


def _redis(read: "_Reader") -> RedisConfiguration:
    return RedisConfiguration(
        host=read.text("REDIS_HOST", ""),
        port=read.integer("REDIS_PORT", 6379, 1, 65535),
        password=read.text("REDIS_PASSWORD", ""),
        tls=read.flag("REDIS_TLS", False),
        authorities=read.text("REDIS_CA", ""),
        pool_size=read.integer("REDIS_POOL_SIZE", 32, 1, 1000),
        timeout=read.number("REDIS_TIMEOUT", 0.25, 0.01, 10),
        entry_seconds=read.integer("CACHE_SECONDS", 60, 1, 3600),
    )


def _vertex(read: "_Reader") -> VertexConfiguration:
    enabled = read.choice("SEARCH_BACKEND", "alloydb", ("alloydb", "vertex")) == "vertex"
    return VertexConfiguration(
        enabled=enabled,
        project=read.required("VERTEX_PROJECT") if enabled else "",
        region=read.required("VERTEX_REGION") if enabled else "",
        timeout=read.number("VERTEX_TIMEOUT", 1, 0.01, 60),
        sync_seconds=read.number("VERTEX_SYNC_SECONDS", 1, 0.05, 600),
        endpoint=read.text("EMBEDDED_CLOUD_ENDPOINT", ""),
        ca=read.text("EMBEDDED_CLOUD_CA", ""),
        token=read.text("EMBEDDED_CLOUD_TOKEN", ""),
    )


def _token(read: "_Reader") -> str:
    token = read.text("API_TOKEN", "")
    if not token and not read.flag("API_ALLOW_ANONYMOUS", False):
        raise ConfigurationError(
            "API_TOKEN is not set, so anybody could call the API.",
            expected="the bearer token that callers must send, from a secret",
            remedy="set API_TOKEN, or API_ALLOW_ANONYMOUS=true where that is meant",
        )
    if not token.isascii() or any(not 33 <= ord(each) <= 126 for each in token):
        raise ConfigurationError(
            "API_TOKEN holds a character that no HTTP header can carry.",
            expected="printable ASCII without spaces or line ends",
            remedy="store the secret without a trailing line end",
        )
    return token


class _Reader:
    """Typed reading of environment variables; an empty one counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name) or default

    def required(self, name: str) -> str:
        value = self.text(name, "")
        if not value:
            raise ConfigurationError(f"{name} is not set.", remedy=f"set {name}")
        return value

    def choice(self, name: str, default: str, accepted: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in accepted:
            raise _wrong(name, value, "one of " + ", ".join(accepted))
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name, "true" if default else "false").lower()
        if value not in ("true", "false"):
            raise _wrong(name, value, "true or false")
        return value == "true"

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        value = self.text(name, str(default))
        expected = f"a whole number from {least} to {most}"
        if not (value.isascii() and value.isdigit() and len(value) < 12):
            raise _wrong(name, value, expected)
        if not least <= int(value) <= most:
            raise _wrong(name, value, expected)
        return int(value)

    def number(self, name: str, default: float, least: float, most: float) -> float:
        value = self.text(name, str(default))
        expected = f"a number from {least} to {most}"
        try:
            number = float(value)
        except ValueError as error:
            raise _wrong(name, value, expected) from error
        if not least <= number <= most:
            raise _wrong(name, value, expected)
        return number


def _wrong(name: str, value: str, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {value!r}.", expected=expected, remedy=f"correct {name}")
