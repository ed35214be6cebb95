"""Every kind of object that a move must bring over, as kinds.sql has them.

A kind is made in a schema of its own.  Its probe, its own or a common one, gives rows that must be
equal on both sides, and at least one.  ``-- then`` parts what can't be made in one transaction.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

from lib.postgres.database import Database

ROLES = ("kind_user", "kind_group")
_TEXT = (Path(__file__).parent / "kinds.sql").read_text()
_PROBE = re.compile(r"^-- probe: (.+)\n((?:(?!-- ).*\n)+)", re.MULTILINE)
_KIND = re.compile(
    r"^-- kind: (?P<name>.+?)(?: \(since (?P<since>\d+)\))?\n(?P<make>(?:.*\n)+?)"
    r"-- shown by ?(?P<common>.*)\n(?P<own>(?:(?!-- ).*\n)*)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Kind:
    """One kind of object, known from version ``since`` of PostgreSQL on."""

    name: str
    since: int
    parts: tuple[str, ...]
    probe: str

    @property
    def schema(self) -> str:
        """The schema that it is made in."""
        return "kind_" + re.sub(r"\W", "_", self.name)


def _read() -> tuple[Kind, ...]:
    probes = dict(_PROBE.findall(_TEXT))
    return tuple(
        Kind(
            found["name"],
            int(found["since"] or 12),
            tuple(found["make"].split("-- then\n")),
            found["own"].strip() or probes[found["common"]],
        )
        for found in _KIND.finditer(_TEXT)
    )


KINDS = _read()


def known(version: int) -> list[Kind]:
    """The kinds that a server of that version knows."""
    return [kind for kind in KINDS if kind.since <= version]


def make(database: Database, version: int) -> None:
    """Make all that the version knows, and the roles they need."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"create role {role} login".encode())
        connection.execute("grant kind_group to kind_user")
        for kind in known(version):
            connection.execute(f"create schema {kind.schema}".encode())
            connection.execute(f"set search_path = {kind.schema}, public".encode())
            for part in kind.parts:
                try:
                    connection.execute(part.encode())
                except psycopg.Error as error:
                    raise AssertionError(f"{kind.name}: {error}") from error


def shown(database: Database, kind: Kind) -> list[tuple[object, ...]]:
    """The rows of the kind's probe."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"set search_path = {kind.schema}, public".encode())
        return connection.execute(kind.probe.encode()).fetchall()
