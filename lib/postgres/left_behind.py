"""What stays on the source though nothing is wrong with it, told in the plan."""

from lib.postgres.database import Connection, Database, connect
from lib.postgres.online import PREFIX

_SHOWN = 5


def describe(source: Database) -> str:
    """A phrase for each kind of thing that does not come along; empty when all comes."""
    with connect(source) as connection:
        told = [_told(connection, what, query) for what, query in _KINDS]
    found = "; ".join(each for each in told if each)
    return f"stays behind: {found}" if found else ""


def _told(connection: Connection, what: str, query: str) -> str:
    names = [name for (name,) in connection.execute(query.encode())]
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{what} ({shown})" if names else ""


_KINDS = (
    (
        "publications",
        f"SELECT pubname FROM pg_publication WHERE pubname NOT LIKE '{PREFIX}\\_%'",  # noqa: S608
    ),
    (
        "subscriptions",
        "SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"  # noqa: S608
        f" WHERE d.datname = current_database() AND s.subname NOT LIKE '{PREFIX}\\_%'",
    ),
    (
        "tablespaces, everything goes to the target's default one",
        "SELECT DISTINCT t.spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace"
        " WHERE c.oid >= 16384 ORDER BY 1",
    ),
    (
        "indexes that are not valid",
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
        " WHERE NOT (i.indisvalid AND i.indisready) AND c.relkind IN ('r', 'm') ORDER BY 1",
    ),
    (
        "rows of foreign tables, which stay where they are",
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'f' ORDER BY 1",
    ),
    (
        "settings of the database and of roles in it",
        "SELECT split_part(c, '=', 1) FROM pg_db_role_setting s, unnest(s.setconfig) c, pg_database"
        " d WHERE d.datname = current_database() AND s.setdatabase = d.oid ORDER BY 1",
    ),
)
