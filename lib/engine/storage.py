"""Where checkpoints are kept: an SQLite file or a PostgreSQL database, opened, checked, fenced."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url

from lib.engine import tables
from lib.engine.errors import CheckpointError, LockLost

LOCK_NAME = "run"

_HELD = (
    sa.select(tables.LOCKS.c.token)
    .where(tables.LOCKS.c.name == LOCK_NAME)
    .with_for_update(read=True)  # nobody takes over before the transaction is committed
)
_MAKING = 0x6F726368
"""The advisory lock of a PostgreSQL database while the tables of a store are looked for or made."""


class Storage:
    """The database of one environment's checkpoints.

    ``location`` is a path or a ``postgresql://`` URL.  Raises ``CheckpointError`` when the store
    is corrupt, foreign, newer, read-only or unreachable; such a store is never written to.
    ``exists`` is false where there is no store yet and ``create`` did not ask for one.
    """

    def __init__(self, location: str | Path, *, create: bool = True) -> None:
        self.location = str(location)
        self.shown = _shown(self.location)
        self.token: int | None = None
        self.exists = False
        self._synced = True
        self._mutex = threading.RLock()
        self._engine = self._make_engine(create)
        with self._failures(), self._alone_making(create):
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
        if _cut_short(path):
            raise _unusable(self.shown, "it was cut short")
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
        event.listen(
            engine, "connect", lambda c, _: _configure(c, new=create and not path.stat().st_size)
        )
        event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def _alone_making(self, create: bool) -> Iterator[None]:
        """Let one process at a time see whether there is a file, and make it.

        SQLite changes a file's journal mode at once or not at all: it does not wait for the
        process that does the same (sqlite.org, "PRAGMA journal_mode").
        """
        if not create or "://" in self.location:
            yield
            return
        folder = Path(self.location).absolute().parent
        try:
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise _unwritable(Path(self.location)) from error
        try:
            yield
        finally:
            os.close(handle)

    def _prepare(self, create: bool) -> None:
        with self.transaction():
            if create and self._connection.dialect.name == "postgresql":
                # Two runs that begin at once must not both make the tables.
                self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING)))
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

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    def close(self) -> None:
        """Let go of the database."""
        with self._mutex:
            self._connection.close()
            self._engine.dispose()

    # -- transactions ------------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, synced: bool = True) -> Iterator[Connection]:
        """One transaction, on disk when it ends; raises ``CheckpointError`` where that fails.

        Without ``synced`` it is safe from a kill of this process, and from a loss of power once
        the next synced one is: the write-ahead log is one and in order (sqlite.org, "Write-Ahead
        Logging"; PostgreSQL's ``synchronous_commit``).
        """
        with self._mutex, self._failures():
            self._set_synced(synced)
            with self._connection.begin():
                if not synced and self.dialect == "postgresql":
                    self._connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield self._connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction in which rows are read; ``CheckpointError`` where they make no sense."""
        with self.transaction() as connection:
            try:
                yield connection
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise _unusable(self.shown, f"a row of it can't be read: {error}") from error

    def _set_synced(self, synced: bool) -> None:
        """Let SQLite's next transactions wait for the disk or not; asked only where it changes."""
        if synced != self._synced and self.dialect == "sqlite":
            self._driver.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
            self._synced = synced

    @property
    def _driver(self) -> Any:
        """The driver's own connection, for what is asked so often that it has to be cheap."""
        return self._connection.connection.driver_connection

    @cached_property
    def _held(self) -> str:
        """The fence's question as text."""
        return str(_HELD.compile(self._engine, compile_kwargs={"literal_binds": True}))

    @contextmanager
    def fenced(self, *, synced: bool = True) -> Iterator[Connection]:
        """A transaction that only the holder of the lock may make."""
        with self.transaction(synced=synced) as connection:
            if self.token is not None:
                row = self._driver.execute(self._held).fetchone()
                if row is None or row[0] != self.token:
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
        except (sa.exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error) as error:
            raise _unusable(self.shown, str(getattr(error, "orig", error))) from error

    def _get_meta(self, key: str) -> str | None:
        query = sa.select(tables.META.c.value).where(tables.META.c.key == key)
        return self._connection.execute(query).scalar()

    def _put_meta(self, key: str, value: str) -> None:
        self._connection.execute(sa.insert(tables.META).values(key=key, value=value))


def _configure(connection: Any, *, new: bool) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous=FULL")
    # Copied into the database every 16 MB in place of 4: each time waits for the disk twice.
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    if new:
        connection.execute("PRAGMA journal_mode=WAL")


def _begin(connection: Connection) -> None:
    """Take the write lock at once, so that no transaction fails half-way; cheap, as it is often."""
    driver: Any = connection.connection.driver_connection
    driver.execute("BEGIN IMMEDIATE")


def _writable(path: Path) -> bool:
    """Whether a file may be written here, or made; false where it can't even be looked at."""
    if os.path.exists(path):
        return os.path.isfile(path) and os.access(path, os.W_OK)
    parent = path.parent
    while not os.path.exists(parent):
        parent = parent.parent
    return os.path.isdir(parent) and os.access(parent, os.W_OK)


def _cut_short(path: Path) -> bool:
    """Whether a file lacks a part of its last page, which SQLite itself sees only when it reads it.

    Where a log of writes is left, SQLite makes the file whole from it.
    """
    log = path.with_name(path.name + "-wal")
    if not path.exists() or (log.exists() and log.stat().st_size):
        return False
    with path.open("rb") as file:
        header = file.read(18)
    if not header.startswith(b"SQLite format 3\0") or len(header) < 18:
        return False
    page = int.from_bytes(header[16:18], "big")
    return path.stat().st_size % (65536 if page == 1 else max(page, 1)) != 0


def _unusable(shown: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint store {shown} can't be used: {why}.",
        expected="a store that this tool made, whole and writable",
        remedy="restore it from a copy, or begin another with --checkpoint PATH; "
        "steps whose work stands are recognised and not done again",
    )


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
