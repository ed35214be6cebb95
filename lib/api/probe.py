"""Calls a running API from outside: every endpoint answers rightly, and how fast."""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from lib.errors import MigrationError

_PREFIX = "orchestra-probe/"


class ProbeFailed(MigrationError):
    """The API could not be reached or prepared for a measurement."""


@dataclass(frozen=True, slots=True)
class EndpointResult:
    """One endpoint's answer; ``passed`` when it is what it must be, ``detail`` says what it was."""

    endpoint: str
    passed: bool
    status: int
    detail: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class ApiMeasurement:
    """Latencies in milliseconds in order of intended sending, and each error by its text.

    ``by_operation`` holds the same latencies by kind of request.  An answer with a wrong status
    is an error and has no latency.
    """

    latencies_ms: tuple[float, ...]
    errors: tuple[str, ...]
    rate: float
    clients: int
    by_operation: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Errors among all measured requests, 0 to 1."""
        total = len(self.latencies_ms) + len(self.errors)
        return len(self.errors) / total if total else 1.0


def check_endpoints(
    base_url: str,
    token: str,
    *,
    timeout: float = 10.0,
    headers: dict[str, str] | None = None,
    verify: Any = True,
) -> list[EndpointResult]:
    """Call every endpoint once; never raises for what the API does.

    ``headers`` are sent besides (Cloud Run's ``X-Serverless-Authorization``, for one).  Agents
    and collections that this database has not may answer 404 ``collection_not_here``.
    """
    with httpx.Client(
        base_url=base_url,
        headers={**_headers(token), **(headers or {})},
        timeout=timeout,
        verify=verify,
    ) as client:
        return _Check(client, bool(token)).all()


def measure(
    base_url: str,
    token: str,
    samples: int = 400,
    *,
    clients: int = 16,
    rate: float = 100.0,
    warm_up: int = 64,
    timeout: float = 10.0,
    headers: dict[str, str] | None = None,
    verify: Any = True,
) -> ApiMeasurement:
    """Send a mix of reads, writes and searches at ``rate`` requests a second, come what may.

    A latency runs from the moment a request was due, not from when a client was free, so a stall
    counts for everyone it kept waiting.  ``clients`` is the number of connections; 1 measures a
    single caller.  ``warm_up`` requests come before and are not counted.  Raises ``ProbeFailed``.
    """
    if samples < 1 or clients < 1 or not rate > 0:
        raise ProbeFailed("samples, clients and rate must be more than 0.")
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)

    async def run() -> ApiMeasurement:
        async with httpx.AsyncClient(
            base_url=base_url,
            headers={**_headers(token), **(headers or {})},
            timeout=timeout,
            limits=limits,
            verify=verify,
        ) as client:
            load = _Load(client, clients, rate)
            await load.prepare()
            try:
                await load.send(warm_up)
                return await load.measured(samples)
            finally:
                await load.clean_up()

    try:
        return asyncio.run(run())
    except httpx.HTTPError as error:
        raise ProbeFailed(
            f"The API at {base_url} does not answer ({type(error).__name__}).",
            remedy="look at the log of its revision",
        ) from error


def _headers(token: str) -> dict[str, str]:
    content = {"content-type": "application/json"}
    return {**content, "authorization": f"Bearer {token}"} if token else content


class _Check:
    """One round over all endpoints; later ones use what earlier ones found."""

    def __init__(self, client: httpx.Client, guarded: bool) -> None:
        self._client = client
        self._guarded = guarded
        self._key = _PREFIX + uuid4().hex
        self._results: list[EndpointResult] = []

    def all(self) -> list[EndpointResult]:
        self._call("GET", "/health/live", lambda a: a.json()["status"] == "live")
        self._call("GET", "/health/ready", lambda a: a.json()["database"] == "up")
        self._call("GET", "/metrics", lambda a: "api_requests_total" in a.text)
        self._call("GET", "/openapi.json", lambda a: "/v1/search" in a.json()["paths"])
        self._authentication()
        self._memories()
        self._search()
        self._agents()
        self._mcp()
        return self._results

    def _authentication(self) -> None:
        if not self._guarded:
            return
        none = {"authorization": "Bearer not-the-token"}
        self._call("GET", "/v1/memories", status=401, headers=none, name="a wrong token")

    def _memories(self) -> None:
        path, value = f"/v1/memories/{self._key}", {"text": "ünïcode 🧠", "n": [1, 2.5, None]}
        body = {"value": value, "ttl_seconds": 120}

        def same(answer: httpx.Response) -> bool:
            return bool(answer.json()["value"] == value)

        name = "/v1/memories/{key}"
        self._call("PUT", path, same, json=body, name=name)
        self._call("GET", path, same, name=name)
        self._call(
            "GET",
            f"/v1/memories?prefix={self._key}",
            lambda a: [each["key"] for each in a.json()["items"]] == [self._key],
            name="/v1/memories",
        )
        self._call("DELETE", path, status=204, name=name)
        self._call("GET", path, status=404, name=f"{name} after its deletion")

    def _search(self) -> None:
        answer = self._call("GET", "/v1/collections", lambda a: isinstance(a.json(), list))
        collections = answer.json() if answer is not None and answer.status_code == 200 else []
        for each in collections[:20]:
            if not 0 < each["dimensions"] <= 16_000:
                continue
            vector = _unit(random.Random(1), each["dimensions"])
            body = {"collection": each["name"], "vector": vector, "k": 3}
            name = f"/v1/search {each['name']}"
            self._call("POST", "/v1/search", _ordered, json=body, name=name)
        if not collections:
            body = {"vector": [1.0, 0.0], "k": 1}
            self._call("POST", "/v1/search", status=404, json=body)

    def _agents(self) -> None:
        answer = self._call("GET", "/v1/agents?limit=2", _is_page, missing=True, name="/v1/agents")
        agent = _first_id(answer)
        if agent is None:
            return
        base = f"/v1/agents/{agent}"
        self._call("GET", base, lambda a: bool(a.json()), missing=True, name="/v1/agents/{id}")
        answer = self._call(
            "GET",
            f"{base}/conversations?limit=2",
            _is_page,
            missing=True,
            name="/v1/agents/{id}/conversations",
        )
        conversation = _first_id(answer)
        if conversation is not None:
            self._call(
                "GET",
                f"/v1/conversations/{conversation}",
                lambda a: isinstance(a.json()["messages"], list),
                missing=True,
                name="/v1/conversations/{id}",
            )

    def _mcp(self) -> None:
        hello = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "probe", "version": "1"},
            },
        }
        accept = {"accept": "application/json, text/event-stream"}
        good = self._call(
            "POST", "/mcp", lambda a: "result" in a.json(), json=hello, headers=accept
        )
        if good is None:
            return
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        accept["mcp-protocol-version"] = "2025-06-18"
        self._call(
            "POST",
            "/mcp",
            lambda a: len(a.json()["result"]["tools"]) == 5,
            json=listing,
            headers=accept,
            name="/mcp tools/list",
        )

    def _call(
        self,
        method: str,
        path: str,
        right: Callable[[httpx.Response], bool] = lambda _: True,
        *,
        status: int = 200,
        missing: bool = False,
        name: str = "",
        **more: Any,
    ) -> httpx.Response | None:
        began = time.perf_counter()
        answer: httpx.Response | None = None
        try:
            answer = self._client.request(method, path, **more)
        except httpx.HTTPError as error:
            passed, detail = False, f"{type(error).__name__}: {error}"
        else:
            passed, detail = _judge(answer, status, right, missing)
        took = (time.perf_counter() - began) * 1000
        code = answer.status_code if answer is not None else 0
        endpoint = f"{method} {name or path}"
        self._results.append(EndpointResult(endpoint, passed, code, detail, round(took, 2)))
        return answer


def _judge(
    answer: httpx.Response, status: int, right: Callable[[httpx.Response], bool], missing: bool
) -> tuple[bool, str]:
    try:
        if missing and answer.status_code == 404:
            code = answer.json().get("code")
            return code == "collection_not_here", f"404 {code}"
        if answer.status_code != status:
            return False, f"{answer.status_code} instead of {status}: {answer.text[:200]}"
        if not right(answer):
            return False, f"{status}, but not what was expected: {answer.text[:200]}"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return False, f"unreadable answer ({type(error).__name__}): {answer.text[:200]}"
    return True, str(status)


def _is_page(answer: httpx.Response) -> bool:
    return isinstance(answer.json()["items"], list)


def _ordered(answer: httpx.Response) -> bool:
    distances = [each["distance"] for each in answer.json()["matches"]]
    known = [each for each in distances if each is not None]
    return len(distances) <= 3 and known == sorted(known)


def _first_id(answer: httpx.Response | None) -> str | None:
    if answer is None or answer.status_code != 200:
        return None
    named = [each["id"] for each in answer.json()["items"] if each.get("id") is not None]
    return str(named[0]) if named else None


def _unit(chance: random.Random, dimensions: int) -> list[float]:
    vector = [chance.gauss(0, 1) for _ in range(dimensions)]
    length = sum(each * each for each in vector) ** 0.5
    return [each / length for each in vector]


class _Load:
    """An open loop: requests start when they are due, whether earlier ones are done or not."""

    def __init__(self, client: httpx.AsyncClient, clients: int, rate: float) -> None:
        self._client = client
        self._clients = clients
        self._rate = rate
        self._chance = random.Random(20260101)
        self._keys = [f"{_PREFIX}{uuid4().hex}/{n}" for n in range(32)]
        self._searches: list[bytes] = []

    async def prepare(self) -> None:
        """Store the keys that will be read, and make the queries."""
        for key in self._keys:
            answer = await self._client.put(f"/v1/memories/{key}", content=self._value())
            if answer.status_code != 200:
                raise ProbeFailed(f"A memory can't be stored: {answer.text[:200]}")
        answer = await self._client.get("/v1/collections")
        collections = answer.json() if answer.status_code == 200 else []
        for each in collections:
            if 0 < each["dimensions"] <= 4096:
                for _ in range(4):
                    vector = _unit(self._chance, each["dimensions"])
                    body = {"collection": each["name"], "vector": vector, "k": 10}
                    self._searches.append(json.dumps(body).encode())

    async def clean_up(self) -> None:
        """Delete what ``prepare`` stored."""
        for key in self._keys:
            try:
                await self._client.delete(f"/v1/memories/{key}")
            except httpx.HTTPError:
                return  # each has a time to live

    async def measured(self, samples: int) -> ApiMeasurement:
        """Send ``samples`` requests and keep every outcome."""
        outcomes = await self.send(samples)
        operations: dict[str, list[float]] = {}
        for operation, latency, error in outcomes:
            if not error:
                operations.setdefault(operation, []).append(latency)
        return ApiMeasurement(
            tuple(latency for _, latency, error in outcomes if not error),
            tuple(f"{operation}: {error}" for operation, _, error in outcomes if error),
            self._rate,
            self._clients,
            {name: tuple(latencies) for name, latencies in operations.items()},
        )

    async def send(self, count: int) -> Sequence[tuple[str, float, str]]:
        """Send ``count`` requests at the rate; operation, milliseconds and error of each."""
        free = asyncio.Semaphore(self._clients)
        began = time.perf_counter() + 0.01
        tasks = []
        for number in range(count):
            due = began + number / self._rate
            early = due - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            tasks.append(asyncio.create_task(self._one(due, free, *self._next(number))))
        return await asyncio.gather(*tasks)

    async def _one(
        self,
        due: float,
        free: asyncio.Semaphore,
        operation: str,
        request: Callable[[], Awaitable[httpx.Response]],
    ) -> tuple[str, float, str]:
        async with free:
            try:
                answer = await request()
                error = "" if answer.status_code == 200 else f"status {answer.status_code}"
            except httpx.HTTPError as failure:
                error = type(failure).__name__
        return operation, (time.perf_counter() - due) * 1000, error

    def _next(self, number: int) -> tuple[str, Callable[[], Awaitable[httpx.Response]]]:
        """Of ten requests four read, two list, two write and two search."""
        path = f"/v1/memories/{self._chance.choice(self._keys)}"
        turn = number % 10
        if turn in (3, 8) and self._searches:
            content = self._chance.choice(self._searches)
            return "search", lambda: self._client.post("/v1/search", content=content)
        if turn in (1, 6):
            return "write", lambda: self._client.put(path, content=self._value())
        if turn in (4, 9):
            listing = f"/v1/memories?prefix={_PREFIX}&limit=10"
            return "list", lambda: self._client.get(listing)
        return "read", lambda: self._client.get(path)

    def _value(self) -> bytes:
        value = {"text": "what an agent remembers " * 8, "n": self._chance.random()}
        return json.dumps({"value": value, "ttl_seconds": 600}).encode()
