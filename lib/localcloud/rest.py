"""The REST face: HTTP and JSON over TLS, for all APIs; some speak nothing else.

It stands beside the gRPC port with the same authority, identities, faults and counts.
"""

import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc import code_pb2

from lib.localcloud import errors, transcoding
from lib.localcloud.certificates import Pair
from lib.localcloud.contract import Api, Method
from lib.localcloud.core import REST_SERVICES, Core
from lib.localcloud.dispatch import answer
from lib.localcloud.service import Service
from lib.localcloud.store import OperationRow

log = logging.getLogger(__name__)

LARGEST_BODY: Final = 64 << 20
LONGEST_SIZE: Final = 1024
HTTP: Final = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "ABORTED": 409, "RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
OPERATION_METHODS: Final = frozenset(
    ("GetOperation", "ListOperations", "CancelOperation", "DeleteOperation")
)
"""As Service Networking's reference lists them; Compute's operations have routes of their own."""


@dataclass(frozen=True, slots=True)
class RestRequest:
    """One request: the variables of its path and query, and its JSON body."""

    values: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """A verb and a path template such as ``/v1/things/{thing}``, and the RPC that answers."""

    verb: str
    template: str
    rpc: str
    operation: bool = False


class RestService(Service):
    """An API without gRPC: a method for each RPC of its ``routes``, from and to plain JSON."""

    proto: ClassVar[str]
    routes: ClassVar[tuple[Route, ...]] = ()

    def __init__(self, core: Core) -> None:
        self.core = core
        self.name = self.proto
        methods = {each.rpc: _method(self.proto, each) for each in self.routes}
        self.api = Api(self.name, methods, {}, OPERATION_METHODS)
        self.of_kind = {}

    def project(self, request: RestRequest) -> str:
        """The id of the project in the path; PERMISSION_DENIED where there is none."""
        given = request.values.get("project", "")
        found = self.core.project_id(given)
        if found is None:
            raise errors.denied(f"{self.title.partition('.')[0]}.projects.get", given)
        return found

    def _check_enabled(self, request: Any) -> None:
        self.require_enabled(request.values.get("project", ""))

    def failed(self, row: OperationRow, error: errors.RpcError) -> None:
        """Nothing: all that an operation does is one write, at its end."""

    def metadata(self, _row: OperationRow) -> Message | None:
        """These APIs tell none."""
        return empty_pb2.Empty()


def _method(service: str, route: Route) -> Method:
    answers: Any = operations_pb2.Operation if route.operation else empty_pb2.Empty
    return Method(f"/{service}/{route.rpc}", empty_pb2.Empty, answers)


@cache
def _expression(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template))


class Face:
    """Serves all services as JSON on a port of its own."""

    def __init__(self, core: Core, host: str, port: int, pair: Pair) -> None:
        handler = type("Handler", (_Handler,), {"core": core})
        self._server = ThreadingHTTPServer((host, port), handler, bind_and_activate=False)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._server.server_bind()
        self.endpoint = f"{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="rest", kwargs={"poll_interval": 0.1},
            daemon=True,
        )  # fmt: skip

    def start(self) -> None:
        """Serve."""
        self._server.server_activate()
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    core: Core

    def _serve(self) -> None:
        try:
            response = self._answer(self._content())
        except errors.RpcError as error:
            self._reply(*_told(error))
        else:
            self._reply(200, response)

    def _content(self) -> bytes:
        """The body; after INVALID_ARGUMENT for its length the connection is of no more use."""
        content = b""
        try:
            for size in self._sizes():
                if not 0 <= size <= LARGEST_BODY - len(content):
                    raise ValueError(size)
                content += self.rfile.read(size)
        except ValueError as error:
            self.close_connection = True
            told = f"the request has no length, or more than {LARGEST_BODY} bytes"
            raise errors.invalid("body", told) from error
        return content

    def _sizes(self) -> Iterator[int]:
        """The size of each part of the body that is to be read next."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield int(self.headers.get("Content-Length", "0"))
            return
        while size := int(self.rfile.readline(LONGEST_SIZE).partition(b";")[0], 16):
            yield size
            self.rfile.readline(LONGEST_SIZE)
        while self.rfile.readline(LARGEST_BODY).strip():
            pass  # what may follow the last part

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _answer(self, content: bytes) -> Any:
        url = urlsplit(self.path)
        own = _routed(self.core, self.command, url.path)
        if own is not None:
            service, route, values = own
            told = {**dict(parse_qsl(url.query)), **values}
            return self._ask(
                service, service.api.methods[route.rpc], partial(_request, told, content)
            )
        target = transcoding.find(self.core, self.command, url.path)
        if target is None:
            raise errors.not_found(url.path, "Path")
        numbers = transcoding.form(url.query)
        read = partial(transcoding.decode, target, url.query, content)
        return transcoding.encode(self._ask(target.service, target.method, read), numbers)

    def _ask(self, service: Service, method: Method, read: Callable[[], Any]) -> Any:
        header = self.headers.get("Authorization", "")
        return answer(self.core, service, method, read, header, self._cut)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _reply(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the caller has gone, or a fault has cut the connection
            self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are told where they are answered."""


def _routed(core: Core, verb: str, path: str) -> tuple[Service, Route, dict[str, str]] | None:
    """The route of an API without gRPC, and what its path says."""
    for name in REST_SERVICES:
        service: Any = core.service(name)
        for route in service.routes:
            match = _expression(route.template).fullmatch(path)
            if match and route.verb == verb:
                return service, route, match.groupdict()
    return None


def _request(values: Mapping[str, str], content: bytes) -> RestRequest:
    return RestRequest(values, transcoding.loaded(content))


def _told(error: errors.RpcError) -> tuple[int, dict[str, Any]]:
    status = code_pb2.Code.Name(error.code)
    number = HTTP.get(status, 500)
    details = MessageToDict(error.status).get("details", [])
    told = {"code": number, "message": error.message, "status": status, "details": details}
    return number, {"error": told}
