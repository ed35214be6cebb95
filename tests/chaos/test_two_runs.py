"""Two runs started at once: exactly one works, and the other is told who does."""

import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lib.engine.store import Store
from tests.chaos.conftest import FULL

ROUNDS = 50 if FULL else 3

RACER = """
import os, sys
from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import LockHeld
from lib.engine.run import Run
from lib.engine.step import Step
from lib.engine.store import Store

class Append:
    subject = "line"
    def observe(self):
        return None
    def plan(self, observed):
        return Change(ChangeKind.CREATE, self.subject)
    def apply(self, change, journal):
        with open(sys.argv[1], "a") as log:
            log.write(f"{os.getpid()}\\n")
    def verify(self):
        return None

def say(word):
    print(word.replace("\\n", " "), flush=True)

for line in sys.stdin:
    store = Store(line.strip())
    run = Run(store)
    try:
        run.begin(["race"])
    except LockHeld as error:
        say(f"held {error}")
    else:
        step = Step("a", run)
        step.make(Append())
        step.finish(None)
        say(f"works {run.number}")
        sys.stdin.readline()
        run.end("passed")
    store.close()
"""


class Racer:
    """A process that begins a run whenever it is told to."""

    def __init__(self, log: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", RACER, str(log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid

    def tell(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n")

    def answer(self) -> str:
        return self._process.stdout.readline().strip()

    def end(self) -> None:
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


@pytest.fixture(params=["sqlite", "postgresql"])
def new_location(request: pytest.FixtureRequest, tmp_path: Path):
    """Gives places where no store has been yet."""
    if request.param == "postgresql":
        return request.getfixturevalue("make_database")
    numbers = iter(range(1000))
    return lambda: str(tmp_path / f"{next(numbers)}.db")


def test_one_of_two_runs_works_even_where_both_make_the_store(new_location, tmp_path):
    log = tmp_path / "worked.txt"
    racers = [Racer(log), Racer(log)]
    workers = []
    for _ in range(ROUNDS):
        location = new_location()
        for racer in racers:
            racer.tell(location)
        answers = {racer: racer.answer() for racer in racers}
        assert sorted(each.split()[0] for each in answers.values()) == ["held", "works"], answers
        winner, loser = sorted(racers, key=lambda each: answers[each], reverse=True)
        assert answers[winner] == "works 1"
        assert f"process {winner.pid} of" in answers[loser]
        assert f"on {socket.gethostname()}, since 20" in answers[loser]
        workers.append(winner.pid)
        winner.tell("end")
        looking = Store(location, create=False)
        assert [each["run"] for each in looking.history()] == [1]
        looking.close()
    assert [int(line) for line in log.read_text().split()] == workers
    for racer in racers:
        racer.end()


SLOW = """
    @pytest.mark.component("paper")
    @pytest.mark.dependency(name="slow", depends=["a"], scope="session")
    def test_slow(step):
        import time
        Path("here").write_text(str(os.getpid()))
        end = time.monotonic() + 60
        while not Path("go-on").exists() and time.monotonic() < end:
            time.sleep(0.02)
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]][: 1 + FULL], ids=" ".join)
def test_one_of_two_commands_works_and_the_other_says_who(migration, workers):
    path = migration.path / "phases" / "test_1_first.py"
    path.write_text(path.read_text() + textwrap.dedent(SLOW))
    command = [sys.executable, "-m", "pytest", "phases", *workers]
    both = [
        subprocess.Popen(
            command,
            cwd=migration.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    end = time.monotonic() + 60
    while all(each.poll() is None for each in both):
        assert time.monotonic() < end, "neither gave way"
        time.sleep(0.02)
    loser, winner = sorted(both, key=lambda each: each.returncode is None)
    told, _ = loser.communicate(timeout=30)
    (migration.path / "go-on").touch()
    seen, _ = winner.communicate(timeout=60)
    assert (loser.returncode, winner.returncode) == (pytest.ExitCode.USAGE_ERROR, 0), told + seen
    assert f"process {winner.pid} of" in told
    assert "Traceback" not in told
    assert len((migration.path / "applied.txt").read_text().splitlines()) == 4
