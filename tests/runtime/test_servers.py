"""PostgreSQL and Valkey from wheels: kept, adopted, killed, refused with a reason."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest
import redis

from lib.runtime import binaries
from lib.runtime.addresses import subnet
from lib.runtime.errors import (
    AddressInUse,
    DiskFull,
    FolderUnusable,
    RuntimeFailure,
    ServerFailed,
)
from lib.runtime.postgresql import PostgreSQL
from lib.runtime.valkey import Valkey

Server = PostgreSQL | Valkey
SECRET = "se'cr\"et \\ pass"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account of this machine reaches."""
    path = Path(mkdtemp(prefix="runtime-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def host(folder: Path) -> str:
    return f"{subnet(folder)}.1"


@pytest.fixture
def started(folder: Path, host: str) -> Iterator[Callable[..., Server]]:
    """Starts servers and discards them afterwards."""
    servers: list[Server] = []

    def start(kind: type[Server], name: str = "data", **options: object) -> Server:
        server = kind(folder / name, host, **options)  # type: ignore[arg-type]
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.discard()


def write(server: Server, value: str, password: str = "") -> None:
    if isinstance(server, PostgreSQL):
        with psycopg.connect(server.url, password=password) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
            connection.execute("INSERT INTO kept VALUES (%s)", [value])
    else:
        with redis.Redis.from_url(server.url, password=password or None) as client:
            client.set("kept", value)


def read(server: Server) -> str:
    if isinstance(server, PostgreSQL):
        with psycopg.connect(server.url) as connection:
            return str(connection.execute("SELECT string_agg(value, ',') FROM kept").fetchone()[0])
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return str(client.get("kept"))


both = pytest.mark.parametrize("kind", [PostgreSQL, Valkey])


@both
def test_data_survives_a_stop_and_a_running_server_is_adopted(kind, started):
    server = started(kind)
    write(server, "first")
    pid = server.pid()
    again = kind(server.data, server.host)
    again.start()
    assert again.pid() == pid
    again.stop()
    assert not server.running()
    assert server.pid() is None
    server.start()
    assert read(server) == "first"


@both
def test_an_acknowledged_write_survives_kill_9(kind, started):
    server = started(kind)
    write(server, "kept")
    os.kill(server.pid(), signal.SIGKILL)
    server.start()
    assert server.running()
    assert read(server) == "kept"


@both
def test_an_immediate_stop_loses_nothing(kind, started):
    server = started(kind)
    write(server, "kept")
    server.stop(immediate=True)
    server.start()
    assert read(server) == "kept"


def test_a_started_valkey_has_loaded_its_data(started):
    server = started(Valkey)
    with redis.Redis.from_url(server.url) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(10_000):
            pipeline.set(f"key {number}", "x" * 100)
        pipeline.execute()
        server.stop()
        # A second of loading, in which it answers a little: that it loads, and to ECHO.
        started(Valkey, arguments={"key-load-delay": "30"})
        assert client.get("key 9999") == b"x" * 100


@both
def test_a_stopped_session_does_not_hold_a_stop_back(kind, started):
    server = started(kind)
    with socket.create_connection((server.host, server.port)):
        server.stop()
    assert not server.running()


@both
def test_a_killed_servers_process_id_may_belong_to_somebody_else_now(kind, started):
    server = started(kind)
    write(server, "kept")
    file = server.data / ("postmaster.pid" if kind is PostgreSQL else "valkey.pid")
    lines = file.read_text().splitlines()
    os.kill(server.pid(), signal.SIGKILL)
    file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert not server.running()
    server.start()
    assert read(server) == "kept"


@both
def test_a_server_outlives_the_python_that_started_it(kind, folder, host):
    server = kind(folder / "data", host)
    code = (
        f"from pathlib import Path; from {kind.__module__} import {kind.__name__} as Server;"
        f"Server(Path({str(server.data)!r}), {host!r}).start()"
    )
    try:
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        write(server, "kept")
        assert os.getsid(server.pid()) == server.pid()
    finally:
        server.discard()
    assert list(folder.iterdir()) == []


@both
def test_a_taken_address_names_who_has_it(kind, folder, host):
    server = kind(folder / "data", host)
    with socket.create_server((host, server.port)), pytest.raises(AddressInUse) as caught:
        server.start()
    assert f"{host}:{server.port}" in caught.value.what
    assert f"process {os.getpid()}" in caught.value.what
    assert caught.value.remedy


@both
def test_a_full_disk_is_named(kind, folder, host, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("lib.runtime.folders.shutil.disk_usage", lambda _: usage(1, 1, 0))
    with pytest.raises(DiskFull, match="full"):
        kind(folder / "data", host).start()


@both
def test_a_folder_that_cannot_be_made_is_refused(kind, folder, host):
    (folder / "file").write_text("")
    with pytest.raises(FolderUnusable, match="file"):
        kind(folder / "file" / "data", host).start()


@both
def test_only_loopback_is_served(kind, folder):
    with pytest.raises(RuntimeFailure, match=r"0\.0\.0\.0"):
        kind(folder / "data", "0.0.0.0").start()


def test_foreign_files_are_not_overwritten(folder, host):
    data = folder / "data"
    data.mkdir()
    (data / "thesis.txt").write_text("mine")
    with pytest.raises(FolderUnusable, match="isn't empty"):
        PostgreSQL(data, host).start()
    assert (data / "thesis.txt").read_text() == "mine"


def test_a_wrong_setting_quotes_the_log(started):
    with pytest.raises(ServerFailed, match="max_connections"):
        started(PostgreSQL, settings={"max_connections": "many"})
    with pytest.raises(ServerFailed, match="no-such"):
        started(Valkey, "other", arguments={"no-such": "directive"})


def test_settings_are_applied_and_logical_decoding_is_the_default(started):
    server = started(PostgreSQL, settings={"application_name": "it's", "work_mem": "7MB"})
    with psycopg.connect(server.url) as connection:
        shown = [
            connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("work_mem", "wal_level", "server_encoding", "fsync")
        ]
    assert shown == ["7MB", "logical", "UTF8", "on"]


def test_a_password_is_asked_for_and_stays_out_of_sight(started):
    server = started(PostgreSQL, password=SECRET)
    cache = started(Valkey, "cache", password=SECRET)
    write(server, "x", SECRET)
    write(cache, "x", SECRET)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url, password="wrong")
    with redis.Redis.from_url(cache.url) as client, pytest.raises(redis.AuthenticationError):
        client.get("kept")
    for process in (server, cache):
        assert SECRET.encode() not in Path(f"/proc/{process.pid()}/cmdline").read_bytes()
        assert SECRET not in repr(process)
        assert process.running()
    assert (cache.data / "valkey.conf").stat().st_mode & 0o077 == 0
    assert "SCRAM-SHA-256" in _stored_password(server)


def _stored_password(server: PostgreSQL) -> str:
    with psycopg.connect(server.url, password=SECRET) as connection:
        return str(
            connection.execute(
                "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"
            ).fetchone()[0]
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers need another account")
def test_root_may_keep_data_where_the_servers_account_cannot_go(folder, host):
    folder.chmod(0o700)
    server = PostgreSQL(folder / "data", host)
    server.start()
    try:
        write(server, "kept")
        place = server.data.resolve()
        assert place != server.data
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        server.discard()
    assert not place.exists()
    assert list(folder.iterdir()) == []


def test_a_kill_in_the_middle_of_initdb_leaves_nothing_in_the_way(folder, host, started):
    unfinished = folder / "data.unfinished"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    server = started(PostgreSQL)
    assert not unfinished.exists()
    write(server, "works")


def test_state_folders_have_ranges_of_their_own():
    ranges = {subnet(Path(f"/state/{number}")) for number in range(50)}
    assert len(ranges) > 45
    assert subnet(Path("/state/1")) in ranges
    for each in ranges:
        first, second, third = map(int, each.split("."))
        assert (first, second & 0b11000000) == (127, 64)
        assert 0 <= third <= 255
    assert subnet(Path("/state/1")) != subnet(Path("/state/1"), "sample")


def test_the_programs_are_there():
    for path in (
        binaries.pg_dump_path(),
        binaries.pg_restore_path(),
        binaries.psql_path(),
        binaries.postgres_path(),
        binaries.valkey_server_path(),
    ):
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        assert shown.stdout
    with pytest.raises(RuntimeFailure, match="no_such"):
        binaries.postgresql_program("no_such")
