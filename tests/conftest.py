"""Servers that the project's own tests share: one of each for a session, in a folder of its own."""

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import hypothesis
import psycopg
import pytest
import redis
from psycopg import sql

from lib.runtime.postgresql import PostgreSQL
from lib.runtime.valkey import Valkey

# A busy machine is slow, and nothing else is wrong with it then; fixtures are made anew inside.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture
    ],
)  # fmt: skip
hypothesis.settings.load_profile("patient")
gc.set_threshold(100_000)  # what thousands of tests import stays: looking for cycles finds none


@dataclass(frozen=True)
class LocalCloud:
    """Where the session's embedded cloud answers."""

    endpoint: str
    ca: str
    token: str
    state: Path


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder of the session's own, so that a migration under way is never touched."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRA_STATE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A PostgreSQL for the session."""
    server = PostgreSQL(
        tmp_path_factory.mktemp("postgresql") / "data",
        "127.0.0.1",
        free_port(),
        settings={"fsync": "off", "max_connections": "60"},
    )
    server.start()
    yield server
    server.stop(immediate=True)


@pytest.fixture
def make_database(postgresql_server: PostgreSQL) -> Iterator[Callable[[], str]]:
    """Makes empty databases on the session's server and drops them after the test."""
    names: list[str] = []

    def make() -> str:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        names.append(name)
        return postgresql_server.url.rpartition("/")[0] + f"/{name}"

    yield make
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        for name in names:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )


def _valkey(folder: Path) -> Iterator[str]:
    server = Valkey(folder, "127.0.0.1", free_port())
    server.start()
    yield server.url
    server.stop(immediate=True)


@pytest.fixture(scope="session")
def valkey_source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey for the session."""
    yield from _valkey(tmp_path_factory.mktemp("valkey-source"))


@pytest.fixture(scope="session")
def valkey_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of another Valkey for the session."""
    yield from _valkey(tmp_path_factory.mktemp("valkey-target"))


@pytest.fixture
def redis_source_url(valkey_source: str) -> str:
    """The first Valkey, emptied."""
    with redis.Redis.from_url(valkey_source) as client:
        client.flushall()
    return valkey_source


@pytest.fixture
def redis_target_url(valkey_target: str) -> str:
    """The second Valkey, emptied."""
    with redis.Redis.from_url(valkey_target) as client:
        client.flushall()
    return valkey_target


@pytest.fixture(scope="session")
def localcloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """An embedded Google Cloud for the session."""
    folder = tmp_path_factory.mktemp("localcloud")
    command = [sys.executable, "-m", "lib.localcloud"]
    started = subprocess.run(
        [*command, "start", "--state", str(folder), "--json"],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    about = json.loads(started.stdout)
    yield LocalCloud(about["endpoint"], about["ca"], about["token"], folder)
    subprocess.run([*command, "stop", "--state", str(folder)], check=False, capture_output=True)
