"""Vector search on Vertex AI as converging resources: named by Google, made once all the same."""

import dataclasses
import uuid
from dataclasses import dataclass

import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.errors import CannotChange
from lib.cloud.target import Target
from lib.engine.changes import ChangeKind
from lib.localcloud.faults import Fault, Faults
from lib.localcloud.rehearsal import Rehearsal
from lib.settings import ProjectSettings
from tests.cloud.small_engine import MemoryJournal, converge


@dataclass(frozen=True)
class IndexSettings:
    name: str
    dimensions: int = 3
    distance: str = "SQUARED_L2_DISTANCE"


@pytest.fixture(scope="module")
def project(localcloud):
    return ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def cloud(localcloud, project):
    target = Target.embedded(
        localcloud.endpoint, localcloud.ca, localcloud.token, project=project.id
    )
    cloud = Cloud(target)
    for action in (cloud.project(project), cloud.services(project)):
        converge(action)
    yield cloud
    cloud.close()


def _three(cloud, project, name):
    index = IndexSettings(name)
    return (
        cloud.vector_index(project, index),
        cloud.index_endpoint(project, name),
        cloud.deployed_index(project, name, index, name),
    )


def test_index_endpoint_and_deployment_are_made_once_and_searched(cloud, project):
    made = [converge(each) for each in _three(cloud, project, "search")]
    assert [change.kind for change, _ in made] == [ChangeKind.CREATE] * 3
    again = [converge(each)[0].kind for each in _three(cloud, project, "search")]
    assert again == [ChangeKind.NONE] * 3
    index, deployed = made[0][1], made[2][1]
    points = [
        {"datapoint_id": id, "feature_vector": vector}
        for id, vector in (("a", [0, 0, 1]), ("b", [0, 0, 3]))
    ]
    cloud.clients.get("indexes").upsert_datapoints(
        request={"index": index.name, "datapoints": points}
    )
    found = cloud.neighbours(deployed, [0.0, 0.0, 0.0], 2)
    assert found == [("a", 1.0), ("b", 9.0)]


def test_labels_change_and_a_configuration_never_does(cloud, project, journal):
    settings = IndexSettings("changed")
    converge(cloud.vector_index(project, settings))
    other = dataclasses.replace(project, labels={"platform": "other"})
    change, state = converge(cloud.vector_index(other, settings))
    assert (change.kind, state.labels["platform"]) == (ChangeKind.UPDATE, "other")
    larger = cloud.vector_index(project, dataclasses.replace(settings, dimensions=4))
    with pytest.raises(CannotChange, match="dimensions"):
        larger.apply(larger.plan(larger.observe()), journal)


def test_undo_takes_all_three_away(cloud, project):
    made = [(each, converge(each)[0]) for each in _three(cloud, project, "gone")]
    for action, change in reversed(made):
        action.undo(change, MemoryJournal())
    assert [action.observe() for action, _ in made] == [None] * 3


@pytest.mark.parametrize("number, rpc", list(enumerate(["CreateIndex", "CreateIndexEndpoint",
                                                   "DeployIndex"])))  # fmt: skip
@pytest.mark.parametrize(
    "fault",
    [Fault("error"), Fault("error", when="after"), Fault("cut", when="after"),
     Fault("error", code="DEADLINE_EXCEEDED", when="after"), Fault("error", code="ABORTED"),
     Fault("operation-lost"), Fault("operation-lost", when="after")],
    ids=lambda fault: f"{fault.effect}-{fault.code}-{fault.when}",
)  # fmt: skip
def test_a_lost_answer_makes_nothing_twice(localcloud, cloud, project, number, rpc, fault):
    name = f"lost{uuid.uuid4().hex[:8]}"
    actions = _three(cloud, project, name)
    for each in actions[:number]:
        converge(each)
    faults = Faults(Rehearsal(localcloud.state))
    faults.add([dataclasses.replace(fault, method=rpc, times=1)])
    converge(actions[number])
    faults.clear()
    parent = f"projects/{project.id}/locations/us-central1"
    client = cloud.clients.get("indexes" if rpc == "CreateIndex" else "index_endpoints")
    listing = client.list_indexes if rpc == "CreateIndex" else client.list_index_endpoints
    found = list(listing(request={"parent": parent, "filter": f'display_name="{name}"'}))
    assert len(found) == 1
    if rpc == "DeployIndex":
        assert len(found[0].deployed_indexes) == 1
