"""Killed at every boundary of every step; the next run ends where an uninterrupted one does."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.chaos.processes import KILLED, Forks
from tests.chaos.servers import databases_below, kill, killed_cloud
from tests.chaos.world import End, World

BOUNDARIES = (
    "before the intent",
    "after the intent",
    "during: file",
    "after applying",
    "before the checkpoint",
    "after the checkpoint",
    "during: CreateProject was answered",
    "key: after the intent",
    "during: CreateSecret was answered",
    "during: CreateInstance was answered",
    "memory: before the checkpoint",
)
"""What the short form kills, in order; each in the run that goes on from the last."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture
def new_world(forks: Forks, localcloud, tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Gives worlds in which nothing has happened yet."""
    worlds: list[World] = []
    about = {name: getattr(localcloud, name) for name in ("endpoint", "ca", "token")}

    def make(**more: str) -> World:
        project = f"chaos-{uuid4().hex[:12]}"
        worlds.append(World(tmp_path / project, project, forks, about, **more))
        return worlds[-1]

    yield make
    for world in worlds:
        world.clear()


def finished(world: World) -> End:
    """The end of a whole run, in which nothing was left to do twice."""
    assert world.run() == 0, world.said
    assert world.made_twice() == {}, world.moments()
    end = world.end()
    assert all(state == "done" for state, _, _ in end.checkpoints.values())
    return end


def spread(moments: list[str]) -> list[str]:
    """One moment of each kind, each later than the one before."""
    found, at = [], 0
    for kind in BOUNDARIES:
        at = next(i for i in range(at, len(moments)) if kind in moments[i]) + 1
        found.append(moments[at - 1])
    return found


@pytest.mark.parametrize(
    "shared", [False, pytest.param(True, marks=pytest.mark.full_chaos)], ids=["file", "shared"]
)
def test_a_run_killed_again_and_again_ends_as_one_that_was_never(new_world, request, shared):
    whole = new_world()
    expected = finished(whole)
    moments = whole.moments()
    assert len(moments) == len(set(moments)), "each has a name of its own"
    assert expected.resources["secret versions"] == ["ENABLED"]
    assert expected.resources["instances made"] == 1
    store = {"store": request.getfixturevalue("make_database")()} if shared else {}
    doomed = new_world(**store)
    for moment in spread(moments):
        assert doomed.run(moment=moment) == KILLED, f"{moment}: {doomed.said}"
        assert doomed.moments()[-1] == moment
    assert finished(doomed) == expected
    assert len(doomed.standing()) > 2
    assert doomed.run("--rollback") == 0, doomed.said
    assert doomed.files() == {"old.txt": "what was there before"}
    assert doomed.standing() == []


@pytest.mark.full_chaos
def test_killed_at_every_boundary_of_every_step(new_world):
    whole = new_world()
    expected = finished(whole)
    for moment in whole.moments():  # each is killed in a world of its own
        doomed = new_world()
        assert doomed.run(moment=moment) == KILLED, f"{moment}: {doomed.said}"
        assert finished(doomed) == expected, moment
        doomed.clear()
    print(f"killed at {len(whole.moments())} boundaries", flush=True)


def at_random(world: World, seconds: float) -> None:
    """Wait for a random part of a run that takes about this long."""
    while not world.moments():  # what comes before is pytest's own start
        time.sleep(0.001)
    time.sleep(random.uniform(0, seconds))


def timed(world: World) -> tuple[End, float]:
    """The end of an uninterrupted run, and how many seconds its steps took."""
    world.start()
    at_random(world, 0)
    began = time.monotonic()
    assert world.forks.ended() == 0, world.said
    seconds = time.monotonic() - began
    return finished(world), seconds


@pytest.mark.full_chaos
def test_killed_at_random_moments(new_world):
    expected, seconds = timed(new_world())
    killed = 0
    for _ in range(100):
        doomed = new_world()
        doomed.start()
        at_random(doomed, seconds)
        killed += doomed.forks.ended(killed=True) == KILLED
        assert finished(doomed) == expected, doomed.moments()
        doomed.clear()
    print(f"killed at {killed} random moments; the other runs had ended", flush=True)


@pytest.mark.full_chaos
def test_the_cloud_is_killed_and_comes_back(new_world, localcloud):
    expected, seconds = timed(new_world())
    for _ in range(10):
        world = new_world()
        world.start()
        at_random(world, seconds)
        killed_cloud(localcloud.state)
        world.forks.ended()  # it may have waited until the cloud was back, or have failed
        assert finished(world) == expected, world.moments()
        world.clear()


@pytest.mark.full_chaos
def test_what_serves_behind_an_instance_is_killed(new_world, localcloud):
    """At any moment, and while it is being made: that fails then, and the next run makes it."""
    expected, seconds = timed(new_world())
    for number in range(20):
        world = new_world()
        world.start()
        at_random(world, seconds if number % 2 else 0)
        while not (number % 2 or "during: CreateInstance was answered" in world.moments()):
            time.sleep(0.001)
        kill(databases_below(localcloud.state))
        world.forks.ended()
        assert finished(world) == expected
        world.clear()
