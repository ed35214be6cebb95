"""What a run does when a call that changes something goes wrong: a part here, all with ``chaos``.

The cells are in ``matrix``; ``python -m tests.cloud.matrix`` writes the table.
"""

import pytest

from tests.cloud.matrix import page
from tests.cloud.matrix.cells import FAULTS, MUTATIONS, applies, run_case
from tests.cloud.matrix.world import World
from tests.cloud.matrix.world import world as new_world

CELLS = [
    (mutation, name)
    for mutation in MUTATIONS
    for name, fault in FAULTS.items()
    if applies(mutation, fault)
]
# The server is killed once for each way, not for each call: to start it again takes a second.
KILLED = {("Projects/CreateProject", "server killed after it"),
          ("secretmanager/AddSecretVersion", "server killed before it")}  # fmt: skip
OFTEN = {
    "UNAVAILABLE after it", "DEADLINE_EXCEEDED after it", "RESOURCE_EXHAUSTED", "ABORTED",
    "operation fails", "operation lost, work not done",
}  # fmt: skip
SHORT = [
    (mutation, name)
    for mutation, name in CELLS
    if (mutation.short and name in OFTEN) or (mutation.method, name) in KILLED
]
RECOVERS = {name for name in FAULTS if name.startswith(("UNAVAILABLE", "DEADLINE", "ABORTED",
            "INTERNAL", "connection cut", "operation lost"))}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with new_world(tmp_path_factory.mktemp("matrix") / "state") as made:
        yield made


def _shown(cell):
    return f"{cell[0].rpc}-{cell[1]}".replace(" ", "-")


@pytest.mark.parametrize("cell", SHORT, ids=_shown)
def test_a_run_recovers_or_stops_with_a_remedy(world: World, cell):
    mutation, name = cell
    outcome = run_case(world, mutation, FAULTS[name])
    assert (outcome == "recovers") is (name in RECOVERS), outcome


@pytest.mark.chaos
@pytest.mark.parametrize("cell", [each for each in CELLS if each not in SHORT], ids=_shown)
def test_the_rest_of_the_matrix(world: World, cell):
    mutation, name = cell
    outcome = run_case(world, mutation, FAULTS[name])
    assert (outcome == "recovers") is (name in RECOVERS), outcome


def test_the_page_has_every_cell():
    text = page.PAGE.read_text(encoding="utf-8")
    part = text.partition(page.BEGIN)[2].partition(page.END)[0]
    rows = [line.split(" | ") for line in part.splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == [each.method for each in MUTATIONS]
    assert "WRONG" not in part
    for mutation, row in zip(MUTATIONS, rows, strict=True):
        for (name, fault), told in zip(FAULTS.items(), row[1:], strict=True):
            assert bool(told.strip("| ")) is applies(mutation, fault), (mutation.method, name)
