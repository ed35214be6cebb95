"""A PostgreSQL data folder: made at once or not at all, configured, removed."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from lib.runtime.account import Account, data_home, reachable_programs, run_as
from lib.runtime.binaries import initdb_path
from lib.runtime.errors import FolderUnusable, RuntimeFailure
from lib.runtime.folders import disk_full, explained
from lib.runtime.processes import environment

Fill: TypeAlias = Callable[[Path, Account | None], None]
"""Fills an empty folder with what a server needs to start on it."""

_SETTINGS = "runtime.conf"
_FORM = (
    "--username=postgres",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--text-search-config=english",
    "--no-instructions",
    "--no-sync",
)


def program(path: Path, account: Account | None) -> Path:
    """A program of PostgreSQL where ``account`` reaches it."""
    if account is None:
        return path
    return reachable_programs(account, path.parents[1]) / "bin" / path.name


def make_cluster(data: Path, account: Account | None, fill: Fill) -> None:
    """Fill ``data`` by ``fill`` unless it is a data folder already.

    It is done under another name and then renames, so that a kill leaves nothing half-made.
    Raises ``FolderUnusable``, ``DiskFull``, ``RuntimeFailure``.
    """
    if (data / "PG_VERSION").is_file():
        return
    unfinished = data.with_name(f"{data.name}.unfinished")
    with explained(data):
        _require_empty(data)
        remove_cluster(unfinished)
        _make_folder(unfinished, account)
        try:
            fill(unfinished, account)
        except BaseException:
            remove_cluster(unfinished)
            raise
        remove_cluster(data)
        unfinished.rename(data)


def initialised(password: str) -> Fill:
    """Fill a folder by initdb."""

    def fill(folder: Path, account: Account | None) -> None:
        _initdb(folder, password, account)
        with (folder / "postgresql.conf").open("a") as settings:
            settings.write(f"\ninclude '{_SETTINGS}'\n")

    return fill


def configure(
    data: Path, account: Account | None, settings: Mapping[str, str], *, trusted: bool
) -> None:
    """Write the server's settings and who may connect how."""
    quoted = (f"{name} = '{_quoted(value)}'" for name, value in settings.items())
    _write(data / _SETTINGS, account, "\n".join(quoted) + "\n")
    method = "trust" if trusted else "scram-sha-256"
    rules = (f"host {what} all 127.0.0.0/8 {method}" for what in ("all", "replication"))
    _write(data / "pg_hba.conf", account, "\n".join(rules) + "\n")


def remove_cluster(data: Path) -> None:
    """Remove a data folder, wherever it really is."""
    if data.is_symlink():
        shutil.rmtree(data.resolve(), ignore_errors=True)
        data.unlink()
    elif data.exists():
        shutil.rmtree(data)


def _make_folder(folder: Path, account: Account | None) -> None:
    if account is None or account.reaches(folder):
        folder.mkdir(mode=0o700)
        if account is not None:
            account.own(folder)
    else:
        folder.symlink_to(data_home(account))


def _initdb(folder: Path, password: str, account: Account | None) -> None:
    """The password goes through a file in memory that no other user may open."""
    command = [str(program(initdb_path(), account)), *_FORM, f"--pgdata={folder.resolve()}"]
    secret = os.memfd_create("password")
    try:
        os.fchmod(secret, 0o600)
        if account is not None:
            os.fchown(secret, account.uid, account.gid)
        os.write(secret, f"{password}\n".encode())
        method = "scram-sha-256" if password else "trust"
        command += [f"--auth={method}"]
        command += [f"--pwfile=/proc/self/fd/{secret}"] if password else []
        made = subprocess.run(
            run_as(account, command),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=[secret],
            check=False,
        )
    finally:
        os.close(secret)
    if made.returncode != 0:
        complaint = made.stderr.strip() or f"it ended with {made.returncode}: {made.stdout[-300:]}"
        raise _failure(folder, complaint)


def _failure(folder: Path, complaint: str) -> RuntimeFailure:
    if "No space left on device" in complaint:
        return disk_full(folder, "initdb can't write")
    return RuntimeFailure(
        f"initdb can't make {folder}: {complaint}",
        expected="a new data folder of PostgreSQL",
        remedy="mend what it names, or set ORCHESTRA_STATE to another folder",
    )


def _require_empty(data: Path) -> None:
    if data.is_dir() and any(data.iterdir()):
        raise FolderUnusable(
            f"{data} is not a data folder of PostgreSQL, but it isn't empty either.",
            expected="a data folder, an empty folder or none",
            remedy=f"move {data} out of the way",
        )


def _write(path: Path, account: Account | None, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    if account is not None:
        account.own(path)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
