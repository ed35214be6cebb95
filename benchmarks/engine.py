"""What the engine costs: trivial steps, checkpoints, a finished migration, a graph on workers.

``python benchmarks/engine.py`` writes small migrations into a temporary folder, runs them beside
their peers, and prints one table.  Ratios count: the peer runs in the same minute on the same
machine.  ``--steps`` is the number of trivial steps, ``--rounds`` how often each is run.
"""

import argparse
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lib.engine.changes import Change, ChangeKind
from lib.engine.graph import StepGraph
from lib.engine.run import Run
from lib.engine.store import Checkpoint, Store

ROOT = Path(__file__).resolve().parents[1]

CONFTEST = """
from dataclasses import dataclass
pytest_plugins = ["lib.plugin.plugin"]

@dataclass(frozen=True)
class Settings:
    size: int = 1

def pytest_migration_settings(config, environment):
    return Settings()
"""
PLAIN = """
import pytest

@pytest.fixture
def step():
    return None
"""
MARKED = """
import pytest

def marks(number):
    name = f"step-{{number}}"
    before = [f"step-{{number - 1}}"] if number else []
    return pytest.param(number, marks=[
        pytest.mark.component("trivial"),
        pytest.mark.dependency(name=name, depends=before, scope="session"),
    ])

@pytest.mark.parametrize("number", [marks(number) for number in range({steps})])
def test_step(step, number):
    pass
"""
SLEEPING = """
import time
import pytest

def make(name, depends):
    @pytest.mark.component("sleeping")
    @pytest.mark.dependency(name=name, depends=depends, scope="session")
    def test(step):
        time.sleep({seconds})
    return test

for name, depends in {graph}.items():
    globals()[f"test_{{name}}"] = make(name, depends)
"""


def main() -> None:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each sleeping step")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users' commands find their bytecode
    print("| what | peer | took | peer took | ratio | aim |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        trivial(Path(folder), options.steps, options.rounds)
        checkpoints(Path(folder), options.rounds)
        sleeping(Path(folder), options.seconds, options.rounds)
        finished(Path(folder), options.rounds)


def row(what: str, peer: str, took: float, peer_took: float, aim: str, unit: str = "s") -> None:
    """One line of the table."""
    print(
        f"| {what} | {peer} | {took:.2f} {unit} | {peer_took:.2f} {unit} "
        f"| {took / peer_took:.2f} | {aim} |",
        flush=True,
    )


def pytest_seconds(folder: Path, *arguments: str) -> tuple[float, float]:
    """Wall time and peak memory (MB) of a pytest in a folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def project(folder: Path, plugins: str, test: str, place: str) -> Path:
    """A folder with a conftest, an ini file and one module."""
    (folder / place).mkdir(parents=True)
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = {plugins}\n")
    (folder / place / "test_1_steps.py").write_text(test)
    return folder


PEERS = "-p pytest_dependency -p xdist.plugin -p pytest_benchmark.plugin"
OURS = f"{PEERS} --strict-markers"


def trivial(folder: Path, steps: int, rounds: int) -> None:
    """Steps that do nothing, first run and resumed, against the same tests without the plugin."""
    text = MARKED.format(steps=steps)
    plain = project(folder / "plain", PEERS, text, "tests")
    (plain / "conftest.py").write_text(PLAIN)
    ours = project(folder / "ours", OURS, text, "phases")
    (ours / "conftest.py").write_text(CONFTEST)
    first, resumed, peers, memory = [], [], [], 0.0
    for _ in range(rounds):
        peers.append(pytest_seconds(plain, "tests")[0])
        for leftover in (ours / ".migration").glob("*"):
            leftover.unlink()
        took, memory = pytest_seconds(ours, "phases")
        first.append(took)
        resumed.append(pytest_seconds(ours, "phases")[0])
    peer = statistics.median(peers)
    row(
        f"{steps:,} trivial steps, first run",
        "the same tests under plain pytest",
        statistics.median(first),
        peer,
        "2",
    )
    row(
        "the same, resumed",
        "the same tests under plain pytest",
        statistics.median(resumed),
        peer,
        "1.5",
    )
    print(f"| memory of that run | – | {memory:.0f} MB | – | – | – |")


def finished(folder: Path, rounds: int) -> None:
    """A finished migration of the sample run again, against collecting it."""
    environment = os.environ | {"ORCHESTRA_STATE": str(folder / "state")}

    def seconds(*arguments: str) -> float:
        command = [sys.executable, "-m", "pytest", "phases/", "--env", "rehearsal", *arguments]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:])
        return time.perf_counter() - start

    try:
        seconds()
        again, collected = [], []
        for _ in range(rounds):
            again.append(seconds())
            collected.append(seconds("--collect-only", "-q"))
        row(
            "a finished migration, again",
            "pytest --collect-only",
            statistics.median(again),
            statistics.median(collected),
            "1.5",
        )
    finally:
        for server in ("lib.localcloud", "lib.sample"):
            command = [sys.executable, "-m", server, "stop"]
            subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)


def checkpoints(folder: Path, rounds: int) -> None:
    """The intent and the result of a step that changes something, each against one commit."""
    store = Store(folder / "store.db")
    run = Run(store)
    run.begin([])
    plain = sqlite3.connect(folder / "plain.db", isolation_level=None)
    plain.execute("pragma journal_mode=wal")
    plain.execute("pragma synchronous=full")
    plain.execute("create table t (k integer primary key, v text)")
    number, ours, theirs = 300, [], []

    def commit(key: int) -> None:
        plain.execute("begin immediate")
        plain.execute("insert or replace into t values (?, ?)", (key, "x" * 200))
        plain.execute("commit")

    change = Change(ChangeKind.CREATE, "thing")

    def step(key: int) -> None:
        name = f"step-{key}"
        store.intend(name, run.number, 1, time.time(), change)
        store.finish(Checkpoint(name, "done", run.number, 1, 0, 1, {}, {}, (change,), None))

    for _ in range(rounds):
        ours.append(_each(step, number) / 2)
        theirs.append(_each(commit, number))
    run.end("passed")
    store.close()
    row(
        "an intent or a result",
        "one SQLite commit, full sync",
        statistics.median(ours) * 1e3,
        statistics.median(theirs) * 1e3,
        "2",
        "ms",
    )


def _each(call: Callable[[int], None], number: int) -> float:
    start = time.perf_counter()
    for key in range(number):
        call(key)
    return (time.perf_counter() - start) / number


def sleeping(folder: Path, seconds: float, rounds: int) -> None:
    """A graph of 60 sleeping steps on 4 workers, against its critical path."""
    graph = sixty()
    longest = max(StepGraph(graph.items()).chains({}).values())
    path = longest * seconds
    text = SLEEPING.format(graph=graph, seconds=seconds)
    ours = project(folder / "sleeping", OURS, text, "phases")
    (ours / "conftest.py").write_text(CONFTEST)
    alone = SLEEPING.format(graph={"only": []}, seconds=0)
    empty = project(folder / "empty", OURS, alone, "phases")
    (empty / "conftest.py").write_text(CONFTEST)
    took, started = [], []
    for _ in range(rounds):
        for each in (ours, empty):
            for leftover in (each / ".migration").glob("*"):
                leftover.unlink()
        started.append(pytest_seconds(empty, "phases", "-n", "4")[0])
        took.append(pytest_seconds(ours, "phases", "-n", "4")[0])
    net = statistics.median(took) - statistics.median(started)
    row("60 sleeping steps, -n 4, without starting it", "their critical path", net, path, "1.1")
    row("the same, with starting it", "their critical path", statistics.median(took), path, "–")


def sixty() -> dict[str, list[str]]:
    """A chain of 20, and 40 steps beside it that hang on its early parts."""
    graph: dict[str, list[str]] = {}
    for number in range(20):
        graph[f"chain{number}"] = [f"chain{number - 1}"] if number else []
    for number in range(40):
        place = number % 10
        graph[f"side{number}"] = [f"chain{place - 1}"] if place else []
    return graph


if __name__ == "__main__":
    main()
