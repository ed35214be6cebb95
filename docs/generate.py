"""Writes the pages that are made from code: ``python docs/generate.py``; ``--check`` looks."""

import argparse
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from google_cloud_page import google_cloud  # noqa: E402
from settings_page import settings  # noqa: E402

import lib  # noqa: E402
from lib.errors import MigrationError  # noqa: E402

HEAD = DOCS / "troubleshooting.head.md"
PAGE = DOCS / "troubleshooting.md"
PARTS = {
    "lib.errors": "Anywhere",
    "lib.engine": "The run: steps, checkpoints, lock",
    "lib.plugin": "The pytest plugin",
    "lib.orchestra": "AI Orchestra put together",
    "lib.cloud": "Google Cloud, real or embedded",
    "lib.postgres": "PostgreSQL and AlloyDB",
    "lib.cache": "Redis and Memorystore",
    "lib.vectors": "Vector indexes and search",
    "lib.api": "The agent API",
    "lib.breaker": "The circuit breaker",
    "lib.mcp": "The MCP client",
    "lib.runtime": "Servers on this machine",
    "lib.sample": "The sample platform",
    "lib.localcloud": "The embedded cloud's own process",
    "lib.report": "Reports",
}


def errors() -> list[type[MigrationError]]:
    """Every kind of expected failure in ``lib``, in the order of its source."""
    for module in pkgutil.walk_packages(lib.__path__, "lib."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = [each for each in _below(MigrationError) if each.__module__.startswith("lib.")]
    return sorted(
        {each.__qualname__ + each.__module__: each for each in found}.values(),
        key=lambda each: (each.__module__, inspect.getsourcelines(each)[1]),
    )


def _below(kind: type[MigrationError]) -> Iterator[type[MigrationError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def troubleshooting() -> str:
    """The page: the hand-written head, then a table of failures for each part."""
    found = errors()
    lines = [HEAD.read_text(encoding="utf-8").rstrip(), ""]
    for part, title in PARTS.items():
        kinds = [e for e in found if e.__module__ == part or e.__module__.startswith(part + ".")]
        if not kinds:
            continue
        lines += [f"### {title} (`{part}`)", "", "| failure | means |", "| --- | --- |"]
        lines += [f"| `{each.__name__}` | {_meaning(each)} |" for each in kinds]
        lines.append("")
        if part == "lib.cloud":
            lines += ["What Google answers, and what to do:", ""]
            lines += ["| answer | told as | to mend it |", "| --- | --- | --- |"]
            lines += [*google_errors(), ""]
    return "\n".join(lines)


def google_errors() -> list[str]:
    """A table row for each kind of Google's answers, made by the code that translates them."""
    from google.api_core import exceptions as api
    from google.rpc import error_details_pb2 as rpc

    from lib.cloud.errors import Situation, translate

    permission = {"permission": "alloydb.clusters.create"}
    disabled = {"service": "alloydb.googleapis.com"}
    answers = [
        ("401", api.Unauthenticated("refused")),
        ("403", api.PermissionDenied("no", details=[rpc.ErrorInfo(metadata=permission)])),
        (
            "403 `SERVICE_DISABLED`",
            api.PermissionDenied(
                "no", details=[rpc.ErrorInfo(reason="SERVICE_DISABLED", metadata=disabled)]
            ),
        ),
        (
            "403 `BILLING_DISABLED`",
            api.PermissionDenied("no", details=[rpc.ErrorInfo(reason="BILLING_DISABLED")]),
        ),
        ("`constraints/...`", api.FailedPrecondition("violates constraints/gcp.resourceLocations")),
        ("404", api.NotFound("absent")),
        ("409 `ALREADY_EXISTS`", api.AlreadyExists("there")),
        ("409 `ABORTED`", api.Aborted("again")),
        ("400 `FAILED_PRECONDITION`", api.FailedPrecondition("not yet")),
        ("400 about a network", api.FailedPrecondition("the network is not peered")),
        ("400 `INVALID_ARGUMENT`", api.InvalidArgument("wrong")),
        ("429 `RESOURCE_EXHAUSTED`", api.ResourceExhausted("used up")),
        (
            "429 `RATE_LIMIT_EXCEEDED`",
            api.ResourceExhausted("slowly", details=[rpc.ErrorInfo(reason="RATE_LIMIT_EXCEEDED")]),
        ),
        ("501", api.MethodNotImplemented("no such call")),
        ("500, 502, 503", api.ServiceUnavailable("down")),
        ("504, cancelled", api.DeadlineExceeded("late")),
    ]
    rows = []
    for answer, error in answers:
        told = translate(error, Situation("RESOURCE", "PROJECT"))
        again = told.remedy or ("tried again by itself" if told.transient else "read the message")
        rows.append(f"| {answer} | `{type(told).__name__}` | {again.replace('|', '')} |")
    return rows


def _meaning(kind: type[MigrationError]) -> str:
    """The docstring as one line; with what the engine does by itself."""
    text = " ".join((kind.__dict__.get("__doc__") or "").split()).replace("``", "`")
    again = " *Tried again by itself.*" if getattr(kind, "transient", False) is True else ""
    return text.replace("|", "\\|") + again


def _written(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


def main() -> int:
    """Write, or with ``--check`` compare and exit 1 where a page is out of date."""
    parser = argparse.ArgumentParser(description="Write the pages that are made from code.")
    parser.add_argument("--check", action="store_true", help="only say whether they are current")
    pages = {
        PAGE.name: troubleshooting(),
        "settings.md": settings(),
        "google-cloud.md": google_cloud(),
    }
    if not parser.parse_args().check:
        for name, text in pages.items():
            (DOCS / name).write_text(text, encoding="utf-8")
        return 0
    old = [n for n, text in pages.items() if _written(DOCS / n) != text]
    for name in old:
        print(f"docs/{name} is out of date; run: python docs/generate.py", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
