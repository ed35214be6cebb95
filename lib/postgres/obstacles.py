"""What the source holds that the target can't take, found before anything is changed."""

from lib.postgres.database import Connection, Database, connect, version
from lib.postgres.errors import Obstacle


def refuse(source: Database, target: Database) -> None:
    """Raise one ``Obstacle`` that names everything the target can't take."""
    with connect(source) as old, connect(target) as new:
        found = [*_versions(old, new), *_encodings(old, new), *_objects(old, new)]
    if found:
        raise Obstacle(
            "The target can't take all of the source:\n"
            + "\n".join(f"  - {what}" for what, _ in found),
            remedy="; ".join(dict.fromkeys(remedy for _, remedy in found)),
        )


def _versions(old: Connection, new: Connection) -> list[tuple[str, str]]:
    if version(new) >= version(old):
        return []
    return [
        (
            f"the target runs PostgreSQL {version(new)}, older than the source's {version(old)}",
            f"create the target with PostgreSQL {version(old)} or newer",
        )
    ]


def _encodings(old: Connection, new: Connection) -> list[tuple[str, str]]:
    asked = "SELECT current_setting('server_encoding')"
    mine, other = (c.execute(asked).fetchone() for c in (old, new))
    if mine == other or mine is None or other is None:
        return []
    if other[0] == "UTF8" and mine[0] != "SQL_ASCII":
        return []
    return [
        (
            f"the source's text is {mine[0]}, the target's {other[0]}",
            "create the target database with the source's encoding",
        )
    ]


def _objects(old: Connection, new: Connection) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for used, known, what, remedy in _KINDS:
        there = {row[0] for row in new.execute(known)}
        found.extend(
            (f"{what} {name} is not there", remedy)
            for (name,) in old.execute(used)
            if name not in there
        )
    superuser = new.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if not (superuser and superuser[0]):
        found.extend(
            (
                f"event trigger {name} needs a superuser, which the target's role is not",
                "drop it on the source, or write it anew on the target",
            )
            for (name,) in old.execute(_EVENT_TRIGGERS)
        )
    return found


_EVENT_TRIGGERS = """
SELECT evtname FROM pg_event_trigger e WHERE NOT EXISTS (SELECT FROM pg_depend d
 WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
"""
_KINDS = (
    (
        "SELECT DISTINCT l.lanname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang"
        " WHERE p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d"
        " WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')",
        "SELECT lanname FROM pg_language",
        "procedural language",
        "create the extension of that language on the target, or drop its functions",
    ),
    (
        "SELECT DISTINCT m.amname FROM pg_class c JOIN pg_am m ON m.oid = c.relam"
        " WHERE c.oid >= 16384 AND m.amname NOT IN ('scann', 'hnsw', 'ivfflat')",
        "SELECT amname FROM pg_am",
        "access method",
        "create the extension of that access method on the target, or use another one",
    ),
    (
        "SELECT DISTINCT c.collname::text FROM pg_attribute a"
        " JOIN pg_collation c ON c.oid = a.attcollation JOIN pg_class r ON r.oid = a.attrelid"
        " WHERE c.oid < 16384 AND c.collprovider <> 'd' AND r.oid >= 16384 AND a.attnum > 0",
        "SELECT collname::text FROM pg_collation",
        "collation",
        "change the columns that use it to a collation that the target has",
    ),
)
