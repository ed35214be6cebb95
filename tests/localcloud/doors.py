"""Three ways into a cloud with Google's own clients: gRPC, gRPC with asyncio, and REST.

A door makes a call and gives its answer as plain values, the same whichever way it was asked.
"""

import asyncio
import importlib
import inspect
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.extended_operation import ExtendedOperation
from google.api_core.operation import Operation, polling
from google.api_core.operation_async import AsyncOperation
from google.oauth2.credentials import Credentials
from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2

from tests.localcloud.conftest import CLIENTS

DOORS = ("grpc", "grpc_asyncio", "rest")
COMPUTE = {
    "networks": ("compute_v1", "networks", "Networks"),
    "subnetworks": ("compute_v1", "subnetworks", "Subnetworks"),
    "addresses": ("compute_v1", "global_addresses", "GlobalAddresses"),
    "regional_addresses": ("compute_v1", "addresses", "Addresses"),
    "forwarding_rules": ("compute_v1", "forwarding_rules", "ForwardingRules"),
    "global_operations": ("compute_v1", "global_operations", "GlobalOperations"),
    "region_operations": ("compute_v1", "region_operations", "RegionOperations"),
}
"""Clients that have REST alone, which then is what the synchronous door uses."""

NO_REST = {"accounts"}
REGIONAL = {"indexes", "index_endpoints"}
REFUSED_BY_THE_CLIENT = "REFUSED_BY_THE_CLIENT"
"""What a REST client does with a name that fits no path: it never asks."""

TOOK_TOO_LONG = "TOOK_TOO_LONG"
"""A call or an operation that we stopped waiting for."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a call came to: a code, and the response or what is told of the error.

    ``operation`` is the name of the operation behind it, ``pages`` what a list came in.
    """

    code: str
    response: Values = field(default_factory=dict)
    pages: list[Values] = field(default_factory=list)
    metadata: Values = field(default_factory=dict)
    message: str = ""
    details: list[Values] = field(default_factory=list)
    operation: str = ""


class Place(Protocol):
    """A cloud: how its clients are made, and how its operations are waited for."""

    initial: float
    maximum: float
    seconds: float

    def client(self, name: str, door: str, who: str, at: str) -> Any:
        """A client; ``at`` is an address of its own, ``who`` not the owner where it is given."""


@dataclass(frozen=True)
class Embedded:
    """The embedded cloud that ``start --json`` told of; ``stranger`` is somebody else's token."""

    about: Values
    stranger: str = ""
    initial: float = 0.02
    maximum: float = 0.1
    seconds: float = 120.0

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Let REST clients trust its authority, as anybody would: by the environment."""
        before = os.environ.get("REQUESTS_CA_BUNDLE")
        os.environ["REQUESTS_CA_BUNDLE"] = self.about["ca"]
        try:
            yield
        finally:
            os.environ.pop("REQUESTS_CA_BUNDLE")
            if before is not None:
                os.environ["REQUESTS_CA_BUNDLE"] = before

    def client(self, name: str, door: str, who: str = "", at: str = "") -> Any:
        """A client; every address is the cloud's own."""
        token = self.stranger if who else self.about["token"]
        kind, transports = _classes(name, door)
        if door == "rest" or name in COMPUTE:
            options = ClientOptions(api_endpoint=f"https://{self.about['rest']}")
            return kind(transport="rest", credentials=Credentials(token), client_options=options)
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(Path(self.about["ca"]).read_bytes()),
            grpc.access_token_call_credentials(token),
        )
        library = grpc.aio if door == "grpc_asyncio" else grpc
        channel = library.secure_channel(self.about["endpoint"], credentials)
        return kind(transport=transports(channel=channel))


@dataclass(frozen=True)
class Google:
    """Google itself, with Application Default Credentials; ``other`` are a stranger's."""

    credentials: Any
    region: str
    quota_project: str = ""
    other: Any = None
    initial: float = 2.0
    maximum: float = 20.0
    seconds: float = 5400.0

    def client(self, name: str, door: str, who: str = "", at: str = "") -> Any:
        """A client at Google's addresses."""
        options = ClientOptions()
        if self.quota_project:
            options.quota_project_id = self.quota_project
        if at or name in REGIONAL:
            options.api_endpoint = at or f"{self.region}-aiplatform.googleapis.com"
        kind, _ = _classes(name, door)
        return kind(
            transport="rest" if name in COMPUTE else door, client_options=options,
            credentials=self.other if who else self.credentials,
        )  # fmt: skip


def _classes(name: str, door: str) -> tuple[Any, Any]:
    package, service, kind = {**CLIENTS, **COMPUTE}[name]
    door = "rest" if name in COMPUTE else door
    module = importlib.import_module(f"google.cloud.{package}.services.{service}")
    transports = importlib.import_module(f"{module.__name__}.transports")
    stem = {"grpc": "Grpc", "grpc_asyncio": "GrpcAsyncIO", "rest": "Rest"}[door]
    client = f"{kind}AsyncClient" if door == "grpc_asyncio" else f"{kind}Client"
    return getattr(module, client), getattr(transports, f"{kind}{stem}Transport", None)


class Door:
    """Calls by one transport; keeps its clients until it is closed."""

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.name = name
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._runner = asyncio.Runner() if name == "grpc_asyncio" else None

    def serves(self, client: str) -> bool:
        """Whether Google's client has this transport."""
        none = {"rest": NO_REST, "grpc_asyncio": COMPUTE}
        return client not in none.get(self.name, ())

    def call(
        self, client: str, method: str, request: Values, who: str = "", at: str = ""
    ) -> Answer:
        """Make a call, wait for its operation, read all its pages."""
        try:
            if self._runner is not None:
                return self._runner.run(self._called_async(client, method, request, who, at))
            answer = getattr(self._client(client, who, at), method)(request=request)
            if isinstance(answer, ExtendedOperation):
                return self._computed(answer.name, request, who)
            return self._told(answer)
        except exceptions.GoogleAPICallError as error:
            return _failed(error)
        except (exceptions.RetryError, TimeoutError) as error:
            return Answer(TOOK_TOO_LONG, message=str(error))
        except ValueError as error:
            if self.name != "rest" or "HTTP binding" not in str(error):
                raise
            return Answer(REFUSED_BY_THE_CLIENT)

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            closed = client.transport.close()
            if self._runner is not None and inspect.isawaitable(closed):
                self._runner.run(_awaited(closed))
        if self._runner is not None:
            self._runner.close()

    def _client(self, name: str, who: str, at: str) -> Any:
        key = (name, who, at)
        if key not in self._clients:
            self._clients[key] = self.place.client(name, self.name, who, at)
        return self._clients[key]

    def _told(self, answer: Any) -> Answer:
        if isinstance(answer, Operation):
            pace = polling.DEFAULT_POLLING.with_delay(
                initial=self.place.initial, maximum=self.place.maximum
            )
            result = answer.result(polling=pace.with_timeout(self.place.seconds))
            return _done(answer, result)
        if hasattr(answer, "pages"):
            return Answer("OK", pages=[plain(page) for page in answer.pages])
        return Answer("OK", plain(answer))

    def _computed(self, operation: str, request: Values, who: str) -> Answer:
        """What an operation of Compute came to; those that hold results know no other address."""
        where = {key: request[key] for key in ("project", "region") if key in request}
        client = self._client("region_operations" if "region" in where else "global_operations",
                              who, "")  # fmt: skip
        end = time.monotonic() + self.place.seconds
        while time.monotonic() < end:
            told = client.wait(request={**where, "operation": operation})
            if told.status.name == "DONE":
                code = told.error.errors[0].code if told.error.errors else "OK"
                return Answer(code, plain(told), message=told.http_error_message)
        return Answer(TOOK_TOO_LONG)

    async def _called_async(self, client: str, method: str, request: Values, who: str, at: str,
                            ) -> Answer:  # fmt: skip
        answer = await getattr(self._client(client, who, at), method)(request=request)
        if isinstance(answer, AsyncOperation):
            pause, end = self.place.initial, time.monotonic() + self.place.seconds
            while not await answer.done() and time.monotonic() < end:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, self.place.maximum)
            error = answer.operation.error  # of which the error that is raised has no code
            if answer.operation.HasField("error"):
                told = MessageToDict(error).get("details", [])
                return Answer(code_pb2.Code.Name(error.code), message=error.message, details=told)
            return _done(answer, await answer.result(timeout=1))
        if hasattr(answer, "pages"):
            return Answer("OK", pages=[plain(page) async for page in answer.pages])
        return Answer("OK", plain(answer))


async def _awaited(value: Any) -> Any:
    return await value


def _done(operation: Any, result: Any) -> Answer:
    metadata = plain(operation.metadata) if operation.metadata is not None else {}
    return Answer("OK", plain(result), [], metadata, operation=operation.operation.name)


def plain(message: Any) -> Values:
    """A message as JSON values; enums by name."""
    if message is None:
        return {}
    pb = type(message).pb(message) if hasattr(type(message), "pb") else message
    told: Values = MessageToDict(pb)
    return told


def _failed(error: exceptions.GoogleAPICallError) -> Answer:
    """The error as Google's JSON tells it, also where it came over gRPC."""
    body: Values = {}
    if error.response is not None and hasattr(error.response, "json"):
        body = error.response.json().get("error", {})
    code = body.get("status") or (error.grpc_status_code.name if error.grpc_status_code else "")
    details = [each if isinstance(each, dict) else _packed(each) for each in error.details]
    message = body.get("message") or error.message
    return Answer(code or f"HTTP {error.code}", message=message, details=details)


def _packed(detail: Any) -> Values:
    holder = any_pb2.Any()
    holder.Pack(detail)
    told: Values = MessageToDict(holder)
    return told
