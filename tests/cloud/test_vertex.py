"""Vector search on Vertex AI as converging resources: named by Google, made once all the same."""

import dataclasses
import uuid

import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.errors import CannotChange
from lib.cloud.target import Target
from lib.cloud.vertex import IndexSpec, Machines
from lib.cloud.vertex_points import Datapoint
from lib.engine.changes import ChangeKind
from lib.localcloud.faults import Fault, Faults
from lib.localcloud.rehearsal import Rehearsal
from lib.settings import ProjectSettings
from tests.cloud.small_engine import MemoryJournal, converge


def _spec(name, **other):
    return IndexSpec(name, **{"dimensions": 3, "distance": "SQUARED_L2_DISTANCE", **other})


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
    index = _spec(name)
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
    points = cloud.datapoints(index.name, deployed.endpoint, deployed.id, deployed.address)
    a, b = Datapoint("a", [0, 0, 1]), Datapoint("b", [0, 0, 3], (("agent", "7"),))
    points.upsert([a, b])
    assert points.count() == 2
    assert points.find([0.0, 0.0, 0.0], 2) == [("a", 1.0), ("b", 9.0)]
    assert points.find([0.0, 0.0, 0.0], 2, restricts=(("agent", "7"),)) == [("b", 9.0)]
    assert points.find([0.0, 0.0, 0.0], 2, approximate=5, leaf_percent=100)[0] == ("a", 1.0)
    read = points.read(["a", "b", "c"])
    assert {id: list(each.vector) for id, each in read.items()} == {"a": [0, 0, 1], "b": [0, 0, 3]}
    assert read["b"].restricts == b.restricts
    points.remove(["a", "c"])
    assert list(points.read(["a", "b"])) == ["b"]


def test_replicas_change_in_place_and_back_and_machines_never_do(cloud, project, journal):
    spec, name = _spec("scaled", shard_size="SHARD_SIZE_SMALL"), "scaled"

    def deployed(*machines):
        return cloud.deployed_index(project, name, spec, name, Machines(*machines))

    for each in (cloud.vector_index(project, spec), cloud.index_endpoint(project, name)):
        converge(each)
    one, three = ("e2-standard-2", 1, 1), ("e2-standard-2", 1, 3)
    assert converge(deployed(*one))[0].kind is ChangeKind.CREATE
    assert converge(deployed(*one))[0].kind is ChangeKind.NONE
    change, state = converge(deployed(*three))
    assert (change.kind, state.machines) == (ChangeKind.UPDATE, Machines(*three))
    deployed(*three).undo(change, MemoryJournal())
    assert deployed(*one).observe().machines == Machines(*one)
    other = deployed("n1-standard-16", 1, 1)
    with pytest.raises(CannotChange, match="machine_type"):
        other.apply(other.plan(other.observe()), journal)


def test_labels_change_and_a_configuration_never_does(cloud, project, journal):
    settings = _spec("changed")
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
