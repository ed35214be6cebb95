"""Redis or PostgreSQL gone, and back: slower but right, refused quickly, then well again."""

import signal
import socket
import threading
from collections.abc import Iterator

import httpx
import psycopg
import pytest
import redis

from lib.runtime.postgresql import PostgreSQL
from lib.runtime.valkey import Valkey
from tests.api.api_process import Api, free_port, prepare, until

ENTRY = "orchestra:kv:entry:"


@pytest.fixture
def own_valkey(tmp_path) -> Iterator[Valkey]:
    server = Valkey(tmp_path / "valkey", "127.0.0.1", free_port())
    server.start()
    yield server
    server.stop(immediate=True)


@pytest.fixture
def own_postgresql(tmp_path_factory) -> Iterator[PostgreSQL]:
    server = PostgreSQL(
        tmp_path_factory.mktemp("api-postgresql") / "data",
        "127.0.0.1",
        free_port(),
        settings={"fsync": "off"},
    )
    server.start()
    yield server
    server.stop(immediate=True)


def state(api: Api, part: str) -> str:
    return str(httpx.get(f"{api.url}/health/ready", timeout=20).json()[part])


def test_without_redis_reads_and_writes_stay_right_and_no_old_entry_returns(
    start_api, platform_url: str, own_valkey: Valkey
) -> None:
    api = start_api(platform_url, own_valkey.url)
    until(lambda: state(api, "redis") == "up")
    with api.client() as client:
        client.put("/v1/memories/outage", json={"value": "old"})
        client.put("/v1/memories/outage-gone", json={"value": "old"})
        with redis.Redis.from_url(own_valkey.url) as cache:
            assert cache.exists(ENTRY + "outage", ENTRY + "outage-gone") == 2
        own_valkey.stop()
        assert client.put("/v1/memories/outage", json={"value": "new"}).status_code == 200
        assert client.delete("/v1/memories/outage-gone").status_code == 204
        assert client.get("/v1/memories/outage").json()["value"] == "new"
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["redis"]) == (200, "down")
        own_valkey.start()
        with redis.Redis.from_url(own_valkey.url) as cache:
            until(lambda: cache.ping())
        until(lambda: state(api, "redis") == "up")
        assert client.get("/v1/memories/outage").json()["value"] == "new"
        assert client.get("/v1/memories/outage-gone").status_code == 404
    with psycopg.connect(platform_url) as connection:
        assert connection.execute("select count(*) from orchestra.kv_cache_repairs").fetchone() == (
            0,
        )


def test_repairs_of_a_process_that_died_are_done_by_the_next(
    start_api, platform_url: str, own_valkey: Valkey
) -> None:
    """A process writes while Redis is away and is killed; Redis returns with its old entry."""
    first = start_api(platform_url, own_valkey.url)
    until(lambda: state(first, "redis") == "up")
    with first.client() as client:
        client.put("/v1/memories/orphan", json={"value": "old"})
        own_valkey.stop()
        client.put("/v1/memories/orphan", json={"value": "new"})
    first.process.kill()
    own_valkey.start()
    with redis.Redis.from_url(own_valkey.url) as cache:
        assert b"old" in (cache.get(ENTRY + "orphan") or b"")
    second = start_api(platform_url, own_valkey.url)
    until(lambda: state(second, "redis") == "up")
    with second.client() as client:
        assert client.get("/v1/memories/orphan").json()["value"] == "new"


def test_a_process_killed_in_a_write_leaves_no_old_entry(
    start_api, platform_url: str, own_valkey: Valkey
) -> None:
    """The row is locked while the write runs, so the kill hits between announcement and commit."""
    api = start_api(platform_url, own_valkey.url)
    other = start_api(platform_url, own_valkey.url)
    until(lambda: state(api, "redis") == state(other, "redis") == "up")
    with api.client() as client, other.client() as neighbour:
        client.put("/v1/memories/torn", json={"value": "old"})
        assert neighbour.get("/v1/memories/torn").json()["value"] == "old"
        with (
            psycopg.connect(platform_url) as locker,
            redis.Redis.from_url(own_valkey.url) as cache,
        ):
            locker.execute("select 1 from orchestra.kv_memories where key = 'torn' for update")

            def write() -> None:
                with pytest.raises(httpx.TransportError):
                    client.put("/v1/memories/torn", json={"value": "new"})

            writing = threading.Thread(target=write)
            writing.start()
            until(lambda: cache.exists(ENTRY + "torn") == 0)
            assert neighbour.get("/v1/memories/torn").json()["value"] == "old"
            assert cache.exists(ENTRY + "torn") == 0  # nobody fills it while a write is open
            api.process.kill()
            writing.join()
            locker.execute(
                "update orchestra.kv_memories set value = '\"committed\"' where key = 'torn'"
            )
        assert neighbour.get("/v1/memories/torn").json()["value"] in ("committed", "new")


def test_a_dead_database_is_told_quickly_and_recovered_from(
    start_api, own_postgresql: PostgreSQL, redis_target_url: str
) -> None:
    own_postgresql_url = own_postgresql.url
    prepare(own_postgresql_url)
    api = start_api(own_postgresql_url, redis_target_url, BREAKER_OPEN_SECONDS="1")
    until(lambda: state(api, "redis") == "up")
    with api.client() as client:
        client.put("/v1/memories/kept", json={"value": 1})
        own_postgresql.stop(immediate=True)
        answers = [client.get(f"/v1/memories/miss-{n}") for n in range(12)]
        assert {each.status_code for each in answers} == {503}
        assert {each.json()["code"] for each in answers} == {"database_unavailable"}
        assert min(int(each.headers["retry-after"]) for each in answers) >= 1
        # The breaker is open meanwhile; a busy machine may let its wait pass once more.
        assert any("paused" in each.json()["detail"] for each in answers)
        assert client.get("/v1/memories/kept").json()["value"] == 1  # the cache still knows
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        assert client.post("/v1/search", json={"vector": [1, 2, 3]}).status_code == 503
        own_postgresql.start()
        until(lambda: client.get("/health/ready").status_code == 200)
        until(lambda: client.put("/v1/memories/kept", json={"value": 2}).status_code == 200)
        assert client.get("/v1/memories/kept").json()["value"] == 2
        assert api.process.poll() is None


def test_a_database_that_never_answers_is_given_up_and_then_not_waited_for(
    start_api, platform_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = start_api(
            platform_url,
            DATABASE_PORT=str(silent.getsockname()[1]),
            DATABASE_CONNECT_TIMEOUT="0.2",
            BREAKER_OPEN_SECONDS="600",
        )
        with api.client() as client:
            answers = [client.get("/v1/memories/any") for _ in range(12)]
        assert {each.status_code for each in answers} == {503}
        assert "TimeoutError" in answers[0].json()["detail"]
        assert "paused" in answers[-1].json()["detail"]
        assert int(answers[-1].headers["retry-after"]) > 1


def test_an_api_started_before_its_database_serves_when_that_comes(
    start_api, own_postgresql: PostgreSQL
) -> None:
    prepare(own_postgresql.url)
    own_postgresql.stop()
    api = start_api(own_postgresql.url)
    with api.client() as client:
        assert client.get("/health/ready").status_code == 503
        own_postgresql.start()
        until(lambda: client.get("/health/ready").status_code == 200)


def test_concurrent_writes_and_reads_end_with_cache_and_database_alike(
    api: Api, platform_url: str
) -> None:
    """Many writers and readers of few keys: afterwards every key reads what PostgreSQL holds."""
    keys = [f"storm/{n}" for n in range(4)]

    def work(seed: int) -> None:
        with api.client() as client:
            for turn in range(40):
                key = keys[(seed + turn) % 4]
                if (seed + turn) % 3:
                    client.get(f"/v1/memories/{key}")
                elif turn % 13 == 12:
                    client.delete(f"/v1/memories/{key}")
                else:
                    client.put(f"/v1/memories/{key}", json={"value": [seed, turn]})

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with api.client() as client, psycopg.connect(platform_url) as connection:
        for key in keys:
            row = connection.execute(
                "select value from orchestra.kv_memories where key = %s", [key]
            ).fetchone()
            answer = client.get(f"/v1/memories/{key}")
            assert answer.status_code == (200 if row else 404)
            assert not row or answer.json()["value"] == row[0]


def test_sigterm_drains_what_is_under_way(start_api, platform_url: str) -> None:
    api = start_api(platform_url)
    with api.client() as client, psycopg.connect(platform_url) as locker:
        client.put("/v1/memories/drain", json={"value": "old"})
        locker.execute("select 1 from orchestra.kv_memories where key = 'drain' for update")
        answers: list[httpx.Response] = []

        def write() -> None:
            with api.client() as other:
                answers.append(other.put("/v1/memories/drain", json={"value": "new"}))

        writing = threading.Thread(target=write)
        writing.start()
        with psycopg.connect(platform_url, autocommit=True) as watcher:
            until(
                lambda: (
                    watcher.execute(
                        "select 1 from pg_stat_activity where application_name = 'agent-api'"
                        " and wait_event_type = 'Lock'"
                    ).fetchone()
                    is not None
                )
            )
        api.process.send_signal(signal.SIGTERM)

        def refuses() -> bool:
            try:
                httpx.get(f"{api.url}/health/live")
            except httpx.TransportError:
                return True
            return False

        until(refuses)
        assert api.process.poll() is None
        locker.rollback()
        writing.join()
    assert [each.status_code for each in answers] == [200]
    assert api.process.wait(timeout=20) == 0


def test_a_slow_statement_is_ended_with_503(start_api, platform_url: str) -> None:
    api = start_api(platform_url, DATABASE_STATEMENT_TIMEOUT="0.2")
    with api.client() as client, psycopg.connect(platform_url) as locker:
        client.put("/v1/memories/slow", json={"value": 1})
        locker.execute("select 1 from orchestra.kv_memories where key = 'slow' for update")
        answer = client.put("/v1/memories/slow", json={"value": 2})
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
