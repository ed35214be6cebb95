"""The ASGI application: routes, MCP, error answers, and what surrounds each request."""

import asyncio
import importlib
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.api.configuration import Configuration
from lib.api.errors import ApiError
from lib.api.middleware import Surroundings, problem
from lib.api.routes import all_routes
from lib.api.service import Service

log = logging.getLogger(__name__)
_HTTP_CODES = {404: "no_such_path", 405: "method_not_allowed", 413: "body_too_large"}
_PROBLEM = "application/problem+json"


def create(configuration: Configuration) -> ASGIApp:
    """The application; it connects when the server starts it, not before."""
    service = Service(configuration)
    mcp = _McpEndpoint(service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.running(), mcp.running():
            yield

    app = FastAPI(
        title="AI Orchestra agent API",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            RequestValidationError: _invalid,
            Exception: _failure,
        },
    )
    app.router.routes.extend(all_routes(service))
    app.router.routes.append(Route("/mcp", endpoint=mcp))
    _complete_description(app)
    return Surroundings(app, configuration.token, configuration.max_body_bytes, service.metrics)


class _McpEndpoint:
    """The MCP server as an ASGI endpoint, loaded while the rest of the API already serves.

    Its SDK takes as long to import as everything else, and a new instance has callers waiting.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._manager: asyncio.Future[Any] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load and run the server until the context ends."""
        self._manager = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(self._manager))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, loaded: "asyncio.Future[Any]") -> None:
        try:
            module = await asyncio.to_thread(importlib.import_module, "lib.api.mcp_service")
            manager = module.session_manager(self._service)
            async with manager.run():
                loaded.set_result(manager)
                await asyncio.Event().wait()
        except Exception as error:
            log.exception("the MCP server could not be loaded")
            if not loaded.done():
                loaded.set_exception(error)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._manager is not None
        manager = await asyncio.shield(self._manager)
        await manager.handle_request(scope, receive, send)


def _complete_description(app: FastAPI) -> None:
    """Tell the OpenAPI document of the bearer token and of problem details."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
        document["security"] = [{"bearer": []}]
        for path in document["paths"].values():
            for operation in path.values():
                for answer in operation["responses"].values():
                    _name_problems(answer.get("content", {}))
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _name_problems(content: dict[str, Any]) -> None:
    for kind, about in list(content.items()):
        reference = about.get("schema", {}).get("$ref", "")
        if reference.endswith(("/Problem", "/HTTPValidationError")):
            del content[kind]
            content[_PROBLEM] = {"schema": {"$ref": "#/components/schemas/Problem"}}


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    return _problem(request, error.status, error.code, error.what, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "bad_request")
    return _problem(request, error.status_code, code, str(error.detail), dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    """The first few faults by place; what was sent is not repeated, for JSON cannot hold it all."""
    assert isinstance(error, RequestValidationError)
    faults = [
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in list(error.errors())[:5]
    ]
    detail = "; ".join(faults).encode(errors="replace").decode()
    return _problem(request, 422, "invalid_value", detail, {})


async def _failure(request: Request, _error: Exception) -> Response:
    return _problem(request, 500, "internal", "The server failed; its log has the reason.", {})


def _problem(
    request: Request, status: int, code: str, detail: str, headers: dict[str, str]
) -> Response:
    body = problem(status, code, detail, request.state.request_id)
    return Response(body, status, headers=headers, media_type=_PROBLEM)
