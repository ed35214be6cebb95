"""Command line of the embedded Google Cloud: ``python -m lib.localcloud COMMAND``."""

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lib.errors import MigrationError
from lib.localcloud import faults_command, lifecycle

OWN_CLIENTS = """\
Serve in the background, or find what serves; tells where, the authority's certificate and the
owner's token.  Google's clients need these three and nothing else:

  gRPC  client_options={"api_endpoint": ENDPOINT}, credentials=Credentials(TOKEN),
        with GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=CA in the environment
  REST  client_options={"api_endpoint": "https://" + REST}, transport="rest", the same credentials,
        with REQUESTS_CA_BUNDLE=CA in the environment
  curl  --cacert CA -H "Authorization: Bearer TOKEN" https://REST/v3/projects/PROJECT
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; expected failures are told on standard error with exit code 1."""
    options = _parser().parse_args(arguments)
    state = Path(options.state).absolute() if options.state else lifecycle.default_state()
    try:
        code = _run(options, state)
        sys.stdout.flush()
        return code
    except MigrationError as error:
        print(error, file=sys.stderr)
    except BrokenPipeError:
        # The reader has seen enough; nothing is left to be flushed at the end (Python's manual,
        # signal, "Note on SIGPIPE").
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--state", metavar="DIR", help="state folder")
    common.add_argument("--json", action="store_true", help="print JSON")
    serving = argparse.ArgumentParser(add_help=False)
    serving.add_argument("--operation-seconds", type=float, default=0.05, metavar="S",
                         help="how long an operation takes at least (default 0.05)")  # fmt: skip
    serving.add_argument("--host", default="", help="loopback address (default: by state folder)")
    serving.add_argument("--port", type=int, default=8443,
                         help="of gRPC; the next one is that of REST (default 8443)")  # fmt: skip
    parser = argparse.ArgumentParser(prog="python -m lib.localcloud", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "start", parents=[common, serving], help="serve in the background",
        formatter_class=argparse.RawDescriptionHelpFormatter, description=OWN_CLIENTS,
    )  # fmt: skip
    commands.add_parser("serve", parents=[common, serving], help="serve in the foreground")
    commands.add_parser("status", parents=[common], help="what runs where")
    console = commands.add_parser("console", parents=[common], help="read-only pages of it all")
    console.add_argument("--port", type=int, default=0,
                         help="on 127.0.0.1 (default: 8480, or the next that is free)")  # fmt: skip
    commands.add_parser("stop", parents=[common], help="stop the server and its instances")
    reset = commands.add_parser("reset", parents=[common], help="remove all resources")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    calls = commands.add_parser(
        "calls", parents=[common], help="how often each method was called",
        description="Calls by method since the last reset, those that change something apart "
        "from those that read; refused calls count too. A dry run must leave the first empty.",
    )  # fmt: skip
    calls.add_argument("--reset", action="store_true", help="count from zero after printing")
    faults_command.add_to(commands, common)
    token = commands.add_parser("token", parents=[common], help="a principal's bearer token")
    token.add_argument("--principal", required=True, metavar="user:NAME@DOMAIN")
    return parser


def _run(options: argparse.Namespace, state: Path) -> int:
    match options.command:
        case "start":
            return _start(options, state)
        case "serve":
            lifecycle.serve(
                state, operation_seconds=options.operation_seconds,
                host=options.host, port=options.port,
            )  # fmt: skip
        case "status":
            return _status(options, state)
        case "console":
            from lib.localcloud import console

            console.run(state, options.port)
        case "stop":
            print("stopped" if lifecycle.stop(state) else "was not running", file=sys.stderr)
        case "reset":
            return _reset(options, state)
        case "calls":
            _calls(options, state)
        case "faults":
            faults_command.run(options, state)
        case "token":
            print(lifecycle.token(state, options.principal))
    return 0


def _start(options: argparse.Namespace, state: Path) -> int:
    serving = lifecycle.start(
        state, operation_seconds=options.operation_seconds, host=options.host, port=options.port
    )
    if options.json:
        print(lifecycle.as_json(serving))
    else:
        print(f"embedded Google Cloud on {serving.endpoint} (process {serving.pid})")
        print(f"  REST      https://{serving.rest}")
        print(f"  authority {serving.ca}\n  token     {serving.token}\n  state     {serving.state}")
    return 0


def _status(options: argparse.Namespace, state: Path) -> int:
    serving = lifecycle.running(state)
    resources = lifecycle.resources(state)
    if options.json:
        where = json.loads(lifecycle.as_json(serving)) if serving else None
        print(json.dumps({"server": where, "resources": resources}))
    else:
        where = f"process {serving.pid} on {serving.endpoint}" if serving else "not running"
        print(f"embedded Google Cloud: {where} ({state})")
        for line in _lines(resources):
            print(f"  {line}")
    return 0 if serving else 3


def _lines(resources: list[dict[str, str]]) -> Iterator[str]:
    """A line a resource; the subnetworks that a network has in every region share one."""
    regions = Counter(_everywhere(each) for each in resources)
    for each in resources:
        name = _everywhere(each)
        if not name or regions[name] == 1:
            yield "  ".join(filter(None, each.values()))
        elif number := regions.pop(name, 0):
            yield f"{each['kind']}  {name}  in {number} regions"


def _everywhere(resource: dict[str, str]) -> str:
    """The name of a subnetwork in whatever region; nothing of other kinds."""
    if resource["kind"] != "Subnetwork":
        return ""
    return re.sub("/regions/[^/]+/", "/regions/*/", resource["name"])


def _calls(options: argparse.Namespace, state: Path) -> None:
    from dataclasses import asdict

    from lib.localcloud.calls import Calls
    from lib.localcloud.rehearsal import Rehearsal

    rehearsal = Rehearsal(state)
    calls = Calls(rehearsal)
    counts = calls.counts()
    if options.reset:
        calls.reset()
    rehearsal.close()
    if options.json:
        print(json.dumps(asdict(counts)))
        return
    for title, by_method in (("change", counts.mutating), ("read", counts.reading)):
        print(f"{sum(by_method.values())} calls that {title}")
        for method, number in by_method.items():
            print(f"  {number:6}  {method}")


def _reset(options: argparse.Namespace, state: Path) -> int:
    if not options.yes:
        if not sys.stdin.isatty():
            print("reset removes every resource and its data; give --yes", file=sys.stderr)
            return 2
        answer = input(f"Remove every resource and its data below {state}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return 1
    lifecycle.reset(state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
