"""The gRPC server: TLS on one port for all services, bearer tokens, errors on the wire."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
from grpc_status import rpc_status

from lib.localcloud import certificates, errors
from lib.localcloud.contract import Method
from lib.localcloud.core import SERVICES, Core
from lib.localcloud.dispatch import answer
from lib.localcloud.mishap import cut_connection
from lib.localcloud.rest import Face
from lib.localcloud.service import Service
from lib.localcloud.supervisor import Supervisor

log = logging.getLogger(__name__)

THREADS: Final = 24
OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
)


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the service by the path of a call; decoding waits until the service is loaded."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """A handler for the path, or None: the client then sees UNIMPLEMENTED."""
        owner, _, rpc = details.method.strip("/").rpartition("/")
        service = self._core.service(owner) if owner in SERVICES else None
        method = service.method(rpc) if service is not None else None
        if service is None or method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda body, context: self._answer(service, method, body, context)
        )

    def _answer(self, service: Service, method: Method, body: bytes, context: Any) -> bytes:
        header = dict(context.invocation_metadata()).get("authorization", "")
        try:
            response = answer(
                self._core,
                service,
                method,
                lambda: method.request.FromString(body),
                header,
                lambda: cut_connection(context.peer()),
            )
        except errors.RpcError as error:
            context.abort_with_status(rpc_status.to_status(error.status))
        content: bytes = response.SerializeToString()
        return content


class Server:
    """The embedded cloud as it serves; ``endpoint`` is where."""

    def __init__(self, state: Path, host: str, port: int, operation_seconds: float) -> None:
        self.endpoint = f"{host}:{port}"
        self._core = Core(state, host.rpartition(".")[0], operation_seconds)
        self._core.endpoint = self.endpoint
        self._supervisor = Supervisor(self._core)
        pair = certificates.server(state, host)
        ca = (state / "ca.pem").read_bytes()
        credentials = grpc.ssl_server_credentials(
            [(pair.key.read_bytes(), pair.certificate.read_bytes())], ca
        )
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="rpc"),
            handlers=(_Handler(self._core),),
            options=OPTIONS,
        )
        try:
            bound = self._server.add_secure_port(self.endpoint, credentials)
        except RuntimeError as error:
            raise _taken(self.endpoint) from error
        if bound != port:
            raise _taken(self.endpoint)
        try:
            self._face = Face(self._core, host, port + 1, pair)
        except OSError as error:
            raise _taken(f"{host}:{port + 1}") from error
        self.rest = self._face.endpoint

    def start(self) -> None:
        """Serve: first what runs behind the resources, then the port, then open operations."""
        self._supervisor.revive()
        self._server.start()
        self._face.start()
        resumed = self._core.operations.resume()
        log.info("serving on %s, %d operations resumed", self.endpoint, resumed)
        self._supervisor.start()

    def stop(self) -> None:
        """Stop serving and everything that runs behind the resources."""
        self._server.stop(grace=1.0).wait()
        self._face.stop()
        self._supervisor.stop()
        self._core.operations.stop()
        self._supervisor.halt()
        self._core.close()

    def token(self, principal: str) -> str:
        """The bearer token of a principal."""
        return self._core.identities.token(principal)


def _taken(endpoint: str) -> errors.EmbeddedCloudError:
    return errors.EmbeddedCloudError(
        f"The embedded cloud cannot listen on {endpoint}: the address is in use or cannot be used.",
        remedy="stop what listens there, or give another with --host and --port",
    )
