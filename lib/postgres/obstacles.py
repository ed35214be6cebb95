"""What the source holds that the target can't take, found before anything is changed."""

import psycopg
from psycopg import sql

from lib.postgres.database import Connection, Database, connect, version
from lib.postgres.errors import Obstacle


def refuse(source: Database, target: Database) -> None:
    """Raise one ``Obstacle`` that names everything the target can't take."""
    with connect(source) as old, connect(target) as new:
        found = [
            *_versions(old, new),
            *_encodings(old, new),
            *_objects(old, new),
            *_superuser(old, new),
            *_features(old, new),
            *_labels(old, new),
            *_hidden_rows(old),
        ]
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
    return found


def _superuser(old: Connection, new: Connection) -> list[tuple[str, str]]:
    row = new.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if row and row[0]:
        return []
    return [
        (
            f"{what} needs a superuser, which the target's role is not",
            "drop it on the source, or write it anew without such rights",
        )
        for (what,) in old.execute(_FOR_SUPERUSERS)
    ]


def _features(old: Connection, new: Connection) -> list[tuple[str, str]]:
    """What a server has only if it was built with it."""
    found = []
    for used, asked, what, remedy in _FEATURES:
        names = [name for (name,) in old.execute(used)]
        if names and not _answers(new, asked):
            told = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            found.append((f"the target is built without {what}, which {told} need", remedy))
    return found


def _answers(connection: Connection, asked: str) -> bool:
    try:
        row = connection.execute(asked.encode()).fetchone()
    except psycopg.errors.FeatureNotSupported:
        return False
    return bool(row and row[0])


def _labels(old: Connection, new: Connection) -> list[tuple[str, str]]:
    """Security labels whose provider the target has not loaded."""
    found = []
    for (provider,) in old.execute("SELECT DISTINCT provider FROM pg_seclabels").fetchall():
        # There is no list of providers; no schema has this name, so that nothing is labelled.
        statement = sql.SQL("SECURITY LABEL FOR {} ON SCHEMA {} IS NULL")
        try:
            new.execute(statement.format(sql.Identifier(provider), sql.Identifier("pg_ no")))
        except psycopg.errors.InvalidParameterValue:
            remedy = "load the provider on the target, or remove the labels on the source"
            found.append((f"security label provider {provider} is not loaded", remedy))
        except psycopg.Error:
            continue
    return found


def _hidden_rows(old: Connection) -> list[tuple[str, str]]:
    return [
        (
            f"row security hides rows of {name} from the source's role",
            "connect to the source as a role with BYPASSRLS, or as the table's owner where it is"
            " not forced",
        )
        for (name,) in old.execute(_HIDDEN)
    ]


_HIDDEN = """
SELECT c.oid::regclass::text FROM pg_class c
 WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND row_security_active(c.oid) ORDER BY 1
"""
_FOR_SUPERUSERS = """
SELECT pg_describe_object(o.class, o.oid, 0) FROM (
      SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
UNION ALL SELECT 'pg_proc'::regclass, p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
           WHERE NOT l.lanpltrusted AND p.prokind <> 'a' OR p.proleakproof
UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast WHERE castmethod = 'b'
UNION ALL SELECT 'pg_proc'::regclass, aggfnoid FROM pg_aggregate
           WHERE aggtranstype = 'internal'::regtype
) o(class, oid) WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d
 WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e') ORDER BY 1
"""
_FEATURES = (
    (
        "SELECT 'collation ' || collname FROM pg_collation"
        " WHERE oid >= 16384 AND collprovider = 'i' ORDER BY 1",
        "SELECT EXISTS (SELECT FROM pg_collation WHERE collname LIKE '%-x-icu')",
        "ICU",
        "define these collations by libc or the built-in provider, or take a target with ICU",
    ),
    (
        "SELECT DISTINCT 'column ' || c.oid::regclass || '.' || a.attname FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p')"
        " AND to_jsonb(a) ->> 'attcompression' = 'l' ORDER BY 1",
        "SELECT enumvals && '{lz4}' FROM pg_settings WHERE name = 'default_toast_compression'",
        "LZ4",
        "ALTER TABLE ... ALTER COLUMN ... SET COMPRESSION default on the source",
    ),
    (
        "SELECT DISTINCT 'column ' || c.oid::regclass || '.' || a.attname FROM pg_attribute a"
        " JOIN pg_class c ON c.oid = a.attrelid WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p')"
        " AND a.atttypid IN ('xml'::regtype, 'xml[]'::regtype) ORDER BY 1",
        "SELECT '<a/>'::xml IS NOT NULL",
        "XML",
        "change these columns to text, or take a target with libxml",
    ),
)
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
