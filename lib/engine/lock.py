"""One run at a time: a lock with lease, heartbeat and holder, freed when its holder is dead."""

import getpass
import os
import socket
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from lib.engine.changes import Json
from lib.engine.errors import LockHeld, LockLost
from lib.engine.store import Store
from lib.errors import MigrationError

LEASE_SECONDS = 30.0


def holder() -> dict[str, Json]:
    """Who asks for the lock: host, process, user, since."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": _process_started(os.getpid()),
        "user": _user(),
        "since": time.time(),
    }


class RunLock:
    """Holds an environment's lock from ``acquire`` to ``release``; a thread keeps it alive."""

    def __init__(self, store: Store, lease: float = LEASE_SECONDS) -> None:
        self._store = store
        self._lease = lease
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.lost: LockLost | None = None

    def acquire(self) -> None:
        """Take the lock or raise ``LockHeld`` with who has it and since when."""
        found = self._store.read_lock()
        token = 0
        if found is not None:
            token, who, left = found
            if left > 0 and not _dead(who):
                raise _held(self._store, who, left)
        if not self._store.take_lock(token, holder(), self._lease):
            found = self._store.read_lock()
            raise _held(self._store, found[1] if found else {}, found[2] if found else 0.0)
        self._thread = threading.Thread(target=self._beat, name="lock-heartbeat", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop the heartbeat and free the lock."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._store.release_lock()

    def _beat(self) -> None:
        while not self._stop.wait(self._lease / 3):
            try:
                self._store.renew_lock(self._lease)
            except LockLost as error:
                self.lost = error
                return
            except MigrationError:
                continue


def _held(store: Store, who: Mapping[str, Json], left: float) -> LockHeld:
    since = datetime.fromtimestamp(float(str(who.get("since", 0))), UTC)
    return LockHeld(
        f"Another run works with {store.shown}: process {who.get('pid')} of "
        f"{who.get('user')} on {who.get('host')}, since {since:%Y-%m-%d %H:%M:%S} UTC.",
        expected="one run at a time for each environment",
        remedy="wait until it ends; if its machine is gone the lock frees itself "
        f"in {max(left, 0):.0f} seconds",
    )


def _dead(who: Mapping[str, Json]) -> bool:
    """True only where the holder surely is dead: same host, and its process is no more."""
    pid = who.get("pid")
    if who.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    return _process_started(pid) != who.get("process_started")


def _process_started(pid: int) -> str | None:
    """A mark that tells a process from a later one of the same number; None where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
    return "alive"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
