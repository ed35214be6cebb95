"""Folders that servers keep their data in: locks, room, permissions."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.runtime.errors import DiskFull, FolderUnusable, RuntimeFailure

MINIMUM_ROOM = 96 * 2**20  # a new PostgreSQL and its first write-ahead log


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; others who ask wait.  The system frees it when its holder dies."""
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """The descriptor of a locked file that is still at ``path`` once it is locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # its last holder removed it
        os.close(descriptor)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn the system's refusals (full, read-only, forbidden) into errors with a remedy."""
    try:
        yield
    except OSError as error:
        raise _refusal(error, folder) from error


def require_room(folder: Path, size: int = MINIMUM_ROOM) -> None:
    """Raise ``DiskFull`` unless ``size`` bytes are free where ``folder`` is."""
    room = shutil.disk_usage(folder).free
    if room < size:
        raise disk_full(folder, f"{room / 2**20:.0f} MB are free, {size / 2**20:.0f} MB needed")


def disk_full(folder: Path, detail: str) -> DiskFull:
    """The error for a full disk."""
    return DiskFull(
        f"The disk that holds {folder} is full: {detail}.",
        expected="room for the server's data",
        remedy="free some space, or set ORCHESTRA_STATE to a folder on another disk",
    )


def _refusal(error: OSError, folder: Path) -> RuntimeFailure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(folder, str(error.strerror))
    return FolderUnusable(
        f"{error.filename or folder} can't be used: {error.strerror}.",
        expected="a folder that this user may write",
        remedy="mend its permissions, or set ORCHESTRA_STATE to another folder",
    )
