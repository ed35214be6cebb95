"""What runs in an embedded workstation: an HTTP server that knows its environment and home.

``GET /healthz`` answers anybody; everything else asks for a bearer token of
``GenerateAccessToken``.  ``GET /`` describes the workstation, ``GET /files/NAME`` and
``PUT /files/NAME`` read and write below the persistent home folder.
"""

import hashlib
import hmac
import ipaddress
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

LARGEST_FILE: Final = 64 << 20


def sign(key: bytes, expires: int, port: int) -> str:
    """A token for a port (0: every port) that is good until ``expires`` (seconds since 1970)."""
    text = f"{expires}.{port}"
    return f"{text}.{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"


def valid(key: bytes, token: str, port: int) -> bool:
    """Whether a token is one of ours and still good."""
    parts = token.split(".")
    if len(parts) != 3 or not (parts[0].isdigit() and parts[1].isdigit()):
        return False
    expires, own_port = int(parts[0]), int(parts[1])
    genuine = hmac.compare_digest(sign(key, expires, own_port), token)
    return genuine and expires > time.time() and own_port in (0, port)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key = b""
    home = Path()
    about: dict[str, object]

    def do_GET(self) -> None:
        """Health, description, files."""
        if self.path == "/healthz":
            self._answer(200, b'{"status": "ok"}')
        elif self._allowed():
            if self.path == "/":
                self._answer(200, json.dumps(self.about).encode())
            else:
                self._read()

    def do_PUT(self) -> None:
        """Write a file below the home folder."""
        size = int(self.headers.get("Content-Length", "0"))
        if size > LARGEST_FILE:
            self.close_connection = True
            self._answer(413, b'{"error": "too large"}')
            return
        body = self.rfile.read(size)
        if self._allowed():
            path = self._file()
            if path is None:
                self._answer(404, b'{"error": "not found"}')
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            self._answer(201, b"{}")

    def _read(self) -> None:
        path = self._file()
        if path is None or not path.is_file():
            self._answer(404, b'{"error": "not found"}')
        else:
            self._answer(200, path.read_bytes())

    def _file(self) -> Path | None:
        if not self.path.startswith("/files/"):
            return None
        path = (self.home / self.path.removeprefix("/files/")).resolve()
        return path if path.is_relative_to(self.home.resolve()) else None

    def _allowed(self) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        port = self.connection.getsockname()[1]
        if valid(self.key, token, port):
            return True
        self._answer(401, b'{"error": "a token of GenerateAccessToken is needed"}')
        return False

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve on the address in the first two arguments until the process is ended."""
    host, port, key_file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if not ipaddress.ip_address(host).is_loopback:
        sys.exit(f"{host} is not a loopback address")
    _Request.key = key_file.read_bytes()
    _Request.home = Path(os.environ["HOME"])
    _Request.about = {
        "workstation": os.environ.get("WORKSTATION", ""),
        "home": os.environ["HOME"],
        "environment": sorted(os.environ),
        "started": time.time(),
    }
    ThreadingHTTPServer((host, port), _Request).serve_forever()


if __name__ == "__main__":
    main()
