"""What the tests of the API share: a small platform, and a handle on a real API process."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg

from lib.api.schema import AdminConnection, ensure
from lib.runtime.postgresql import PostgreSQL


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-tests"
PLATFORM = '''
create extension if not exists vector;
create table agents (id bigint primary key, name text, embedding vector(3), score float8);
create table conversations (id bigint primary key, agent_id bigint references agents, title text);
create table messages (id bigint generated always as identity, conversation_id bigint,
    created_at timestamptz not null, content text, primary key (id, created_at))
    partition by range (created_at);
create table messages_all partition of messages default;
create table memories (id bigint generated always as identity primary key, note text,
    embedding vector(3));
create table "Odd ""Table""" ("The Key" text, part int, "Vec tor" halfvec(4),
    primary key ("The Key", part));
insert into agents select n, 'agent ' || n, null, 'NaN' from generate_series(1, 7) n;
insert into conversations select n, 1 + n % 2, 'about ' || n from generate_series(1, 9) n;
insert into messages (conversation_id, created_at, content)
    select 1, now(), 'message ' || n from generate_series(1, 5) n;
insert into memories (note, embedding) select 'm' || n, array[n, 1, 0]::vector
    from generate_series(1, 300) n;
insert into "Odd ""Table""" select 'it''s ' || n, n, array[n, 0, 0, 1]::halfvec
    from generate_series(1, 5) n;
create index on memories using hnsw (embedding vector_l2_ops);
'''


@dataclass
class Api:
    """A running API process."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @classmethod
    def start(cls, variables: Mapping[str, str], log: Path) -> "Api":
        """Start a process with these variables; it may not answer yet."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "lib.api"], env=variables, stdout=output, stderr=output
            )
        return cls(f"http://127.0.0.1:{variables['PORT']}", process, log)

    def client(self, token: str = TOKEN) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    def is_live(self) -> bool:
        """Whether it answers by now; it must not have ended."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.TransportError:
            return False


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Ask again and again until it holds; the limit only ends a test that failed."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def environment(database: str, redis: str | None, **more: str) -> dict[str, str]:
    """The variables of an API for these URLs."""
    place = urlsplit(database)
    cache = urlsplit(redis) if redis else None
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOST": "127.0.0.1",
        "PORT": str(free_port()),
        "DATABASE_HOST": place.hostname or "",
        "DATABASE_PORT": str(place.port),
        "DATABASE_NAME": place.path.lstrip("/"),
        "DATABASE_USER": "api_test_role",
        "REDIS_HOST": cache.hostname or "" if cache else "",
        "REDIS_PORT": str(cache.port) if cache else "",
        "API_TOKEN": TOKEN,
        "BREAKER_OPEN_SECONDS": "0.2",
        **more,
    }


def admin(url: str) -> AdminConnection:
    """How an administrator reaches the database of a URL."""
    place = urlsplit(url)
    return AdminConnection(
        place.hostname or "", place.port or 5432, place.path.lstrip("/"), "postgres"
    )


def prepare(url: str, *, platform: bool = True) -> None:
    """Make the role, the API's tables and, if wanted, a small platform with rights to read it."""
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute(
            "select 1 from pg_roles where rolname = 'api_test_role'"
        ).fetchone():
            connection.execute("create role api_test_role login")
        if platform:
            connection.execute(PLATFORM)
            connection.execute("grant select on all tables in schema public to api_test_role")
    ensure(admin(url), "api_test_role")


@contextmanager
def serving(*, platform: bool = True, **more: str) -> Iterator[Api]:
    """An API process over a PostgreSQL of its own, for programs that are no pytest run."""
    with tempfile.TemporaryDirectory() as folder:
        server = PostgreSQL(Path(folder) / "data", "127.0.0.1", free_port())
        server.start()
        try:
            prepare(server.url, platform=platform)
            api = Api.start(environment(server.url, None, **more), Path(folder) / "log")
            try:
                until(api.is_live)
                yield api
            finally:
                api.process.terminate()
                api.process.wait()
        finally:
            server.stop(immediate=True)
