"""The checkpoint store: what finished steps left, in SQLite or PostgreSQL."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url

from lib.engine import tables
from lib.engine.changes import Change, Json
from lib.engine.errors import CheckpointError, LockLost

_LOCK_NAME = "run"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the last attempt at a step left behind; times are seconds since the epoch."""

    step: str
    state: str
    run: int
    attempt: int
    started_at: float
    finished_at: float | None
    inputs: Mapping[str, str]
    outputs: Mapping[str, Json]
    changes: tuple[Change, ...]
    error: str | None

    @property
    def seconds(self) -> float:
        """How long the attempt took; 0 where it did not end."""
        return (self.finished_at or self.started_at) - self.started_at


@dataclass(frozen=True, slots=True)
class Intent:
    """A change that was about to be made, or was made, by one of the runs."""

    id: int
    step: str
    subject: str
    change: Change
    state: str


class Store:
    """One environment's checkpoints.

    ``location`` is a path or a ``postgresql://`` URL.  Raises ``CheckpointError`` when the store
    is corrupt, foreign, newer, read-only or unreachable; such a store is never written to.
    ``exists`` is false where there is no store yet and ``create`` did not ask for one.
    """

    def __init__(self, location: str | Path, *, create: bool = True) -> None:
        self.location = str(location)
        self.shown = _shown(self.location)
        self.token: int | None = None
        self.exists = False
        self._mutex = threading.RLock()
        self._engine = self._make_engine(create)
        with self._failures():
            self._connection: Connection = self._engine.connect()
            try:
                self._prepare(create)
            except BaseException:
                self.close()
                raise

    # -- opening -----------------------------------------------------------------------------

    def _make_engine(self, create: bool) -> Engine:
        if "://" in self.location:
            url = make_url(self.location)
            if url.get_backend_name() == "postgresql":
                return sa.create_engine(url.set(drivername="postgresql+psycopg"))
            raise CheckpointError(
                f"A checkpoint store can't be kept at {self.shown}.",
                expected="a path, or a postgresql:// URL",
                remedy="correct --checkpoint",
            )
        path = Path(self.location)
        if not _writable(path):
            raise _unwritable(path)
        if create:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(path) from error
        engine = sa.create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"check_same_thread": False, "timeout": 30},
        )
        # Only a new file gets its journal mode: one that turns out to be foreign stays as it is.
        new = create and not (path.exists() and path.stat().st_size)
        event.listen(engine, "connect", _configure_new if new else _configure)
        event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    def _prepare(self, create: bool) -> None:
        with self._transaction():
            names = set(sa.inspect(self._connection).get_table_names())
            if "orchestra_meta" not in names:
                if names and self._connection.dialect.name == "sqlite":
                    raise CheckpointError(
                        f"{self.shown} is a database, but not a checkpoint store.",
                        expected="a store that this tool made, or no file at all",
                        remedy="choose another place with --checkpoint",
                    )
                if create:
                    tables.METADATA.create_all(self._connection)
                    self._put_meta("version", str(tables.VERSION))
                self.exists = create
                return
            version = self._get_meta("version") or "0"
        self.exists = True
        if not version.isdecimal() or int(version) > tables.VERSION:
            raise CheckpointError(
                f"{self.shown} was written by a newer version of this tool "
                f"(store version {version}).",
                expected=f"store version {tables.VERSION} or older",
                remedy="update this checkout, or choose another place with --checkpoint",
            )

    def close(self) -> None:
        """Let go of the database."""
        with self._mutex:
            self._connection.close()
            self._engine.dispose()

    # -- transactions ------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._mutex, self._failures(), self._connection.begin():
            yield self._connection

    @contextmanager
    def _fenced(self) -> Iterator[Connection]:
        """A transaction that only the holder of the lock may make."""
        with self._transaction() as connection:
            if self.token is not None:
                row = connection.execute(
                    sa.select(tables.LOCKS.c.token)
                    .where(tables.LOCKS.c.name == _LOCK_NAME)
                    .with_for_update(read=True)  # nobody takes over before this is committed
                ).first()
                if row is None or row.token != self.token:
                    raise LockLost(
                        "This run's lock was taken over while it stood still; "
                        "it changes nothing more.",
                        expected="one run at a time for each environment",
                        remedy="wait for the other run to end, then start again",
                    )
            yield connection

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise CheckpointError(
                f"The checkpoint store {self.shown} can't be used: {error.orig}.",
                expected="a store that this tool made, whole and writable",
                remedy="restore it from a copy, or begin another with --checkpoint PATH; "
                "steps whose work stands are recognised and not done again",
            ) from error

    def _get_meta(self, key: str) -> str | None:
        query = sa.select(tables.META.c.value).where(tables.META.c.key == key)
        return self._connection.execute(query).scalar()

    def _put_meta(self, key: str, value: str) -> None:
        self._connection.execute(sa.insert(tables.META).values(key=key, value=value))

    # -- runs --------------------------------------------------------------------------------

    def begin_run(self, holder: Mapping[str, Json], arguments: Sequence[str]) -> int:
        """Record that a run began; gives its number."""
        with self._fenced() as connection:
            result = connection.execute(
                sa.insert(tables.RUNS).values(
                    started_at=time.time(), holder=dict(holder), arguments=list(arguments)
                )
            )
            return _key(result)

    def end_run(self, run: int, outcome: str) -> None:
        """Record how a run ended."""
        with self._transaction() as connection:
            connection.execute(
                sa.update(tables.RUNS)
                .where(tables.RUNS.c.id == run)
                .values(finished_at=time.time(), outcome=outcome)
            )

    def runs(self) -> list[dict[str, Any]]:
        """Every run, oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(tables.RUNS).order_by(tables.RUNS.c.id))
            return [dict(row) for row in rows.mappings()]

    # -- checkpoints -------------------------------------------------------------------------

    def checkpoints(self) -> dict[str, Checkpoint]:
        """Every step's checkpoint, by step name."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(tables.CHECKPOINTS)).mappings().all()
        return {row["step"]: _checkpoint(dict(row)) for row in rows}

    def checkpoint(self, step: str) -> Checkpoint | None:
        """One step's checkpoint."""
        query = sa.select(tables.CHECKPOINTS).where(tables.CHECKPOINTS.c.step == step)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().first()
        return _checkpoint(dict(row)) if row else None

    def history(self, step: str | None = None) -> list[dict[str, Any]]:
        """Every attempt at a step (or at all of them), oldest first."""
        query = sa.select(tables.HISTORY).order_by(tables.HISTORY.c.id)
        if step is not None:
            query = query.where(tables.HISTORY.c.step == step)
        with self._transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def intend(self, step: str, run: int, attempt: int, started_at: float, change: Change) -> int:
        """Record durably that ``change`` is about to be made; gives the intent's number."""
        with self._fenced() as connection:
            self._replace_checkpoint(
                connection,
                Checkpoint(step, "running", run, attempt, started_at, None, {}, {}, (), None),
            )
            result = connection.execute(
                sa.insert(tables.INTENTS).values(
                    step=step,
                    subject=change.subject,
                    change=change.to_json(),
                    run=run,
                    at=time.time(),
                    state="intended",
                )
            )
            return _key(result)

    def finish(self, checkpoint: Checkpoint) -> None:
        """Write a step's result, settle its intents and drop its journal, in one transaction."""
        with self._fenced() as connection:
            self._replace_checkpoint(connection, checkpoint)
            connection.execute(
                sa.insert(tables.HISTORY).values(
                    step=checkpoint.step,
                    state=checkpoint.state,
                    run=checkpoint.run,
                    attempt=checkpoint.attempt,
                    started_at=checkpoint.started_at,
                    finished_at=checkpoint.finished_at,
                    changes=[each.to_json() for each in checkpoint.changes],
                    error=checkpoint.error,
                )
            )
            if checkpoint.state == "done":
                connection.execute(
                    sa.update(tables.INTENTS)
                    .where(tables.INTENTS.c.step == checkpoint.step)
                    .where(tables.INTENTS.c.state == "intended")
                    .values(state="applied")
                )
                connection.execute(
                    sa.delete(tables.JOURNAL).where(tables.JOURNAL.c.step == checkpoint.step)
                )

    def _replace_checkpoint(self, connection: Connection, checkpoint: Checkpoint) -> None:
        connection.execute(
            sa.delete(tables.CHECKPOINTS).where(tables.CHECKPOINTS.c.step == checkpoint.step)
        )
        connection.execute(
            sa.insert(tables.CHECKPOINTS).values(
                step=checkpoint.step,
                state=checkpoint.state,
                run=checkpoint.run,
                attempt=checkpoint.attempt,
                started_at=checkpoint.started_at,
                finished_at=checkpoint.finished_at,
                inputs=dict(checkpoint.inputs),
                outputs=dict(checkpoint.outputs),
                changes=[each.to_json() for each in checkpoint.changes],
                error=checkpoint.error,
            )
        )

    def forget_checkpoints(self) -> None:
        """Begin anew: every step counts as not started; history and intents are kept."""
        with self._fenced() as connection:
            connection.execute(sa.delete(tables.CHECKPOINTS))

    # -- intents -----------------------------------------------------------------------------

    def intents(self, step: str) -> list[Intent]:
        """The changes that runs made or meant to make in a step and that stand, oldest first."""
        query = (
            sa.select(tables.INTENTS)
            .where(tables.INTENTS.c.step == step)
            .where(tables.INTENTS.c.state != "undone")
            .order_by(tables.INTENTS.c.id)
        )
        with self._transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Intent(r["id"], r["step"], r["subject"], Change.from_json(r["change"]), r["state"])
            for r in rows
        ]

    def undone(self, intent: int) -> None:
        """Record that a change was taken back."""
        with self._fenced() as connection:
            connection.execute(
                sa.update(tables.INTENTS)
                .where(tables.INTENTS.c.id == intent)
                .values(state="undone")
            )

    # -- journal -----------------------------------------------------------------------------

    def journal_entries(self, step: str, subject: str, prefix: str) -> dict[str, Json]:
        """The journal of a step's action, narrowed to keys that begin with ``prefix``."""
        j = tables.JOURNAL.c
        query = sa.select(j.key, j.value).where(j.step == step, j.subject == subject)
        if prefix:
            query = query.where(j.key.startswith(prefix, autoescape=True))
        with self._transaction() as connection:
            return {row.key: row.value for row in connection.execute(query)}

    def journal_put(self, step: str, subject: str, entries: Mapping[str, Json]) -> None:
        """Add or replace journal entries in one durable transaction."""
        if not entries:
            return
        j = tables.JOURNAL.c
        with self._fenced() as connection:
            connection.execute(
                sa.delete(tables.JOURNAL).where(
                    j.step == step, j.subject == subject, j.key.in_(list(entries))
                )
            )
            connection.execute(
                sa.insert(tables.JOURNAL),
                [
                    {"step": step, "subject": subject, "key": key, "value": value}
                    for key, value in entries.items()
                ],
            )

    def journal_forget(self, step: str, subject: str, prefix: str) -> None:
        """Delete the journal entries whose key begins with ``prefix``."""
        j = tables.JOURNAL.c
        statement = sa.delete(tables.JOURNAL).where(j.step == step, j.subject == subject)
        if prefix:
            statement = statement.where(j.key.startswith(prefix, autoescape=True))
        with self._fenced() as connection:
            connection.execute(statement)

    # -- lock --------------------------------------------------------------------------------

    def read_lock(self) -> tuple[int, dict[str, Any], float] | None:
        """The lock's token, holder and seconds left, or None where nobody ever held it."""
        with self._transaction() as connection:
            row = connection.execute(
                sa.select(tables.LOCKS).where(tables.LOCKS.c.name == _LOCK_NAME)
            ).first()
            if row is None:
                return None
            return row.token, row.holder, row.expires_at - self._now(connection)

    def take_lock(self, expected: int, holder: Mapping[str, Json], lease: float) -> bool:
        """Take the lock if its token still is ``expected`` (0 where there is none)."""
        locks = tables.LOCKS
        with self._transaction() as connection:
            values = {
                "token": expected + 1,
                "holder": dict(holder),
                "expires_at": self._now(connection) + lease,
            }
            if expected == 0:
                try:
                    connection.execute(sa.insert(locks).values(name=_LOCK_NAME, **values))
                    taken = True
                except sa.exc.IntegrityError:
                    connection.rollback()
                    return False
            else:
                result = connection.execute(
                    sa.update(locks)
                    .where(locks.c.name == _LOCK_NAME, locks.c.token == expected)
                    .values(**values)
                )
                taken = result.rowcount == 1
        if taken:
            self.token = expected + 1
        return taken

    def renew_lock(self, lease: float) -> None:
        """Push the end of the lease out; raises ``LockLost`` where another took over."""
        with self._fenced() as connection:
            connection.execute(
                sa.update(tables.LOCKS)
                .where(tables.LOCKS.c.name == _LOCK_NAME)
                .values(expires_at=self._now(connection) + lease)
            )

    def release_lock(self) -> None:
        """Let the next run begin at once; harmless where the lock was lost."""
        if self.token is None:
            return
        with self._transaction() as connection:
            connection.execute(
                sa.update(tables.LOCKS)
                .where(tables.LOCKS.c.name == _LOCK_NAME, tables.LOCKS.c.token == self.token)
                .values(expires_at=0.0)
            )
        self.token = None

    def _now(self, connection: Connection) -> float:
        """The clock that all holders share: the server's, or this machine's for a file."""
        if connection.dialect.name == "postgresql":
            return float(
                connection.execute(
                    sa.text("select extract(epoch from clock_timestamp())")
                ).scalar_one()
            )
        return time.time()


def _key(result: sa.CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _configure(connection: Any, _: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")


def _configure_new(connection: Any, _: object) -> None:
    _configure(connection, _)
    connection.execute("PRAGMA journal_mode=WAL")


def _checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    values = dict(row)
    values["changes"] = tuple(Change.from_json(each) for each in values["changes"])
    return Checkpoint(**values)


def _writable(path: Path) -> bool:
    """Whether a file may be written here, or made; false where it can't even be looked at."""
    if os.path.exists(path):
        return os.path.isfile(path) and os.access(path, os.W_OK)
    parent = path.parent
    while not os.path.exists(parent):
        parent = parent.parent
    return os.path.isdir(parent) and os.access(parent, os.W_OK)


def _unwritable(path: Path) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint store {path} can't be written.",
        expected="a file that this user may write, or a place where one can be made",
        remedy="change its permissions, or choose another place with --checkpoint",
    )


def _shown(location: str) -> str:
    """The location without its password."""
    if "://" not in location:
        return location
    try:
        return make_url(location).render_as_string(hide_password=True)
    except sa.exc.ArgumentError as error:
        raise CheckpointError(
            "The URL of the checkpoint store can't be read.",
            expected="postgresql://user@host:port/database",
            remedy="correct --checkpoint",
        ) from error
