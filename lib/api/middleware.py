"""What surrounds every request: its id, the token, size limits, one log line, metrics."""

import hmac
import json
import logging
import re
import time
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.api.metrics import Metrics
from lib.api.values import CONTROL

log = logging.getLogger("lib.api")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_OPEN_PATHS = ("/health/live", "/health/ready")
_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH")


def problem(status: int, code: str, detail: str, request_id: str, **more: Any) -> bytes:
    """The body of an answer that is not a success, as RFC 9457 problem details."""
    return json.dumps(
        {"status": status, "code": code, "detail": detail, "request_id": request_id, **more}
    ).encode()


class _TooLarge(HTTPException):
    """A body without a length turned out to be longer than allowed."""

    def __init__(self, limit: int) -> None:
        # An HTTPException is what FastAPI lets through while it reads a body.
        super().__init__(413, f"At most {limit} bytes.")


class Surroundings:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, token: str, max_body_bytes: int, metrics: Metrics) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else b""
        self._limit = max_body_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's message; only HTTP is looked at."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._limit)
        self._metrics.in_flight += 1
        try:
            await self._serve(exchange)
        finally:
            self._metrics.in_flight -= 1
            self._finish(exchange)

    async def _serve(self, exchange: "_Exchange") -> None:
        refusal = self._refusal(exchange)
        if refusal:
            await exchange.answer(*refusal)
            return
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except _TooLarge as error:
            await exchange.answer(413, "body_too_large", error.detail)
        except Exception:
            log.exception("request failed", extra={"fields": {"request_id": exchange.id}})
            await exchange.answer(500, "internal", "The server failed; its log has the reason.")

    def _refusal(self, exchange: "_Exchange") -> tuple[int, str, str] | None:
        scope, headers = exchange.scope, exchange.headers
        if scope["path"] not in _OPEN_PATHS and not self._allowed(headers):
            return 401, "unauthorized", "Send the header 'Authorization: Bearer <token>'."
        if not _is_utf8(scope.get("raw_path") or b"") or not _is_utf8(scope["query_string"]):
            return 400, "not_utf8", "The path or query does not decode to UTF-8."
        if CONTROL.search(scope["path"]):
            # Routes are regular expressions, whose end also matches before a last line end.
            return 400, "control_character", "The path holds a control character."
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:19]) > self._limit:
            return 413, "body_too_large", f"At most {self._limit} bytes."
        return None

    def _allowed(self, headers: dict[bytes, bytes]) -> bool:
        if not self._expected:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        given = b"Bearer " + given.strip() if scheme.lower() == b"bearer" else b""
        return hmac.compare_digest(given, self._expected)

    def _finish(self, exchange: "_Exchange") -> None:
        scope = exchange.scope
        seconds = time.perf_counter() - exchange.began
        route = getattr(scope.get("route"), "path", None) or (
            "/mcp" if scope["path"] == "/mcp" else "unmatched"
        )
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.observe(method, route, exchange.status, seconds)
        level = logging.DEBUG if scope["path"] in _OPEN_PATHS else logging.INFO
        if log.isEnabledFor(level):
            fields = {
                "request_id": exchange.id,
                "method": method,
                "route": route,
                "status": exchange.status,
                "milliseconds": round(seconds * 1000, 2),
            }
            log.log(level, "request", extra={"fields": fields})


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self.scope = scope
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.id
        self.status = 0
        self.began = time.perf_counter()
        self._receive, self._send = receive, send
        self._left = self._limit = limit

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _TooLarge(self._limit)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
        await self._send(message)

    async def answer(self, status: int, code: str, detail: str) -> None:
        """Send a whole answer, unless one has begun."""
        if self.status:
            return
        body = problem(status, code, detail, self.id)
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
        ]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status == 413:
            headers.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _is_utf8(encoded: bytes) -> bool:
    if b"%" not in encoded:
        return encoded.isascii()
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return False
    return True
