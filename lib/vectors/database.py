"""Where the vectors are: a DSN and a password, and connections made from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg
from psycopg import conninfo

from lib.errors import SettingsError
from lib.vectors.errors import DatabaseUnreachable, VectorError

Connection: TypeAlias = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class VectorDatabase:
    """A PostgreSQL or AlloyDB database, given as libpq takes it (URL or ``key=value`` pairs).

    The password is kept apart and never shown; one inside ``dsn`` is moved out of it.
    """

    dsn: str
    password: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        try:
            parts: dict[str, Any] = conninfo.conninfo_to_dict(self.dsn)
        except psycopg.ProgrammingError as error:
            raise SettingsError(
                "The address of the vector database can't be read.",
                expected="postgresql://user@host:port/database",
                remedy="correct the URL",
            ) from error
        inside = parts.pop("password", None)
        object.__setattr__(self, "dsn", conninfo.make_conninfo("", **parts))
        object.__setattr__(self, "password", self.password or str(inside or ""))

    @property
    def address(self) -> str:
        """``host:port/name``, as messages name the database."""
        parts = conninfo.conninfo_to_dict(self.dsn)
        return f"{parts.get('host', '')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"

    def connect(self, **options: Any) -> Connection:
        """A new autocommit connection; raises ``DatabaseUnreachable`` or ``VectorError``."""
        if self.password:
            options["password"] = self.password
        try:
            return psycopg.connect(self.dsn, autocommit=True, connect_timeout=10, **options)
        except psycopg.OperationalError as error:
            raise self.failure(error) from error

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection for a while; its errors come out as ``VectorError`` kinds."""
        with self.connect() as connection:
            try:
                yield connection
            except psycopg.Error as error:
                raise self.failure(error) from error

    def failure(self, error: psycopg.Error) -> VectorError:
        """The expected failure that an error of the driver stands for."""
        text = str(error).strip().partition("\n")[0]
        lost = isinstance(error, psycopg.OperationalError) and (
            error.sqlstate is None or error.sqlstate[:2] in ("08", "57")
        )
        refused = "authentication" in text or "no password supplied" in text
        if lost and not refused:
            return DatabaseUnreachable(
                f"The database {self.address} can't be reached: {text}",
                expected="a server that accepts connections there",
                remedy="start it, or check host, port, firewall and network; then run again",
            )
        return VectorError(
            f"The database {self.address} refused: {text}",
            remedy="grant the user what is missing, or correct user and password; then run again",
        )
