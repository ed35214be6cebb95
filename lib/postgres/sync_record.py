"""What the target knows about following its source: one row beside the copy's bookkeeping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from lib.postgres.catalog import BOOKKEEPING_SCHEMA
from lib.postgres.database import Connection

_SYNC = sql.Identifier(BOOKKEEPING_SCHEMA, "sync")
_CREATE = sql.SQL(
    "CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, snapshot text NOT NULL,"
    " position int8 NOT NULL, shape jsonb NOT NULL, followed boolean NOT NULL DEFAULT false,"
    " closed boolean NOT NULL DEFAULT false, stopped_at timestamptz, opened_at timestamptz,"
    " seconds float8)"
).format(_SYNC)


@dataclass(frozen=True, slots=True)
class Sync:
    """The slot that the copy began with, and how far the move has come since.

    ``snapshot`` is the copy's that belongs to the slot, ``shape`` the source's tables then.
    ``followed``: changes may have been applied.  ``closed``: PUBLIC lost its way into the target
    until the cutover.  ``seconds`` is the time without writes, once the target was opened.
    """

    name: str
    snapshot: str
    position: int
    shape: Mapping[str, Sequence[str]]
    followed: bool
    closed: bool
    seconds: float | None


def read(target: Connection) -> Sync | None:
    """The row, or None where nothing is followed."""
    there: Any = target.execute(
        "SELECT to_regclass(%s) IS NOT NULL", [f"{BOOKKEEPING_SCHEMA}.sync"]
    ).fetchone()
    if not there[0]:
        return None
    row = target.execute(
        sql.SQL("SELECT name, snapshot, position, shape, followed, closed, seconds FROM {}").format(
            _SYNC
        )
    ).fetchone()
    return None if row is None else Sync(*row)


def begin(
    target: Connection, name: str, snapshot: str, position: int, shape: Mapping[str, Sequence[str]]
) -> None:
    """Note a new slot; forgets the one before."""
    with target.transaction():
        target.execute(_CREATE)
        target.execute(sql.SQL("DELETE FROM {}").format(_SYNC))
        target.execute(
            sql.SQL(
                "INSERT INTO {} (name, snapshot, position, shape) VALUES (%s, %s, %s, %s)"
            ).format(_SYNC),
            [name, snapshot, position, Jsonb(shape)],
        )


def note(target: Connection, **values: object) -> None:
    """Set columns of the row."""
    pairs = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
    )
    target.execute(sql.SQL("UPDATE {} SET {}").format(_SYNC, pairs), values)


def stopped(target: Connection) -> None:
    """Note that writes on the source have stopped, unless an earlier stop still counts."""
    target.execute(
        sql.SQL("UPDATE {} SET stopped_at = coalesce(stopped_at, clock_timestamp())").format(_SYNC)
    )


def opened(target: Connection, seconds: float) -> None:
    """Note that the target took over, and how long nobody could write."""
    target.execute(
        sql.SQL(
            "UPDATE {} SET opened_at = clock_timestamp(), closed = false, seconds ="
            " greatest(%s, extract(epoch FROM clock_timestamp() - stopped_at)::float8)"
        ).format(_SYNC),
        [seconds],
    )


def flush(target: Connection) -> None:
    """Have the server's log on disk as far as it goes: a commit that waits for it."""
    with target.transaction():
        target.execute("SET LOCAL synchronous_commit = on")
        target.execute(sql.SQL("UPDATE {} SET name = name").format(_SYNC))
