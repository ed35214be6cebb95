"""AlloyDB through the tunnel: every client of ours gets there, and who may not is told why."""

import asyncio
import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.errors import PermissionMissing, Precondition
from lib.cloud.target import Target
from lib.cloud.tunnel import Tunnel
from lib.postgres.database import Database, connect, connect_async
from lib.postgres.errors import AuthenticationFailed, ConnectionRefused
from lib.runtime.binaries import pg_dump_path
from lib.settings import Settings
from tests.cloud.small_engine import converge

S = Settings()
FAULTS = [sys.executable, "-m", "lib.localcloud", "faults"]


@pytest.fixture(scope="module")
def cloud(localcloud: Any) -> Iterator[Cloud]:
    """The embedded cloud with a primary that has no public address."""
    target = Target.embedded(localcloud.endpoint, localcloud.ca, localcloud.token, S.project.id)
    cloud = Cloud(target)
    converge(cloud.project(S.project))
    converge(cloud.services(S.project))
    converge(cloud.services_range(S.project, S.network))
    converge(cloud.private_connection(S.project, S.network))
    converge(cloud.alloydb_cluster(S.project, S.network, S.alloydb, lambda: "tunnelled"))
    converge(cloud.alloydb_instance(S.project, S.alloydb))
    yield cloud
    cloud.close()


@pytest.fixture
def tunnel(cloud: Cloud) -> Iterator[Tunnel]:
    tunnel = cloud.alloydb_tunnel(S.project, S.alloydb)
    tunnel.open()
    yield tunnel
    tunnel.close()


def _database(tunnel: Tunnel) -> Database:
    return Database(host=tunnel.host, port=tunnel.port, password="tunnelled", sslmode="disable")


def test_every_client_of_postgresql_gets_there(tunnel: Tunnel) -> None:
    assert stat.S_IMODE(os.stat(tunnel.host).st_mode) == 0o700
    database = _database(tunnel)
    with connect(database) as connection:
        connection.execute("CREATE TABLE public.big AS SELECT g, repeat('x', 500) t "
                           "FROM generate_series(1, 20000) g")  # fmt: skip
        with connection.cursor().copy("COPY public.big TO STDOUT") as copied:
            assert sum(len(part) for part in copied) > 10_000_000

    async def ask() -> Any:
        session = await connect_async(database)
        try:
            return await session.fetchval("SELECT count(*) FROM public.big")
        finally:
            await session.close()

    assert asyncio.run(ask()) == 20_000
    done = subprocess.run(
        [pg_dump_path(), "--schema-only", "--table=big"],
        env={**os.environ, **database.environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "CREATE TABLE public.big" in done.stdout
    with pytest.raises(AuthenticationFailed):
        connect(dataclasses.replace(database, password="wrong"))


def test_who_may_not_connect_is_told_the_permission(cloud: Cloud, localcloud: Any) -> None:
    state = ["--state", str(localcloud.state)]
    withdrawn = ["deny", "--permission", "alloydb.instances.connect"]
    subprocess.run([*FAULTS, "add", *withdrawn, *state], check=True, capture_output=True)
    try:
        with pytest.raises(PermissionMissing, match=r"alloydb\.instances\.connect"):
            cloud.alloydb_tunnel(S.project, S.alloydb).open()
    finally:
        subprocess.run([*FAULTS, "clear", *state], check=True, capture_output=True)


def test_a_missing_kind_of_address_is_told(cloud: Cloud) -> None:
    public = dataclasses.replace(S.alloydb, ip_type="PUBLIC")
    with pytest.raises(Precondition, match="no address of the type PUBLIC"):
        cloud.alloydb_tunnel(S.project, public).open()


def test_a_proxy_that_dies_is_told_of_and_comes_back(tunnel: Tunnel, localcloud: Any) -> None:
    [told] = Path(localcloud.state).glob("alloydb/*.proxy/process.json")
    os.kill(json.loads(told.read_text())["pid"], signal.SIGKILL)
    deadline, said = time.monotonic() + 30, ""
    while time.monotonic() < deadline:
        try:
            connect(_database(tunnel)).close()
        except ConnectionRefused as error:
            said = said or str(error)
        else:
            if said:
                break
    else:
        raise AssertionError("the proxy never came back")
    assert "can't be reached" in said


def test_closing_over_an_open_connection_ends_it_in_silence(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = cloud.alloydb_tunnel(S.project, S.alloydb)
    tunnel.open()
    with connect(_database(tunnel)) as connection:
        tunnel.close()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert [each for each in caplog.records if each.name == "asyncio"] == []
