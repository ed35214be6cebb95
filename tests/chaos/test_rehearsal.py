"""The real migration, killed at random moments with what it works with; then finished, no drift.

``ORCHESTRA_CHAOS_KILLS`` says how often (10); each time with a source and a cloud made anew.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.processes import ROOT
from tests.chaos.servers import cloud_process, databases_below, kill

KILLS = int(os.environ.get("ORCHESTRA_CHAOS_KILLS", "10"))
ENVIRONMENT = """
target = "embedded"
source = { sample_scale = 0.02 }
criteria = { vector_search_p99_ms = 60000.0, api_p99_ms = 60000.0 }
"""
"""The rehearsal; what is killed here is state, so a busy machine may be as slow as it likes."""
VICTIMS = ("run", "cloud", "run", "databases")


class Rehearsal:
    """A migration in a state folder of its own."""

    def __init__(self, folder: Path, environment: str = ENVIRONMENT) -> None:
        self.state = folder / "state"
        self._environment = folder / "rehearsal.toml"
        self._environment.write_text(environment)
        self._log = folder / "said.txt"
        self._outputs = [
            *("-o", f"migration_log={folder / 'migration.log'}"),
            *("-o", f"migration_report={folder / 'report.html'}", "-p", "no:cacheprovider"),
        ]

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Begin a run."""
        command = [sys.executable, "-m", "pytest", "phases/", "--env"]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [*command, str(self._environment), *self._outputs, *arguments],
                cwd=ROOT,
                env=self._environ(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def run(self, *arguments: str) -> float:
        """A whole run that must succeed; gives its seconds."""
        began = time.monotonic()
        code = self.start(*arguments).wait()
        assert code == 0, f"{' '.join(arguments)} ended with {code}:\n{self.said}"
        return time.monotonic() - began

    def done(self) -> int:
        """How many steps are done."""
        store = self.state / "rehearsal.db"
        if not store.exists():
            return 0
        with closing(sqlite3.connect(store)) as looking:
            query = "select count(*) from orchestra_checkpoints where state = 'done'"
            try:
                return int(looking.execute(query).fetchone()[0])
            except sqlite3.OperationalError:
                return 0  # its tables are just being made

    @property
    def said(self) -> str:
        """What the last run printed."""
        return self._log.read_text(errors="replace")

    def kill(self, victim: str, process: "subprocess.Popen[bytes]") -> None:
        """Kill the run, or what it works with, while it runs; then wait until it has ended."""
        if victim == "cloud":
            cloud = cloud_process(self.state / "localcloud")
            kill([cloud] if cloud else [])
        elif victim == "databases":
            kill(databases_below(self.state))
        else:
            process.send_signal(signal.SIGKILL)
        process.wait()

    def remove(self) -> None:
        """Stop and remove all that it made."""
        for command in (["lib.localcloud", "reset", "--yes"], ["lib.sample", "reset"]):
            subprocess.run(
                [sys.executable, "-m", *command], cwd=ROOT, env=self._environ(), check=False
            )

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "ORCHESTRA_STATE": str(self.state)}


@pytest.fixture
def rehearsals(tmp_path: Path) -> Iterator[Iterator[Rehearsal]]:
    """One after the other; each is removed when the next begins."""
    made: list[Rehearsal] = []

    def each() -> Iterator[Rehearsal]:
        while True:
            folder = tmp_path / str(len(made))
            folder.mkdir()
            made.append(Rehearsal(folder))
            yield made[-1]
            made[-1].remove()

    yield each()
    for rehearsal in made:
        rehearsal.remove()


@pytest.mark.full_chaos
def test_a_killed_migration_is_finished_by_the_next_run_and_holds(rehearsals):
    whole = next(rehearsals)
    print(f"uninterrupted: {whole.run():.1f} s, {whole.done()} steps", flush=True)
    steps = whole.done()
    for number in range(KILLS):
        rehearsal, victim = next(rehearsals), VICTIMS[number % len(VICTIMS)]
        process = rehearsal.start()
        after = random.randrange(steps)
        while rehearsal.done() < after and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))  # somewhere in the step that follows
        done = rehearsal.done()
        rehearsal.kill(victim, process)
        rest = rehearsal.run()
        rehearsal.run("--detect-drift")
        assert rehearsal.done() == steps
        ended = f"{victim} killed after {done} steps, the run ended with {process.returncode}"
        print(f"{ended}; finished in {rest:.1f} s, no drift", flush=True)
