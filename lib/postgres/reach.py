"""How a worker on another machine reaches a database: its address, and where the password is.

Values of this module travel to workers, through files and services that others may read: none of
them holds a password.  The worker asks for it where it runs.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lib.postgres.database import Database
from lib.postgres.errors import AuthenticationFailed

Password = Callable[[], str]


@dataclass(frozen=True, slots=True)
class FromEnvironment:
    """A password in an environment variable of the worker; empty where it is not set."""

    variable: str

    def __call__(self) -> str:
        """The password."""
        return os.environ.get(self.variable, "")


@dataclass(frozen=True, slots=True)
class FromFile:
    """A password in a file on the worker, such as a mounted secret."""

    path: str

    def __call__(self) -> str:
        """The password without a line's end; raises ``AuthenticationFailed`` without the file."""
        try:
            return Path(self.path).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise AuthenticationFailed(
                f"A worker can't read the password file {self.path} ({error.strerror}).",
                remedy="put the file on every worker, or name another place for the password",
            ) from error


@dataclass(frozen=True, slots=True)
class Reach:
    """A database as workers see it; ``password`` is called on the worker."""

    database: Database
    password: Password

    def __post_init__(self) -> None:
        object.__setattr__(self, "database", replace(self.database, password=""))

    def resolve(self) -> Database:
        """The database with its password; what ``password`` raises."""
        return replace(self.database, password=self.password())
