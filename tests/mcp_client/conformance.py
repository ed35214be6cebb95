"""Runs the public conformance suite against the client and against the API's MCP server.

    python -m tests.mcp_client.conformance client server

The suite is npm's ``@modelcontextprotocol/conformance``; it is installed, with a Node.js that it
runs on, into ``--folder`` (kept between runs) by the npm of this machine.  Prints a Markdown
table for each side; ends with 1 when something failed that ``REASONS`` does not name, or
something passed that it names.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.api.api_process import serving

PACKAGES = ("node@22", "@modelcontextprotocol/conformance@0.1.16")
ROOT = Path(__file__).resolve().parents[2]
CLIENT = [sys.executable, "-m", "tests.mcp_client.conformance_client"]
ISSUER = "the SDK refuses metadata of another issuer than asked (RFC 8414, 3.3)"
CALLBACKS = "no tool that logs, reports progress or asks back"
CONTENT = "no tool of such content: all answer JSON"
REASONS: dict[str, dict[str, str]] = {
    "client": {"auth/2025-03-26-oauth-metadata-backcompat": ISSUER},
    "server": {
        "logging-set-level": "no logging",
        "completion-complete": "no prompts, no completion",
        "tools-call-image": CONTENT,
        "tools-call-audio": CONTENT,
        "tools-call-embedded-resource": CONTENT,
        "tools-call-mixed-content": CONTENT,
        "tools-call-with-logging": CALLBACKS,
        "tools-call-with-progress": CALLBACKS,
        "tools-call-sampling": CALLBACKS,
        "tools-call-elicitation": CALLBACKS,
        "elicitation-sep1034-defaults": CALLBACKS,
        "elicitation-sep1330-enums": CALLBACKS,
        "json-schema-2020-12": "asks for a tool of the suite's own",
        "resources-list": "no resources",
        "resources-read-text": "no resources",
        "resources-read-binary": "no resources",
        "resources-templates-read": "no resources",
        "resources-subscribe": "no resources",
        "resources-unsubscribe": "no resources",
        "prompts-list": "no prompts",
        "prompts-get-simple": "no prompts",
        "prompts-get-with-args": "no prompts",
        "prompts-get-embedded-resource": "no prompts",
        "prompts-get-with-image": "no prompts",
    },
}


class Suite:
    """The installed suite."""

    def __init__(self, folder: Path) -> None:
        self._bin = folder / "node_modules" / ".bin"
        if not (self._bin / "conformance").exists():
            folder.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
            subprocess.run([*command, *PACKAGES], check=True, stdout=sys.stderr)

    def run(self, *arguments: str) -> str:
        """Run the suite's command; its output."""
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [str(self._bin / "conformance"), *arguments],
            cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def scenarios(self, side: str) -> list[str]:
        """The names of all scenarios for this side."""
        _, _, rest = self.run("list").partition(f"{side.capitalize()} scenarios")
        return re.findall(r"^  - (\S+)", rest.partition("\n\n")[0], re.MULTILINE)

    def checks(self, side: str, scenario: str, *more: str) -> "Counter[str]":
        """How many checks of a scenario ended in SUCCESS, FAILURE, WARNING, ..."""
        with tempfile.TemporaryDirectory() as results:
            self.run(side, "--scenario", scenario, "-o", results, *more)
            found: Counter[str] = Counter()
            for file in Path(results).rglob("checks.json"):
                found.update(each["status"] for each in json.loads(file.read_text()))
        return found or Counter({"FAILURE": 1})


def report(side: str, suite: Suite, *more: str) -> int:
    """Run and print one side; how many scenarios ended otherwise than ``REASONS`` says."""
    print(f"| {side}: scenario | passed | failed | warnings | |")
    print("| --- | --- | --- | --- | --- |")
    surprises, total = 0, Counter[str]()
    names = suite.scenarios(side)
    for name in names:
        checks = suite.checks(side, name, *more)
        total.update(checks)
        reason = REASONS[side].get(name, "")
        surprises += bool(checks["FAILURE"]) != bool(reason)
        _row(name, checks, reason)
    _row(f"all {len(names)}", total, "")
    return surprises


def _row(name: str, checks: "Counter[str]", reason: str) -> None:
    counts = " | ".join(str(checks[each]) for each in ("SUCCESS", "FAILURE", "WARNING"))
    print(f"| {name} | {counts} | {reason} |", flush=True)


def main() -> int:
    """Run the sides that were asked for."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("sides", nargs="+", choices=("client", "server"))
    default = Path(tempfile.gettempdir()) / "mcp-conformance"
    options.add_argument("--folder", type=Path, default=default, help="where npm installs")
    given = options.parse_args()
    suite = Suite(given.folder)
    surprises = 0
    if "client" in given.sides:
        surprises += report("client", suite, "--command", shlex.join(CLIENT))
    if "server" in given.sides:
        # Without a token, which the suite has no way to send.
        with serving(platform=False, API_TOKEN="", API_ALLOW_ANONYMOUS="true") as api:
            surprises += report("server", suite, "--url", f"{api.url}/mcp")
    return min(surprises, 1)


if __name__ == "__main__":
    sys.exit(main())
