"""Moving a mixed PostgreSQL database: this project beside pg_dump and pgcopydb.

``python benchmarks/postgres.py`` starts two servers in a temporary folder, fills one with about
``--size`` megabytes (pgbench's accounts; memories with vector(384), jsonb under GIN, text) and
moves it with each program in turn, ``--rounds`` times, into an empty database: schema, rows,
indexes, constraints and statistics.  pgcopydb is the one that ``PGCOPYDB`` names, else the one on
PATH.  It prints a table of medians, each beside pgcopydb's best.
"""

import argparse
import gc
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psycopg

from lib.engine.changes import ChangeKind, Json
from lib.postgres.comparison import CompareOptions, compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database
from lib.postgres.extensions import Extensions
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.sequences import Sequences
from lib.runtime.binaries import pg_dump_path, postgresql_program
from lib.runtime.postgresql import PostgreSQL

JOBS = 2
SERVER = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "min_wal_size": "8GB",  # segments of the log are used again, not made while one is measured
    "maintenance_work_mem": "256MB",
}
MEMORIES = """
create extension vector;
create table memories (
    id bigserial primary key, agent int not null, content text not null, facts jsonb not null,
    embedding vector(384) not null, made_at timestamptz not null default now()
);
insert into memories (agent, content, facts, embedding)
select n %% 1000, repeat(md5(n::text) || ' ', 1 + n %% 12),
       jsonb_build_object('n', n, 'tag', 'tag ' || n %% 500, 'words', jsonb_build_array(n %% 7)),
       (select array_agg(random() + 0 * n * g) from generate_series(1, 384) g)::vector(384)
  from generate_series(1, %(rows)s) n;
create index on memories using gin (facts);
create index on memories (agent, made_at);
vacuum analyze memories;
"""


class Quiet(dict[str, Json]):
    """A journal that forgets."""

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        """Say nothing."""

    def safe_point(self) -> None:
        """Go on."""


def move(source: Database, target: Database, *, verified: bool) -> None:
    """What the phases do to a database without roles; then, if asked, compare every row."""
    gc.set_threshold(100_000)  # as the plugin does
    schema = SchemaOptions(jobs=JOBS, pg_dump=pg_dump_path())
    post_data = PostDataSchema(source, target, schema)
    options = CopyOptions(workers=JOBS, cores=os.cpu_count())
    for action in (
        Extensions(source, target),
        PreDataSchema(source, target, schema),
        CopyRows(source, target, options, post_data=post_data),
        post_data,
        Sequences(source, target),
    ):
        change = action.plan(action.observe())
        if change.kind is not ChangeKind.NONE:
            action.apply(change, Quiet())
    if verified:
        found = compare(source, target, CompareOptions(workers=JOBS))
        assert found.equal, found.describe()


def run(
    command: list[str | Path], environment: dict[str, str] | None = None
) -> tuple[float, float]:
    """Seconds that a program took, and its peak memory in megabytes."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [str(each) for each in command],
            env={**os.environ, **(environment or {})},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            said.seek(0)
            sys.exit(said.read().decode()[-3000:])
    return time.monotonic() - began, usage.ru_maxrss / 1024


def ours(*more: str) -> Callable[[Database, Database], tuple[float, float]]:
    """This project, in a process of its own."""
    return lambda source, target: run(
        [sys.executable, __file__, "--move", source.url, target.url, *more],
        {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )


def dump_and_restore(source: Database, target: Database) -> tuple[float, float]:
    """pg_dump into a directory, pg_restore from it, statistics; memory is not told."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "dump"
        jobs = f"-j{JOBS}"
        spent = [
            run([postgresql_program("pg_dump"), "-Fd", jobs, "-f", dump, "-d", source.url]),
            run([postgresql_program("pg_restore"), jobs, "-d", target.url, dump]),
            analyze(target),
        ]
    return sum(seconds for seconds, _ in spent), 0.0


def analyze(target: Database) -> tuple[float, float]:
    """Gather statistics with PostgreSQL's own program."""
    return run([postgresql_program("vacuumdb"), "-q", "--analyze-only", f"-j{JOBS}", target.url])


def pgcopydb(
    program: str, *more: str, compared: bool = False
) -> Callable[[Database, Database], tuple[float, float]]:
    """pgcopydb with binary COPY and tables split as ours are."""

    def clone(source: Database, target: Database) -> tuple[float, float]:
        path = f"{postgresql_program('psql').parent}:{os.environ['PATH']}"
        with tempfile.TemporaryDirectory() as folder:
            both = ["--source", source.url, "--target", target.url, "--dir", f"{folder}/work"]
            options = ["--table-jobs", f"{JOBS}", "--index-jobs", f"{JOBS}"]
            split = ["--split-tables-larger-than", "64 MB", "--use-copy-binary"]
            spent = [run([program, "clone", *both, *options, *split, *more], {"PATH": path})]
            if "--skip-vacuum" in more:
                spent.append(analyze(target))
            if compared:
                spent.append(run([program, "compare", "data", *both], {"PATH": path}))
        return sum(seconds for seconds, _ in spent), 0.0

    return clone


def fill(source: Database, size: int) -> float:
    """About ``size`` megabytes; gives what it is."""
    scale, rows = max(1, 40 * size // 1000), 200 * size
    program = postgresql_program("pgbench")
    run([program, "-i", "-q", "-s", f"{scale}", "-d", source.url])
    with psycopg.connect(source.url, autocommit=True) as connection:
        for statement in (MEMORIES % {"rows": rows}).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        row = connection.execute("select pg_database_size(current_database())").fetchone()
    return float(row[0]) / 1e6 if row else 0.0


def empty(server: Database) -> Database:
    """A new database, with nothing left to write from the one before."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("drop database if exists moved with (force)")
        connection.execute("create database moved template template0")
        connection.execute("checkpoint")
    return server.named("moved")


def programs() -> dict[str, Callable[[Database, Database], tuple[float, float]]]:
    """What is measured, by name; what is missing is told."""
    found: dict[str, Callable[[Database, Database], tuple[float, float]]] = {
        "ours": ours(),
        "ours, every row verified": ours("--verified"),
        f"pg_dump -Fd -j{JOBS}, pg_restore -j{JOBS}, analyze": dump_and_restore,
    }
    program = os.environ.get("PGCOPYDB") or shutil.which("pgcopydb")
    if program is None:
        print("pgcopydb is not here: name it with PGCOPYDB.\n")
        return found
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    print(f"{version.stdout.splitlines()[0]}\n")
    found |= {
        "pgcopydb clone": pgcopydb(program),
        "pgcopydb clone --skip-vacuum, analyze": pgcopydb(program, "--skip-vacuum"),
        "pgcopydb clone, compare data": pgcopydb(program, compared=True),
    }
    return found


def report(source: Database, server: Database, rounds: int, left_out: list[str]) -> None:
    """Measure round by round, so that all meet the same weather, and print the table.

    A round before the first is not counted, and each begins with another program.
    """
    measured = {
        name: each
        for name, each in programs().items()
        if not any(word in name for word in left_out)
    }
    seconds: dict[str, list[float]] = {name: [] for name in measured}
    memory: dict[str, float] = {}
    names = deque(measured)
    for turn in range(rounds + 1):
        for name in names:
            spent, peak = measured[name](source, empty(server))
            print(f"  {turn or 'warming up'}: {name}: {spent:.2f} s", file=sys.stderr, flush=True)
            if turn:
                seconds[name].append(spent)
                memory[name] = max(peak, memory.get(name, 0))
        names.rotate(-1)
    clones = [statistics.median(v) for k, v in seconds.items() if k.startswith("pgcopydb")]
    print("| program | median s | runs | to pgcopydb's best clone | peak memory MB |")
    print("| --- | --- | --- | --- | --- |")
    for name, spent in seconds.items():
        middle = statistics.median(spent)
        ratio = f"{middle / min(clones):.2f}" if clones else "-"
        runs = ", ".join(f"{each:.1f}" for each in spent)
        peak = f"{memory[name]:.0f}" if memory[name] else "-"
        print(f"| {name} | {middle:.2f} | {runs} | {ratio} | {peak} |")


def main() -> None:
    """Start two servers, fill one, measure, stop both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="megabytes, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", action="append", default=[], help="leave out, by a word")
    parser.add_argument("--move", nargs=2, metavar=("SOURCE", "TARGET"), help=argparse.SUPPRESS)
    parser.add_argument("--verified", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users' commands find their bytecode
    if options.move:
        move(*map(Database.from_url, options.move), verified=options.verified)
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        servers = [
            PostgreSQL(Path(folder) / name / "data", "127.0.0.1", free_port(), settings=SERVER)
            for name in ("source", "target")
        ]
        try:
            for each in servers:
                each.start()
            source, target = (Database.from_url(each.url) for each in servers)
            filled = empty(source)
            print(f"{fill(filled, options.size):,.0f} MB to move, {options.rounds} rounds")
            report(filled, target, options.rounds, options.without)
        finally:
            for each in servers:
                each.stop(immediate=True)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
