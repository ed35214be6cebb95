"""Requests a second and latencies of each endpoint of the API, beside a trivial one.

``CPU ms`` is the processor time that the API's process spends on a request; it hardly depends on
what else the machine does, and 1000 divided by it is what one core could serve in a second.

``python benchmarks/api.py`` starts PostgreSQL, Valkey and the API in a temporary folder, fills
them, and prints a table.  ``--seconds`` is the time for each endpoint and number of clients.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg

from lib.api.probe import measure
from lib.api.schema import AdminConnection, ensure
from lib.runtime.postgresql import PostgreSQL
from lib.runtime.valkey import Valkey

TOKEN = "benchmark"
ROOT = Path(__file__).resolve().parents[1]
ROWS, DIMENSIONS = 20_000, 384
SAMPLES, WARM_UP = 1_000, 64


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(url: str) -> None:
    """Clustered vectors with an HNSW index, agents, conversations, messages and memories."""
    chance = random.Random(5)
    centres = [[chance.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(64)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create extension vector")
        connection.execute("create role api login")
        connection.execute(
            "create table agents (id bigint primary key, name text);"
            "create table conversations (id bigint primary key, agent_id bigint, title text);"
            "create table messages (id bigint primary key, conversation_id bigint, content text);"
            "insert into agents select n, 'agent ' || n from generate_series(1, 200) n;"
            "insert into conversations select n, 1 + n % 200, 'c' from generate_series(1, 4000) n;"
            "insert into messages select n, 1 + n % 4000, repeat('words ', 20)"
            " from generate_series(1, 40000) n;"
            "create index on conversations (agent_id); create index on messages (conversation_id)"
        )
        connection.execute(
            f"create table memories (id bigint primary key, embedding vector({DIMENSIONS}))"
        )
        with connection.cursor().copy("copy memories from stdin") as copy:
            for number in range(ROWS):
                centre = chance.choice(centres)
                vector = [round(each + chance.gauss(0, 0.3), 4) for each in centre]
                copy.write_row((number, str(vector)))
        connection.execute("create index on memories using hnsw (embedding vector_cosine_ops)")
        connection.execute("grant select on all tables in schema public to api; analyze")


def start(database: PostgreSQL, cache: Valkey) -> tuple[str, "subprocess.Popen[bytes]"]:
    """Start the API and wait until it is ready."""
    port = free_port()
    variables = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_HOST": database.host,
        "DATABASE_PORT": str(database.port),
        "DATABASE_NAME": "postgres",
        "DATABASE_USER": "api",
        "REDIS_HOST": cache.host,
        "REDIS_PORT": str(cache.port),
        "API_TOKEN": TOKEN,
        "LOG_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT),
    }
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lib.api"], env={**os.environ, **variables})
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            if httpx.get(f"{url}/health/ready").json()["redis"] == "up":
                break
        except httpx.TransportError:
            if process.poll() is not None:
                raise
        time.sleep(0.01)
    print(f"from start to ready: {time.perf_counter() - began:.2f} s\n")
    return url, process


def fill_memories(url: str) -> None:
    """A memory for each deletion that ``endpoints`` may ask for."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "insert into orchestra.kv_memories (key, value)"
            " select 'gone/' || number, '1' from generate_series(0, 49999) number"
        )
        connection.execute("analyze")


async def closed_loop(
    url: str, request: Callable[[int], tuple[str, str, bytes]], clients: int, seconds: float
) -> tuple[list[float], int]:
    """Latencies in milliseconds of ``clients`` callers that each send one request after another.

    The second value is how many requests were sent in all, those of the warm-up included.
    """
    headers = {
        "authorization": f"Bearer {TOKEN}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-06-18",
    }
    latencies: list[float] = []
    sent = 0

    async def caller(number: int) -> None:
        nonlocal sent
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            for turn in range(10_000_000):
                method, path, body = request(number * 1_000_003 + turn)
                began = time.perf_counter()
                answer = await client.request(method, path, content=body)
                ended = time.perf_counter()
                answer.raise_for_status()
                sent += 1
                if ended > last:
                    return
                if ended > first:
                    latencies.append((ended - began) * 1000)

    first = time.perf_counter() + seconds * 0.2
    last = first + seconds
    await asyncio.gather(*(caller(number) for number in range(clients)))
    return latencies, sent


def endpoints() -> dict[str, Callable[[int], tuple[str, str, bytes]]]:
    """A request for each endpoint, by a number that varies."""
    chance = random.Random(7)
    vectors = [[chance.gauss(0, 1) for _ in range(DIMENSIONS)] for _ in range(50)]
    searches = [json.dumps({"vector": each, "k": 10}).encode() for each in vectors]
    value = json.dumps({"value": {"text": "what an agent remembers " * 8}}).encode()
    gone = itertools.count()
    call = {"name": "memory_get", "arguments": {"key": "bench/1"}}
    tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    mcp = json.dumps(tool).encode()
    return {
        "GET /health/live (trivial)": lambda _: ("GET", "/health/live", b""),
        "PUT memory": lambda n: ("PUT", f"/v1/memories/bench/{n % 500}", value),
        "GET memory (cached)": lambda n: ("GET", f"/v1/memories/bench/{n % 20}", b""),
        "DELETE memory": lambda _: ("DELETE", f"/v1/memories/gone/{next(gone)}", b""),
        "GET memories (prefix, 20)": lambda _: ("GET", "/v1/memories?prefix=bench/&limit=20", b""),
        "POST search (k 10)": lambda n: ("POST", "/v1/search", searches[n % 50]),
        "GET collections": lambda _: ("GET", "/v1/collections", b""),
        "GET agent": lambda n: ("GET", f"/v1/agents/{1 + n % 200}", b""),
        "GET agents (20)": lambda _: ("GET", "/v1/agents?limit=20", b""),
        "GET conversations (20)": lambda n: (
            "GET",
            f"/v1/agents/{1 + n % 200}/conversations?limit=20",
            b"",
        ),
        "GET conversation (10)": lambda n: ("GET", f"/v1/conversations/{1 + n % 4000}", b""),
        "POST /mcp memory_get (cached)": lambda _: ("POST", "/mcp", mcp),
    }


def row(name: str, clients: int, latencies: list[float], rate: float, cpu: float) -> str:
    """A line of the table; ``cpu`` in milliseconds of a request."""
    ordered = sorted(latencies)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.95, 0.99)]
    figures = " | ".join(f"{each:.2f}" for each in at)
    return f"| {name} | {clients} | {rate:,.0f} | {figures} | {cpu:.2f} | {len(ordered)} |"


def report(url: str, seconds: float, spent: Callable[[], float]) -> None:
    """Print the closed-loop table and the open-loop mix of the criterion.

    ``spent`` gives the processor seconds that the API has used so far.
    """
    print("| endpoint | clients | requests/s | p50 ms | p95 ms | p99 ms | CPU ms | samples |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    requests = endpoints()
    for request in requests.values():  # what is made once is made before anything is measured
        asyncio.run(closed_loop(url, request, 2, 0.2))
    for name, request in requests.items():
        for clients in (1, 8):
            before = spent()
            latencies, sent = asyncio.run(closed_loop(url, request, clients, seconds))
            cpu = (spent() - before) / sent * 1000
            print(row(name, clients, latencies, len(latencies) / seconds, cpu), flush=True)
    for clients in (16, 64):
        before = spent()
        found = measure(url, TOKEN, SAMPLES, clients=clients, rate=100, warm_up=WARM_UP)
        assert not found.errors, found.errors[:3]
        cpu = (spent() - before) / (SAMPLES + WARM_UP) * 1000
        latencies = list(found.latencies_ms)
        print(row("open loop, mix, 100/s", clients, latencies, found.rate, cpu), flush=True)


def processor_seconds(pid: int) -> float:
    """User and system time of a process, from Linux's /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Start everything, measure, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        database = PostgreSQL(Path(folder) / "postgresql", "127.0.0.1", free_port())
        cache = Valkey(Path(folder) / "valkey", "127.0.0.1", free_port())
        process = None
        try:
            database.start()
            cache.start()
            fill(database.url)
            ensure(AdminConnection(database.host, database.port, "postgres", "postgres"), "api")
            fill_memories(database.url)
            url, process = start(database, cache)
            pid = process.pid
            report(url, seconds, lambda: processor_seconds(pid))
        finally:
            if process is not None:
                process.terminate()
                process.wait()
            cache.stop()
            database.stop(immediate=True)


if __name__ == "__main__":
    main()
