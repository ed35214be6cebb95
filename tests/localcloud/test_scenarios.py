"""The same scenarios at every door; two services by default, all with ``ORCHESTRA_CHAOS=full``."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from tests.localcloud.conftest import ORGANIZATION, Server
from tests.localcloud.doors import COMPUTE, DOORS, NO_REST, Door, Embedded
from tests.localcloud.recording import SKIPPED, Record, compare, play
from tests.localcloud.scenarios import SCENARIOS

FULL = os.environ.get("ORCHESTRA_CHAOS") == "full"
CHOSEN = tuple(SCENARIOS) if FULL else ("secrets", "redis")
NOT_SERVED = {"rest": NO_REST, "grpc_asyncio": set(COMPUTE)}
HIGH_LEVEL = ("grpc", "rest") if FULL else ("grpc",)


@pytest.fixture(scope="module")
def place(cloud: Server) -> Iterator[Embedded]:
    """The cloud, and a token of somebody without any role."""
    stranger = cloud.command("token", "--principal", "user:nobody@example.com").strip()
    place = Embedded(cloud.start(), stranger)
    with place.trusted():
        yield place


def words_of(project: str) -> dict[str, str]:
    """The words of a run on the embedded cloud."""
    own, location = uuid.uuid4().hex[:8], f"projects/{project}/locations/us-central1"
    return {
        "{p}": project, "{l}": location, "{id}": f"run-{own}", "{word}": f"run_{own}",
        "{absent}": "no-such-project-here", "{region}": "us-central1",
        "{uuid-cluster}": str(uuid.uuid4()), "{uuid-instance}": str(uuid.uuid4()),
        "{uuid-backup}": str(uuid.uuid4()),
        "{organization}": ORGANIZATION,
        "{l-absent}": location.replace(project, "no-such-project-here"),
        "{network}": f"projects/{project}/global/networks/default",
        "{subnetwork}": f"projects/{project}/regions/us-central1/subnetworks/default",
        "{image}": "embedded://tests.localcloud.sample_service",
    }  # fmt: skip


@pytest.fixture(scope="module")
def lives(cloud: Server, place: Embedded) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The high-level package at its own pace (it polls once a second), beside the scenarios."""
    about, project = place.about, cloud.new_project("aiplatform")
    addresses = {"grpc": [about["endpoint"]], "rest": [f"https://{about['rest']}", "--rest"]}
    variables = ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "REQUESTS_CA_BUNDLE")
    trust = dict.fromkeys(variables, about["ca"])
    command = [sys.executable, "-m", "tests.localcloud.high_level", project, "us-central1"]
    begun = {
        each: subprocess.Popen(
            [*command, "--api-endpoint", *addresses[each]], text=True,
            env={**os.environ, **trust, "TOKEN": about["token"]},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for each in HIGH_LEVEL
    }  # fmt: skip
    yield begun
    for each in begun.values():
        each.kill()
        each.communicate()


@pytest.fixture(scope="module")
def records(lives: object, cloud: Server, place: Embedded) -> dict[tuple[str, str], list[Record]]:
    """What each scenario came to at each door."""
    apis = sorted({api for name in CHOSEN for api in SCENARIOS[name].needs})
    project = cloud.connected_project(*apis)
    found = {}
    for name in DOORS:
        door = Door(place, name)
        for scenario in CHOSEN:
            played = play(SCENARIOS[scenario], door, words_of(project))
            found[name, scenario] = list(played)
        door.close()
    return found


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("scenario", CHOSEN)
def test_a_scenario_comes_to_what_it_must(
    records: dict[tuple[str, str], list[Record]], door: str, scenario: str
) -> None:
    assert [(each.step, each.problems) for each in records[door, scenario] if each.problems] == []


@pytest.mark.parametrize("door", DOORS[1:])
@pytest.mark.parametrize("scenario", CHOSEN)
def test_every_door_gives_the_same_answers(
    records: dict[tuple[str, str], list[Record]], door: str, scenario: str
) -> None:
    """Codes, details, messages, responses, metadata: but for what the client itself refuses."""
    own = [
        each for each in records[door, scenario] if each.answer["code"] != "REFUSED_BY_THE_CLIENT"
    ]
    assert compare(records["grpc", scenario], own) == []
    skipped = {each.call.partition(".")[0] for each in own if each.answer["code"] == SKIPPED}
    assert skipped <= NOT_SERVED[door]


@pytest.mark.parametrize("transport", HIGH_LEVEL)
def test_the_high_level_package_lives_through_an_index(
    lives: dict[str, subprocess.Popen[str]], transport: str
) -> None:
    told, complaints = lives[transport].communicate(timeout=120)
    assert lives[transport].returncode == 0, complaints[-800:]
    assert json.loads(told.splitlines()[-1]) == {
        "nearest": ["p3", "p4"], "after": ["p4"], "listed": [True], "deployed": [True],
    }  # fmt: skip
