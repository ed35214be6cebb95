"""A real API process over a real PostgreSQL and Valkey."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest

from tests.api.api_process import Api, environment, prepare, until


@pytest.fixture(scope="session")
def start_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Api]]:
    """Starts API processes; they end with the session at the latest."""
    started: list[subprocess.Popen[bytes]] = []

    def start(database: str, redis: str | None = None, **more: str) -> Api:
        variables = environment(database, redis, **more)
        api = Api.start(variables, tmp_path_factory.mktemp("api") / "log")
        started.append(api.process)
        until(api.is_live)
        return api

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def platform_url(postgresql_server) -> Iterator[str]:
    """A database with a small platform, for the whole module."""
    name = f"api_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    url = postgresql_server.url.rpartition("/")[0] + f"/{name}"
    prepare(url)
    yield url
    with psycopg.connect(postgresql_server.url, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def api(start_api, platform_url: str, valkey_target: str) -> Iterator[Api]:
    """One API for the module, its cache in use."""
    running = start_api(platform_url, valkey_target)
    until(lambda: httpx.get(f"{running.url}/health/ready").json()["redis"] == "up")
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    """A caller with the token."""
    with api.client() as caller:
        yield caller
