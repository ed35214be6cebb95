"""What the embedded Google Cloud and converging resources cost.

``python benchmarks/cloud.py`` starts embedded clouds of its own in a temporary folder, runs the
whole migration on one of them, and prints one table: starting, memory, what a plan takes, how
often an unchanged resource is read, and listings of up to ``--projects`` projects.  Times are the
least of ``--rounds``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lib.cloud.clients import Clients
from lib.cloud.cloud import Cloud
from lib.cloud.target import Target
from lib.postgres.database import Database, connect
from lib.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PHASE = "phases/test_2_infrastructure.py"
RESOURCES = ("--component", "core-infrastructure", "--component", "workstation-setup")
"""The steps of the phase that no row has to be copied for."""
MEGABYTES = 100
"""How much is copied by the connector and beside it."""
ORGANIZATION = f"organizations/{Settings().project.organization}"


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--projects", type=int, default=1_000, help="at most, in the listings")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users' commands find their bytecode
    print("| what | took | peer | peer took | aim |")
    print("| --- | ---: | --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        starting(Path(folder), options.rounds)
        migration(Path(folder), options.rounds)
        listings(Path(folder), options.projects, options.rounds)


def row(what: str, took: str, peer: str = "–", peer_took: str = "–", aim: str = "–") -> None:
    """One line of the table."""
    print(f"| {what} | {took} | {peer} | {peer_took} | {aim} |", flush=True)


def least(rounds: int, run: Callable[[], float]) -> float:
    """The least that ``run`` says it took."""
    return min(run() for _ in range(rounds))


class Embedded:
    """One embedded cloud with a state folder of its own; nothing else looks at it."""

    def __init__(self, state: Path) -> None:
        self.environment = os.environ | {"ORCHESTRA_STATE": str(state)}

    def command(self, *command: str) -> str:
        """What a program says in this world; a failure ends the benchmark."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        return done.stdout

    def seconds(self, *command: str) -> float:
        """How long a program takes."""
        began = time.perf_counter()
        self.command(*command)
        return time.perf_counter() - began

    def cloud(self, *words: str) -> str:
        """A command of the embedded cloud."""
        return self.command("-m", "lib.localcloud", *words)

    @contextmanager
    def serving(self, *options: str) -> Iterator[dict[str, Any]]:
        """A running server, by what it tells of itself."""
        try:
            yield json.loads(self.cloud("start", "--json", *options))
        finally:
            self.cloud("stop")


def connected(told: dict[str, Any], project: str = "") -> Clients:
    """Google's clients of a server."""
    return Clients(Target.embedded(told["endpoint"], told["ca"], told["token"], project=project))


def starting(folder: Path, rounds: int) -> None:
    """From the command to the first answer, on an empty folder."""

    def start() -> float:
        embedded = Embedded(folder / f"start-{time.monotonic_ns()}")
        began = time.perf_counter()
        with embedded.serving() as told:
            clients = connected(told)
            next(iter(clients.get("projects").search_projects()), None)
            took = time.perf_counter() - began
            clients.close()
        return took

    python = Embedded(folder / "python")
    peer = least(rounds, lambda: python.seconds("-c", "import grpc"))
    took = least(rounds, start)
    row("start, to the first answer", f"{took:.2f} s", "Python with grpc", f"{peer:.2f} s", "1 s")


def migration(folder: Path, rounds: int) -> None:
    """Plans before and after a whole migration, its calls, and the server's memory."""
    embedded = Embedded(folder / "migration")
    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    there = ("--checkpoint", str(folder / "fresh.db"))

    def plan(*more: str) -> float:
        (folder / "fresh.db").unlink(missing_ok=True)
        return embedded.seconds(*pytest, PHASE, "--dry-run", *there, *more)

    try:
        with embedded.serving() as told:
            collected = least(rounds, lambda: embedded.seconds(*pytest, PHASE, "--collect-only"))
            peer = ("pytest --collect-only", f"{collected:.2f} s")
            embedded.command(*pytest, PHASE, "--dry-run")  # starts the sample platform
            took = least(rounds, plan)
            row("plan of the infrastructure, nothing there", f"{took:.2f} s", *peer, "2 s")
            embedded.command(*pytest, "phases/")
            memory = resident(told["pid"])
            row("memory of the server after a migration", f"{memory:.0f} MB", aim="200 MB")
            took = least(rounds, lambda: plan(*RESOURCES))
            row("plan of its resources, all there", f"{took:.2f} s", *peer, "2 s")
            reads(embedded, lambda: embedded.command(*pytest, "phases/", "--dry-run", *there))
            connector(told, rounds)
    finally:
        embedded.command("-m", "lib.sample", "reset")


def reads(embedded: Embedded, plan: Callable[[], object]) -> None:
    """How often a plan of all phases reads what stands already."""
    embedded.cloud("calls", "--reset")
    plan()
    calls = json.loads(embedded.cloud("calls", "--json"))
    assert not calls["mutating"], calls["mutating"]
    named = {method.rpartition(".")[2]: number for method, number in calls["reading"].items()}
    row("reads of a plan of all phases", f"{sum(named.values())}")
    for method in ("AlloyDBAdmin/GetCluster", "AlloyDBAdmin/GetInstance", "Projects/GetProject"):
        row(f"of them {method}", f"{named[method]}", aim="1")


def connector(told: dict[str, Any], rounds: int) -> None:
    """Rows into and out of AlloyDB by Google's connector, beside its address."""
    settings = Settings()
    cloud = Cloud(
        Target.embedded(told["endpoint"], told["ca"], told["token"], project=settings.project.id)
    )
    instance = cloud.alloydb_instance(settings.project, settings.alloydb).observe()
    assert instance is not None
    password = cloud.read_secret("agent-storage-admin-password")
    direct = Database(host=instance.ip_address, user="postgres", password=password, name="postgres")
    tunnel = cloud.alloydb_tunnel(settings.project, settings.alloydb)
    tunnel.open()
    through = replace(direct, host=tunnel.host, port=tunnel.port, sslmode="disable")
    try:
        for what, way in (("into", rows_in), ("out of", rows_out)):
            peer, took = (MEGABYTES / least(rounds, partial(way, it)) for it in (direct, through))
            row(f"rows {what} AlloyDB by the connector", f"{took:.0f} MB/s", "its address",
                f"{peer:.0f} MB/s")  # fmt: skip
    finally:
        tunnel.close()
        cloud.close()


def rows_in(database: Database) -> float:
    """Seconds to copy rows into a table that is gone afterwards."""
    with connect(database) as connection:
        connection.execute("CREATE TEMPORARY TABLE benchmark (text text STORAGE PLAIN)")
        began = time.perf_counter()
        with connection.cursor().copy("COPY benchmark FROM STDIN") as copy:
            for _ in range(MEGABYTES):
                copy.write((b"x" * 999 + b"\n") * 1000)
        return time.perf_counter() - began


def rows_out(database: Database) -> float:
    """Seconds to copy as many rows out of a query."""
    with connect(database) as connection:
        began = time.perf_counter()
        rows = f"SELECT repeat('x', 999) FROM generate_series(1, {MEGABYTES}000)"
        with connection.cursor().copy(f"COPY ({rows}) TO STDOUT".encode()) as copy:
            size = sum(len(each) for each in copy)
        assert size == MEGABYTES * 1_000_000
        return time.perf_counter() - began


def resident(pid: int) -> float:
    """Megabytes of memory that a process has; its children's are not counted."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(kilobytes) / 1024


def listings(folder: Path, projects: int, rounds: int) -> None:
    """Search all projects, and list secrets of each: the time per project must not grow."""
    embedded = Embedded(folder / "projects")
    with embedded.serving("--operation-seconds", "0") as told:
        clients = connected(told)
        found: dict[int, float] = {}
        made: list[str] = []

        def once() -> float:
            return listed(clients, made)

        for share in (4, 2, 1):
            size = projects // share
            made += [populate(clients, number) for number in range(len(made), size)]
            found[size] = least(rounds, once) / size
            row(f"listings of {size:,} projects, each", f"{1000 * found[size]:.2f} ms")
        clients.close()
    sizes = sorted(found)
    growth = found[sizes[-1]] / found[sizes[0]]
    row(f"{sizes[-1]:,} projects beside {sizes[0]:,}, each", f"{growth:.2f}", aim="1.3")


def populate(clients: Clients, number: int) -> str:
    """Make a project with a secret in it; gives its id."""
    id = f"benchmark-{number:06}"
    body = {"project_id": id, "parent": ORGANIZATION}
    enabled = {"name": f"projects/{id}/services/secretmanager.googleapis.com"}
    for begun in (
        lambda: clients.get("projects").create_project(request={"project": body}),
        lambda: clients.get("services").enable_service(request=enabled),
    ):
        operation = begun()
        while not operation.done():
            time.sleep(0.001)  # Google's own wait begins with a second
    secret = {"replication": {"automatic": {}}}
    clients.get("secrets").create_secret(
        request={"parent": f"projects/{id}", "secret_id": "one", "secret": secret}
    )
    return id


def listed(clients: Clients, projects: list[str]) -> float:
    """Seconds to find all projects and the secrets of each."""
    began = time.perf_counter()
    found = list(clients.get("projects").search_projects())
    secrets = [
        each
        for id in projects
        for each in clients.get("secrets").list_secrets(request={"parent": f"projects/{id}"})
    ]
    took = time.perf_counter() - began
    assert len(found) == len(secrets) == len(projects)
    return took


if __name__ == "__main__":
    main()
