"""The console: read-only pages of everything that the embedded cloud keeps, for a browser.

It reads the state as it is at each request, also while no server runs.  It changes nothing,
listens on loopback, answers only to the names of loopback, and shows no secret.
"""

import contextlib
import re
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from lib.localcloud import lifecycle
from lib.localcloud.errors import EmbeddedCloudError
from lib.localcloud.overview import Entry, Group, Overview, overview, page

HOST: Final = "127.0.0.1"
PORT: Final = 8480
PORTS: Final = 20
MOST_SHOWN: Final = 500
CROWD: Final = 8
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
TONES: Final[tuple[tuple[str, str], ...]] = (
    ("good", r"ready|active|enabled|running|serving|succeeded|done|reserved"),
    ("plan", r"under way|.*ing"),
    ("warn", r"operation-.*|used up|.*maintenance|disabled|delete_requested|cancelled"),
    ("idle", r"|stopped|empty|destroyed|unspecified"),
)
"""The colour of a state or outcome; everything else is bad."""


class Console:
    """Serves the pages of one state folder; ``url`` is where."""

    def __init__(self, state: Path, port: int = 0) -> None:
        self.state = state
        handler = type("Handler", (_Handler,), {"state": state})
        self._server = _listen(handler, port)
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"

    def serve(self) -> None:
        """Answer until ``stop`` is called from another thread."""
        self._server.serve_forever(poll_interval=0.1)
        self._server.server_close()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()


def _listen(handler: Any, port: int) -> ThreadingHTTPServer:
    """A server on ``port``, or (0) on the first free one of the console's own."""
    for each in [port] if port else range(PORT, PORT + PORTS):
        with contextlib.suppress(OSError):
            server = ThreadingHTTPServer((HOST, each), handler)
            server.daemon_threads = True
            return server
    raise EmbeddedCloudError(
        f"The console cannot listen on {HOST}:{port or f'{PORT} to {PORT + PORTS - 1}'}.",
        expected="a free port",
        remedy="give another one with --port",
    )


def run(state: Path, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; prints where."""
    console = Console(state, port)
    finished = threading.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, lambda *_: finished.set())
    thread = threading.Thread(target=console.serve, name="console")
    thread.start()
    print(f"console of the embedded cloud: {console.url} (Ctrl-C stops it)", flush=True)
    finished.wait()
    console.stop()
    thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Path

    def do_GET(self) -> None:
        """Answer one page."""
        url = urlsplit(self.path)
        if not self._host_is_ours():
            self._reply(
                421, _absent(self.state, "Not here", "This host name is not the console's.")
            )
        elif url.path == "/":
            wanted = parse_qs(url.query).get("q", [""])[0].strip()
            self._reply(200, overview_page(self.state, wanted))
        elif url.path == "/console.css":
            self._reply(200, stylesheet(), "text/css")
        else:
            self._resource(url.path)

    do_HEAD = do_GET

    def _resource(self, path: str) -> None:
        service, _, name = unquote(path.removeprefix("/resource/")).partition("/")
        text = resource_page(self.state, service, name)
        if path.startswith("/resource/") and text is not None:
            self._reply(200, text)
        else:
            reason = f"There is no resource {name or path}."
            self._reply(404, _absent(self.state, "Not found", reason))

    def _host_is_ours(self) -> bool:
        """Whether the browser means this server, and not a name that was bound to its address."""
        own: Any = self.server.server_address
        return self.headers.get("Host") in (f"{HOST}:{own[1]}", f"localhost:{own[1]}")

    def _reply(self, status: int, text: str, kind: str = "text/html") -> None:
        content = text.encode()
        with contextlib.suppress(OSError):  # the browser has gone
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal shows where the console is."""


def overview_page(state: Path, wanted: str = "") -> str:
    """The list of all resources whose names contain ``wanted``."""
    view = overview(state)
    groups = tuple(_shown(view, wanted)) if view is not None else ()
    found = sum(len(each.entries) for each in groups)
    kept, left = _first(groups), max(0, found - MOST_SHOWN)
    return _environment().get_template("overview.html").render(
        state=state, read_at=view.read_at if view else 0.0, serving=lifecycle.running(state),
        view=view, wanted=wanted, left=left,
        total=sum(len(each.entries) for each in view.groups) if view else 0,
        groups=[(name, list(own)) for name, own in groupby(kept, key=lambda each: each.project)],
    )  # fmt: skip


def resource_page(state: Path, service: str, name: str) -> str | None:
    """All fields of one resource; None where there is none."""
    found = page(state, service, name)
    if found is None:
        return None
    template = _environment().get_template("resource.html")
    return template.render(state=state, read_at=time.time(), page=found)


def stylesheet() -> str:
    """The style sheet of the pages."""
    return files("lib.localcloud").joinpath("templates/console.css").read_text(encoding="utf-8")


def _absent(state: Path, title: str, reason: str) -> str:
    template = _environment().get_template("absent.html")
    return template.render(state=state, read_at=0.0, title=title, reason=reason)


def _shown(view: Overview, wanted: str) -> Iterable[Group]:
    for group in view.groups:
        entries = tuple(each for each in group.entries if wanted.lower() in each.name.lower())
        if entries:
            yield Group(group.project, group.api, entries)


def _first(groups: Iterable[Group]) -> list[Group]:
    """The groups with as many resources as one page holds."""
    kept, room = [], MOST_SHOWN
    for group in groups:
        if room:
            kept.append(Group(group.project, group.api, group.entries[:room]))
            room -= len(kept[-1].entries)
    return kept


def _parted(group: Group) -> tuple[list[Entry], list[tuple[str, list[Entry]]]]:
    """The resources of kinds with a few, and apart from them those of kinds with many."""
    by_kind = [(kind, list(own)) for kind, own in groupby(group.entries, key=lambda e: e.kind)]
    few = [each for _, own in by_kind if len(own) <= CROWD for each in own]
    return few, [(kind, own) for kind, own in by_kind if len(own) > CROWD]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lib.localcloud", "templates"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        tone=tone, link=_link, api=_api, parted=_parted,
        spaced=lambda kind: re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind),
        method=lambda path: path.rpartition(".")[2].replace("/", " · "),
        instant=lambda seconds: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)),
    )  # fmt: skip
    return environment


def tone(text: str) -> str:
    """The colour class of a state or outcome."""
    told = text.lower()
    return next((name for name, pattern in TONES if re.fullmatch(pattern, told)), "bad")


def _link(entry: Entry) -> str:
    return f"/resource/{quote(entry.service)}/{quote(entry.name)}"


def _api(title: str) -> str:
    from lib.localcloud.services.service_usage import APIS

    return APIS.get(title, title)
