"""The main job in a copy of the checkout, so that its reports and state are nobody else's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("lib", "phases", "validation", "environments")
FILES = ("conftest.py", "pytest.ini", "pyproject.toml", "run_unified_migration.sh")

SMALL = """
target = "embedded"
[source]
sample_scale = 0.02
[criteria]
api_p99_ms = 60_000
vector_search_p99_ms = 60_000
"""
"""A small sample; latency thresholds that no busy machine misses."""


@dataclass(frozen=True)
class Outcome:
    """What a user sees of a command."""

    code: int
    text: str


class MainJob:
    """The commands of a user, in a checkout and a state folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.state = folder / "state"
        self.checkout.mkdir(parents=True)
        for part in PARTS:
            shutil.copytree(
                ROOT / part, self.checkout / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in FILES:
            if (ROOT / name).exists():
                shutil.copy2(ROOT / name, self.checkout / name)
        self.write("small", SMALL)

    def write(self, name: str, text: str) -> None:
        """An environment file."""
        (self.checkout / "environments" / f"{name}.toml").write_text(text)

    def command(self, *command: str, cwd: Path | None = None, **variables: str) -> Outcome:
        """Run a command as a user would."""
        done = subprocess.run(
            command,
            cwd=cwd or self.checkout,
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHON": sys.executable,
                "PYTHONPATH": str(self.checkout),
                "ORCHESTRA_STATE": str(self.state),
                **variables,
            },
        )
        return Outcome(done.returncode, done.stdout + done.stderr)

    def pytest(self, *arguments: str, env: str = "small") -> Outcome:
        """Run pytest on an environment."""
        return self.command(sys.executable, "-m", "pytest", *arguments, "--env", env)

    def cloud_calls(self) -> dict[str, dict[str, int]]:
        """The calls that the embedded cloud had since the last time that they were asked for."""
        told = self.command(sys.executable, "-m", "lib.localcloud", "calls", "--json", "--reset")
        found: dict[str, dict[str, int]] = json.loads(told.text)
        return found

    def close(self) -> None:
        """Stop every server."""
        self.command(sys.executable, "-m", "lib.localcloud", "stop")
        self.command(sys.executable, "-m", "lib.sample", "stop")


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MainJob]:
    """A main job that has not begun."""
    made = MainJob(tmp_path_factory.mktemp("main-job"))
    yield made
    made.close()


@dataclass(frozen=True)
class Migrated:
    """A finished migration: its first run met an obstacle, the same command then finished it.

    ``looked`` is a dry run between the two with its ``calls``; ``made`` has the calls of both
    runs that changed something.
    """

    job: MainJob
    obstructed: Outcome
    looked: Outcome
    calls: dict[str, dict[str, int]]
    finished: Outcome
    made: dict[str, int]


@pytest.fixture(scope="session")
def migrated(job: MainJob) -> Migrated:
    """Migrate, at first with a file in the way of the AlloyDB instance's data."""
    obstacle = job.state / "localcloud" / "alloydb"
    obstacle.parent.mkdir(parents=True, mode=0o700)
    obstacle.touch()
    obstructed = job.pytest("phases/")
    obstacle.unlink()
    made = job.cloud_calls()["mutating"]
    looked = job.pytest("phases/", "--dry-run")
    calls = job.cloud_calls()
    finished = job.pytest("phases/")
    made |= job.cloud_calls()["mutating"]
    return Migrated(job, obstructed, looked, calls, finished, made)
