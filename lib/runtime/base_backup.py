"""A data folder made from another server's: pg_basebackup, or a copy of what it left."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lib.runtime.account import Account, run_as, server_account
from lib.runtime.binaries import postgresql_program
from lib.runtime.cluster import Fill, make_cluster, program
from lib.runtime.errors import RuntimeFailure
from lib.runtime.folders import disk_full, explained, locked, require_room
from lib.runtime.processes import environment


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server whose data is copied, and the role that may replicate it.

    ``slot`` is the replication slot by which a standby keeps the WAL that it needs.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    slot: str = ""

    @property
    def conninfo(self) -> str:
        """As a standby's ``primary_conninfo``; holds the password, which has no quotes in it."""
        return (
            f"host={self.host} port={self.port} user={self.user} password={self.password} "
            f"sslmode=disable application_name={self.slot or 'standby'}"
        )

    def fill(self, folder: Path, account: Account | None) -> None:
        """Fill an empty folder by ``pg_basebackup``; raises ``RuntimeFailure``."""
        command: list[str | Path] = [
            program(postgresql_program("pg_basebackup"), account),
            f"--pgdata={folder.resolve()}", f"--host={self.host}", f"--port={self.port}",
            f"--username={self.user}", "--checkpoint=fast", "--wal-method=stream", "--no-sync",
            *([f"--slot={self.slot}"] if self.slot else []),
        ]  # fmt: skip
        done = subprocess.run(
            run_as(account, command),
            cwd=folder,
            env={**environment(), "PGPASSWORD": self.password},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip()[-500:]
            if "No space left on device" in said:
                raise disk_full(folder, "pg_basebackup can't write")
            raise RuntimeFailure(
                f"pg_basebackup can't copy {self.host}:{self.port}: {said}",
                expected="a server that takes replication connections",
            )
        (folder / "server.log").unlink(missing_ok=True)

    def fill_standby(self, folder: Path, account: Account | None) -> None:
        """The same, for a server that follows."""
        self.fill(folder, account)
        signal = folder / "standby.signal"
        signal.touch(mode=0o600)
        if account is not None:
            account.own(signal)


def copied(backup: Path) -> Fill:
    """Fill a folder with what a base backup holds; the backup stays as it is."""

    def fill(folder: Path, account: Account | None) -> None:
        shutil.copytree(backup.resolve(), folder.resolve(), dirs_exist_ok=True, symlinks=True)
        if account is not None:
            for place, folders, files in os.walk(folder.resolve()):
                for name in [".", *folders, *files]:
                    account.own(Path(place) / name)

    return fill


def take(into: Path, fill: Callable[[Path, Account | None], None]) -> int:
    """Make the folder ``into`` a base backup unless it is one; gives its bytes.

    It is whole or not there: a kill leaves nothing half-made.
    """
    account = server_account()
    with locked(into.with_name(f".{into.name}.lock")):
        with explained(into):
            into.parent.mkdir(parents=True, exist_ok=True)
            require_room(into.parent)
        make_cluster(into, account, fill)
    found = into.resolve()
    return sum(each.stat().st_size for each in found.rglob("*") if each.is_file())
