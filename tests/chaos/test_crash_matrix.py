"""Killed at every boundary of every step; the next run ends where an uninterrupted one does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.chaos.conftest import FULL
from tests.chaos.processes import KILLED, Forks
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
"""In the order of the run: what the short form kills, each in the run that goes on from the last."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture
def new_world(forks: Forks, localcloud, tmp_path: Path) -> Iterator[Callable[[], World]]:
    """Gives worlds in which nothing has happened yet."""
    worlds: list[World] = []
    about = {name: getattr(localcloud, name) for name in ("endpoint", "ca", "token")}

    def make() -> World:
        project = f"chaos-{uuid4().hex[:12]}"
        worlds.append(World(tmp_path / project, project, forks, about))
        return worlds[-1]

    yield make
    for world in worlds:
        world.clear()


def finished(world: World) -> End:
    """The end of a whole run, in which nothing was left to do twice."""
    assert world.run() == 0, world.said
    assert world.made_twice() == {}
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


def test_a_run_killed_again_and_again_ends_as_one_that_was_never(new_world):
    whole = new_world()
    expected = finished(whole)
    moments = whole.moments()
    assert len(moments) == len(set(moments)), "each has a name of its own"
    assert expected.resources["secret versions"] == ["ENABLED"]
    assert expected.resources["redis operations"] == 1
    doomed = new_world()
    for moment in spread(moments):
        assert doomed.run(moment=moment) == KILLED, f"{moment}: {doomed.said}"
        assert doomed.moments()[-1] == moment
    assert finished(doomed) == expected


@pytest.mark.full_chaos
def test_killed_at_every_boundary_of_every_step(new_world):
    whole = new_world()
    expected = finished(whole)
    for moment in whole.moments():
        doomed = new_world()
        assert doomed.run(moment=moment) == KILLED, f"{moment}: {doomed.said}"
        assert finished(doomed) == expected, moment
        doomed.clear()
