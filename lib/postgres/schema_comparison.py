"""Whether source and target have the same schema, as pg_dump describes both."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lib.postgres import dialects, dump, existing
from lib.postgres.database import Database, connect, version
from lib.postgres.dump import Entry
from lib.postgres.selection import ALL, Selection

_NOT_NULL = re.compile(r'\bCONSTRAINT (?:"(?:[^"]|"")+"|\S+) NOT NULL\b')


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """One object that differs; a side is None where the object is missing."""

    title: str
    source: str | None
    target: str | None


def compare_schema(
    source: Database,
    target: Database,
    selection: Selection = ALL,
    *,
    pg_dump: Path | None = None,
    owners: bool = True,
    additions: bool = False,
) -> tuple[SchemaDifference, ...]:
    """Every object whose definition, owner, comment or grants differ.

    With ``additions`` the target may hold more: objects and grants that the source lacks.

    One pg_dump describes both sides.  Extensions, vector indexes, foreign keys to tables
    left out and names of NOT NULL are no part of it.  Statements of one object may stand in any
    order; between servers of different versions, the texts that both would write are compared.
    """
    mine = _described(source, selection, pg_dump, owners)
    theirs = _described(target, selection, pg_dump, owners)
    with connect(source) as old, connect(target) as new:
        if version(old) != version(new):
            oldest = min(version(old), version(new))
            mine, theirs = _common(mine, oldest), _common(theirs, oldest)
    return tuple(
        SchemaDifference(title, mine.get(title), theirs.get(title))
        for title in sorted(mine if additions else mine.keys() | theirs.keys())
        if mine.get(title) != theirs.get(title)
        and not (additions and _only_more_grants(title, mine[title], theirs.get(title)))
    )


def _only_more_grants(title: str, mine: str, theirs: str | None) -> bool:
    """Whether every grant of the source is among the target's."""
    is_grants = title.startswith(("acl ", "default acl "))
    return is_grants and set(mine.splitlines()) <= set((theirs or "").splitlines())


def _common(described: dict[str, str], oldest: int) -> dict[str, str]:
    told = {title: dialects.common(title, text, oldest) for title, text in described.items()}
    return {title: text for title, text in told.items() if text}


def _described(
    database: Database, selection: Selection, pg_dump: Path | None, owners: bool
) -> dict[str, str]:
    found: dict[str, list[str]] = defaultdict(list)
    for section in ("pre-data", "post-data"):
        entries = dump.entries(database, section, selection, pg_dump=pg_dump, owners=owners)
        with connect(database) as connection:
            unwanted = existing.left_out(entries, connection, selection)
        for entry in entries:
            if entry.id not in unwanted:
                found[entry.title].append(_statements(entry))
    return {title: "\n".join(sorted(texts)) for title, texts in found.items()}


def _statements(entry: Entry) -> str:
    if entry.type in ("ACL", "DEFAULT ACL"):
        return "\n".join(sorted(line for line in entry.statements.splitlines() if line))
    noise = ("SET default_tablespace", "SET default_table_access_method")
    lines = (line for line in entry.statements.splitlines() if not line.startswith(noise))
    # A server numbers the names that it makes up by the order in which tables were made.
    return _NOT_NULL.sub("NOT NULL", "\n".join(lines)).strip()
