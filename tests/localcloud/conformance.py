"""Compares the embedded cloud with Google: the same scenarios on both, and where they differ.

    python -m tests.localcloud.conformance                        the embedded cloud alone
    python -m tests.localcloud.conformance --project ID           on Google too, then compare
    python -m tests.localcloud.conformance --record FILE ...      keep the answers
    python -m tests.localcloud.conformance --compare FILE         compare with kept answers

On Google it makes real things in the project, which has billing and the scenarios' APIs enabled;
it says which and about what they cost, asks, and removes them, also when it is interrupted.  What
a killed run left is in a ledger, and removed by the next run or --clean.  Names, ids, times,
numbers, addresses, e-mail addresses and etags are replaced before anything is kept, so that a
recording can be sent to others.

Ends with 0 where nothing differs, 1 where something does or could not be removed, 2 for a wrong
command, 3 where one of the clouds cannot be used, 130 when interrupted.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.auth.exceptions import GoogleAuthError

from lib.errors import MigrationError
from tests.localcloud.conftest import ORGANIZATION, Server
from tests.localcloud.doors import DOORS, Door, Embedded, Google
from tests.localcloud.ledger import Ledger
from tests.localcloud.recording import SKIPPED, Difference, Record, compare, play
from tests.localcloud.scenarios import SCENARIOS

FORMAT = 1
CLIENTS = ("alloydb", "redis", "workstations", "resource-manager", "run", "aiplatform",
           "secret-manager", "service-usage", "iam")  # fmt: skip
HELLO = "us-docker.pkg.dev/cloudrun/container/hello"
ABSENT = "no-such-project-here"
Values = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(options)
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 3
    except GoogleAuthError as error:
        print(f"Google refuses the credentials: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.localcloud.conformance", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--project", metavar="ID", help="a project of yours on Google")
    parser.add_argument("--region", default="us-central1", help="default: us-central1")
    parser.add_argument("--network", default="default", help="name, or projects/HOST/global/...")
    parser.add_argument("--subnetwork", default="default", help="of the region, in that network")
    parser.add_argument("--organization", metavar="organizations/N",
                        help="where the scenario 'projects' makes its project")  # fmt: skip
    parser.add_argument("--image", default=HELLO, help="a container for Cloud Run")
    parser.add_argument("--stranger", metavar="FILE", type=Path,
                        help="a key of somebody without any role, for what is denied")  # fmt: skip
    every = ", ".join(SCENARIOS)
    parser.add_argument("--service", action="append", choices=SCENARIOS, metavar="NAME",
                        help=f"one of them, as often as wanted; default: {every}")  # fmt: skip
    parser.add_argument("--door", default="grpc", choices=DOORS, help="transport; default: grpc")
    parser.add_argument("--record", metavar="FILE", type=Path,
                        help="keep Google's answers; without --project the other's")  # fmt: skip
    parser.add_argument("--compare", metavar="FILE", type=Path, help="instead of --project")
    parser.add_argument("--clean", action="store_true", help="only remove what a run has left")
    parser.add_argument("--json", action="store_true", help="print differences as JSON")
    parser.add_argument("--yes", action="store_true", help="do not ask before it costs money")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.compare and options.project:
        print("give --project or --compare, not both", file=sys.stderr)
        return 2
    chosen = options.service or [
        name for name in SCENARIOS
        if name != "projects" or options.organization or not options.project
    ]  # fmt: skip
    if options.project and "projects" in chosen and not options.organization:
        print("the scenario 'projects' needs --organization", file=sys.stderr)
        return 2
    if options.clean and not options.project:
        print("--clean needs --project", file=sys.stderr)
        return 2
    kept = _read(options.compare) if options.compare else None
    other = _records(kept) if kept else None
    if kept and not options.service:
        chosen = [name for name in SCENARIOS if name in {each.scenario for each in other or ()}]
    left: list[str] = []
    if options.project:
        other = []
        try:
            code, left = _on_google(options, chosen, other)
        finally:  # also what was heard before an interruption is worth keeping
            if options.record and other:
                write(options.record, "google", options.door, other)
        if options.clean or code:
            return max(code, _told_left(left))
    own = on_embedded(chosen, kept["door"] if kept else options.door)
    if options.record and not options.project:
        write(options.record, "embedded", options.door, own)
    return max(_told(own, other, options.json), _told_left(left))


def on_embedded(chosen: list[str], door: str) -> list[Record]:
    """What the scenarios come to on an embedded cloud of their own."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "state")
        try:
            about = _started(server)
            stranger = server.command("token", "--principal", "user:nobody@example.com").strip()
            apis = sorted({api for name in chosen for api in SCENARIOS[name].needs})
            words = _words(server.connected_project(*apis), "us-central1")
            words |= {"{organization}": ORGANIZATION,
                      "{image}": "embedded://tests.localcloud.sample_service"}  # fmt: skip
            place = Embedded(about, stranger)
            with place.trusted(), contextlib.closing(Door(place, door)) as opened:
                return [
                    record for name in chosen for record in play(SCENARIOS[name], opened, words)
                ]
        finally:
            server.command("reset", "--yes", check=False)


def _started(server: Server) -> Values:
    try:
        return server.start()
    except AssertionError as error:
        raise MigrationError(
            f"The embedded cloud does not start: {error}.", expected="a free loopback address",
            remedy="see what python -m lib.localcloud start says",
        ) from error  # fmt: skip


def _on_google(
    options: argparse.Namespace, chosen: list[str], records: list[Record]
) -> tuple[int, list[str]]:
    """Add Google's answers to ``records``; an exit code, and what could not be removed."""
    ledger = Ledger(ledger_path(options.project))
    if ledger.entries:
        print(f"{len(ledger.entries)} things of an earlier run are there and will be removed")
    if not options.clean and not _agreed(options, chosen):
        return 2, []
    place = _google(options)
    with contextlib.closing(Door(place, "grpc")) as door:
        left = ledger.clean(door, place.seconds)
    if options.clean or left:
        return int(bool(left)), left
    words = _words(options.project, options.region, options.network, options.subnetwork)
    words |= {"{organization}": options.organization or "", "{image}": options.image}
    door_name, stranger = options.door, options.stranger is not None
    return 0, hear(place, door_name, chosen, words, ledger, records, stranger=stranger)


def hear(
    place: Any, door: str, chosen: list[str], words: dict[str, str], ledger: Ledger,
    records: list[Record], *, stranger: bool,
) -> list[str]:  # fmt: skip
    """Play on a cloud where things stay if nobody removes them; what could not be removed.

    They are removed also where this is interrupted.
    """
    left = []
    try:
        with contextlib.closing(Door(place, door)) as opened:
            for name in chosen:
                for record in play(SCENARIOS[name], opened, words, ledger, stranger):
                    print(f"  {record.key}: {record.answer['code']}", file=sys.stderr)
                    records.append(record)
    finally:
        if ledger.entries:
            print(f"removing {len(ledger.entries)} things that are left", file=sys.stderr)
            with contextlib.closing(Door(place, "grpc")) as again:
                left = ledger.clean(again, place.seconds)
            _told_left(left)
    return left


def _google(options: argparse.Namespace) -> Google:
    from lib.cloud.credentials import SCOPES, find

    found = find()
    found.check()
    other = None
    if options.stranger:
        import google.auth

        other, _ = google.auth.load_credentials_from_file(str(options.stranger), scopes=SCOPES)
    quota = found.quota_project or (options.project if found.person else "")
    return Google(found.google, options.region, quota, other)


def _agreed(options: argparse.Namespace, chosen: list[str]) -> bool:
    print(f"In the project {options.project}, region {options.region}, this makes and removes:")
    for name in chosen:
        scenario = SCENARIOS[name]
        needs = "; needs " + scenario.before if scenario.before else ""
        apis = ", ".join(f"{api}.googleapis.com" for api in scenario.needs) or "no API more"
        print(f"  {name}: {scenario.costs}{needs} ({apis})")
    print("Sums are orders of magnitude by public list prices; nobody has measured them.")
    if options.yes:
        return True
    if not sys.stdin.isatty():
        print("give --yes to go on", file=sys.stderr)
        return False
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def ledger_path(project: str) -> Path:
    """Where it is kept what a run on a project has made."""
    root = Path(os.environ.get("ORCHESTRA_STATE") or Path(__file__).parents[2] / ".migration")
    return root / "conformance" / f"{project}.json"


def _words(
    project: str, region: str, network: str = "default", subnetwork: str = "default"
) -> dict[str, str]:
    own = uuid.uuid4().hex[:8]
    host = network if "/" in network else f"projects/{project}/global/networks/{network}"
    owner = "/".join(host.split("/")[:2])
    return {
        "{p}": project, "{l}": f"projects/{project}/locations/{region}", "{id}": f"run-{own}",
        "{word}": f"run_{own}", "{absent}": ABSENT, "{region}": region,
        "{uuid-cluster}": str(uuid.uuid4()), "{uuid-instance}": str(uuid.uuid4()),
        "{uuid-backup}": str(uuid.uuid4()),
        "{l-absent}": f"projects/{ABSENT}/locations/{region}", "{network}": host,
        "{subnetwork}": f"{owner}/regions/{region}/subnetworks/{subnetwork}",
    }  # fmt: skip


def write(path: Path, cloud: str, door: str, records: list[Record]) -> None:
    """Keep a recording."""
    content = {
        "format": FORMAT, "cloud": cloud, "door": door,
        "date": datetime.now(UTC).date().isoformat(),
        "clients": {name: version(f"google-cloud-{name}") for name in CLIENTS},
        "records": [asdict(each) for each in records],
    }  # fmt: skip
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def _read(path: Path) -> Values:
    """A recording; raises ``MigrationError`` where the file is none."""
    try:
        content = json.loads(path.read_text())
        if content["format"] == FORMAT and content["door"] in DOORS and _records(content):
            found: Values = content
            return found
        problem = f"its format is {content['format']!r}"
    except OSError as error:
        problem = error.strerror or "it cannot be read"
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise MigrationError(
        f"{path} is no recording: {problem}.", expected=f"a file of format {FORMAT}",
        remedy="make one with --record FILE",
    )  # fmt: skip


def _records(content: Values) -> list[Record]:
    return [Record(**each) for each in content["records"]]


def _told(own: list[Record], other: list[Record] | None, as_json: bool) -> int:
    """Print what differs; 1 where something does, or a step failed on the embedded cloud."""
    failed = [each for each in own if each.problems]
    for each in failed:
        print(f"{each.key}: {'; '.join(each.problems)}", file=sys.stderr)
    if other is None:
        if as_json:
            print(json.dumps({"compared": 0, "steps": len(own), "differences": []}))
        else:
            print(f"{len(own)} steps on the embedded cloud, {len(failed)} not as they must be.")
            print("Nothing was compared: give --project ID or --compare FILE.")
        return int(bool(failed))
    names = {each.scenario for each in other}
    found = compare([each for each in own if each.scenario in names], other)
    taken = {each.key for each in own if each.answer["code"] != SKIPPED}
    both = taken & {each.key for each in other if each.answer["code"] != SKIPPED}
    if as_json:
        differences = [asdict(each) for each in found]
        told = {"compared": len(both), "steps": len(own), "differences": differences}
        print(json.dumps(told, indent=1))
    else:
        print("\n".join(_table(found)))
        print(f"{len(both)} of {len(own)} steps compared, {len({each.step for each in found})} "
              f"differ in {len(found)} places.")  # fmt: skip
    return int(bool(failed or found))


def _table(found: list[Difference]) -> Iterator[str]:
    if found:
        yield "| step | what | embedded | other |\n| --- | --- | --- | --- |"
    for each in found:
        cells = (each.step, each.what, each.left, each.right)
        yield (
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )


def _told_left(left: list[str]) -> int:
    for each in left:
        print(f"could not be removed: {each}", file=sys.stderr)
    return int(bool(left))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
