"""The schema of a database as pg_dump writes it, entry by entry."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lib.postgres import catalog, failures
from lib.postgres.database import Database, connect, version
from lib.postgres.errors import PostgresError, RestoreFailed, UnsupportedVersion
from lib.postgres.selection import ALL, Selection, left_out

_HEADER = re.compile(
    r"^--\n-- TOC entry (?P<id>\d+) \(class (?P<class>\d+) OID (?P<oid>\d+)\)\n"
    r"(?:-- Dependencies: (?P<needs>[\d ]+)\n)?"
    r"-- Name: (?P<name>.*?); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*?); Owner: .*\n--\n",
    re.MULTILINE,
)
_NOISE = re.compile(
    r"^(\\(un)?restrict .*|SET transaction_timeout = 0;|-- (Started|Completed) on .*)$", re.M
)
_SKIPPED = ("EXTENSION", "SUBSCRIPTION", "PUBLICATION", "MATERIALIZED VIEW DATA")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object, or one comment or grant of it: what pg_dump calls a TOC entry.

    ``classid`` and ``oid`` name the object in the source's catalogue; both are 0 for entries
    that are no objects.  ``needs`` are the ids of entries that must come first.
    """

    id: int
    classid: int
    oid: int
    needs: tuple[int, ...]
    type: str
    schema: str
    name: str
    statements: str

    @property
    def object(self) -> bool:
        """True for what exists or not; comments, grants and the like can be made again."""
        return bool(self.classid and self.oid) and self.type not in ("ROW SECURITY", "DEFAULT ACL")

    @property
    def title(self) -> str:
        """The entry as people name it."""
        place = "" if self.schema == "-" else f"{self.schema}."
        return f"{self.type.lower()} {place}{self.name}"


def find_pg_dump(folder: Path | None = None) -> Path:
    """pg_dump in ``folder``, else on PATH; raises ``PostgresError`` when there is none."""
    found = shutil.which("pg_dump", path=str(folder) if folder else None)
    if found is None:
        raise PostgresError(
            "pg_dump was not found.",
            expected=f"pg_dump in {folder}" if folder else "pg_dump on PATH",
            remedy="install PostgreSQL's client programs",
        )
    return Path(found)


@cache
def program_version(pg_dump: Path) -> int:
    """The major version of a client program."""
    said = subprocess.run([pg_dump, "--version"], capture_output=True, text=True, check=True)
    numbers = re.search(r"\b(\d+)(?:\.\d+|devel|beta|rc)", said.stdout)
    if numbers is None:
        raise PostgresError(f"{pg_dump} does not tell its version: {said.stdout.strip()!r}.")
    return int(numbers[1])


def entries(
    database: Database,
    section: str,
    selection: Selection = ALL,
    *,
    pg_dump: Path | None = None,
    owners: bool = True,
) -> tuple[Entry, ...]:
    """The entries of section ``pre-data`` or ``post-data``, in the order they can be made.

    Extensions, publications and subscriptions are no part of it.  Raises ``UnsupportedVersion``
    when pg_dump is older than the server.
    """
    program = pg_dump or find_pg_dump()
    with connect(database) as connection:
        server = version(connection)
        behind = sorted(left_out(connection, selection))
    client = program_version(program)
    if client < server:
        raise UnsupportedVersion(
            f"{program} is version {client}, the server runs PostgreSQL {server}.",
            expected=f"pg_dump {server} or newer",
            remedy=f"install PostgreSQL {server}'s client programs and name their folder",
        )
    arguments = [
        str(program),
        "--schema-only",
        "--verbose",
        f"--section={section}",
        "--no-tablespaces",
        "--no-publications",
        "--no-subscriptions",
        "--no-password",
        f"--lock-wait-timeout={catalog.PATIENCE}",
        f"--exclude-schema={catalog.BOOKKEEPING_SCHEMA}",
        *(["--no-table-access-method"] if client >= 15 else []),
        *([] if owners else ["--no-owner"]),
        *(f"--exclude-table={_quoted(schema)}.{_quoted(name)}" for schema, name in behind),
    ]
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        env={**os.environ, **database.environment, "LC_ALL": "C", "PGCLIENTENCODING": "UTF8"},
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
    )
    if done.returncode:
        said = " ".join(line for line in done.stderr.splitlines() if "error" in line.lower())
        locked = "timeout" in said  # pg_dump waits for locks alone, and calls it so
        raise RestoreFailed(
            f"pg_dump could not read the schema of {database.url}: {said}",
            remedy=failures.REMEDIES["55P03"]
            if locked
            else "mend what it says; it often is a missing SELECT or USAGE permission",
        )
    return parse(done.stdout)


def parse(script: str) -> tuple[Entry, ...]:
    """The entries of a verbose plain script of pg_dump."""
    headers = list(_HEADER.finditer(script))
    starts = [header.start() for header in headers] + [len(script)]
    found = (
        Entry(
            id=int(header["id"]),
            classid=int(header["class"]),
            oid=int(header["oid"]),
            needs=tuple(int(each) for each in (header["needs"] or "").split()),
            type=header["type"],
            schema=header["schema"],
            name=header["name"],
            statements=_body(script[header.end() : end]),
        )
        for header, end in zip(headers, starts[1:], strict=True)
    )
    return tuple(
        entry
        for entry in found
        if entry.type not in _SKIPPED
        and not (entry.type == "COMMENT" and entry.name.startswith("EXTENSION "))
    )


def _body(text: str) -> str:
    text = text.partition("\n--\n-- PostgreSQL database dump complete")[0]
    return _NOISE.sub("", text).strip()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
