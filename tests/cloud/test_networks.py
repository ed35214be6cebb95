"""The network on the embedded cloud, by REST: made whole, taken as it is, refused, taken back."""

import dataclasses
import uuid

import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.errors import ApiNotEnabled, CannotChange, CredentialsRefused, Unavailable
from lib.cloud.target import Target
from lib.engine.changes import ChangeKind
from lib.engine.errors import CannotUndo
from lib.settings import NetworkSettings, ProjectSettings
from tests.cloud.small_engine import MemoryJournal, converge

OWN = NetworkSettings(name="orchestra", subnetwork="orchestra-central")


@pytest.fixture(scope="module")
def project(localcloud):
    project = ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}")
    cloud = _cloud(localcloud, project)
    for action in (cloud.project(project), cloud.services(project)):
        converge(action)
    cloud.close()
    return project


def _cloud(localcloud, project, **changed):
    target = Target.embedded(
        localcloud.endpoint, localcloud.ca, localcloud.token, project=project.id
    )
    return Cloud(dataclasses.replace(target, **changed))


@pytest.fixture
def cloud(localcloud, project):
    cloud = _cloud(localcloud, project)
    yield cloud
    cloud.close()


def parts(cloud, project, network):
    return (
        cloud.network(project, network),
        cloud.subnetwork(project, network),
        cloud.services_range(project, network),
        cloud.private_connection(project, network),
    )


def test_a_whole_network_is_made_once(cloud, project):
    kinds = [converge(each)[0].kind for each in parts(cloud, project, OWN)]
    assert kinds == [ChangeKind.CREATE] * 4
    states = [converge(each) for each in parts(cloud, project, OWN)]
    assert [change.kind for change, _ in states] == [ChangeKind.NONE] * 4
    assert states[1][1].values["ipCidrRange"] == OWN.subnetwork_range
    assert states[2][1].values["prefixLength"] == OWN.services_prefix
    assert states[3][1].values["reservedPeeringRanges"] == [OWN.services_range]


def test_the_default_network_is_taken_as_it_is(cloud, project):
    changes = [converge(each)[0].kind for each in parts(cloud, project, NetworkSettings())[:2]]
    assert changes == [ChangeKind.NONE, ChangeKind.NONE]


def test_a_second_range_joins_the_connection(cloud, project):
    network = NetworkSettings(name="two", subnetwork="two", services_range="first")
    for each in parts(cloud, project, network):
        converge(each)
    more = dataclasses.replace(network, services_range="second", services_prefix=20)
    _, _, own_range, connection = parts(cloud, project, more)
    converge(own_range)
    change, state = converge(connection)
    assert change.kind is ChangeKind.UPDATE
    assert state.values["reservedPeeringRanges"] == ["first", "second"]


def test_a_range_of_another_network_is_refused(cloud, project, journal):
    for each in parts(cloud, project, OWN)[:3]:
        converge(each)
    other = dataclasses.replace(OWN, name="another")
    converge(cloud.network(project, other))
    action = cloud.services_range(project, other)
    change = action.plan(action.observe())
    assert change.kind is ChangeKind.REPLACE
    with pytest.raises(CannotChange, match="network"):
        action.apply(change, journal)


def test_overlapping_subnetworks_are_refused_by_the_server(cloud, project):
    from lib.cloud.errors import InvalidRequest

    converge(cloud.network(project, OWN))
    converge(cloud.subnetwork(project, OWN))
    with pytest.raises(InvalidRequest, match="overlaps"):
        converge(cloud.subnetwork(project, dataclasses.replace(OWN, subnetwork="twice")))


def test_undo_deletes_what_was_made_and_nothing_else(cloud, project, journal):
    network = NetworkSettings(name="gone", subnetwork="gone")
    made = [(each, converge(each)[0]) for each in parts(cloud, project, network)[:2]]
    for action, change in reversed(made):
        action.undo(change, MemoryJournal())
    assert [action.observe() for action, _ in made] == [None, None]
    default = cloud.network(project, NetworkSettings())
    with pytest.raises(CannotUndo):
        default.undo(dataclasses.replace(made[0][1]), journal)


def test_undo_waits_for_a_creation_that_was_cut_off(cloud, project, journal):
    action = cloud.network(project, NetworkSettings(name="cut-off", subnetwork="cut-off"))
    change = action.plan(None)
    journal.at_safe_point = lambda: 1 / ("operation" not in journal.values)
    with pytest.raises(ZeroDivisionError):
        action.apply(change, journal)
    journal.at_safe_point = lambda: None
    action.undo(change, journal)
    assert action.observe() is None
    assert journal.values == {}


def test_a_connection_that_was_made_is_deleted_again(cloud, project):
    network = NetworkSettings(name="brief", subnetwork="brief", services_range="brief-services")
    made = [(each, converge(each)[0]) for each in parts(cloud, project, network)]
    for action, change in reversed(made):
        action.undo(change, MemoryJournal())
    assert [action.observe() for action, _ in made] == [None] * 4


def test_a_connection_that_was_there_gets_its_own_ranges_back(cloud, project):
    first = NetworkSettings(name="shared", subnetwork="shared", services_range="theirs")
    for each in parts(cloud, project, first):
        converge(each)
    second = dataclasses.replace(first, services_range="ours")
    converge(cloud.services_range(project, second))
    connection = cloud.private_connection(project, second)
    change, state = converge(connection)
    assert state.values["reservedPeeringRanges"] == ["theirs", "ours"]
    connection.undo(change, MemoryJournal())
    assert connection.observe().values["reservedPeeringRanges"] == ["theirs"]


def test_errors_are_told_as_of_grpc(localcloud, project):
    bare = ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}")
    cloud = _cloud(localcloud, bare)
    converge(cloud.project(bare))
    with pytest.raises(ApiNotEnabled, match=r"compute\.googleapis\.com"):
        cloud.network(bare, OWN).observe()
    cloud.close()
    stranger = _cloud(localcloud, project, token="nobody")
    with pytest.raises(CredentialsRefused):
        stranger.network(project, OWN).observe()
    nowhere = _cloud(localcloud, project, rest="127.0.0.1:1")
    short = dataclasses.replace(nowhere.target.polling, patience=0.1)
    nowhere = _cloud(localcloud, project, rest="127.0.0.1:1", polling=short)
    with pytest.raises(Unavailable):
        nowhere.network(project, OWN).observe()


@pytest.mark.parametrize("name, value", [("subnetwork_range", "8.8.8.0/24"),
                                         ("subnetwork_range", "nonsense"),
                                         ("services_prefix", 30)])  # fmt: skip
def test_ranges_that_google_refuses_are_refused_first(name, value):
    from lib.cloud import limits
    from lib.errors import SettingsError
    from lib.settings import Settings

    network = dataclasses.replace(NetworkSettings(), **{name: value})
    with pytest.raises(SettingsError, match=name):
        limits.check(dataclasses.replace(Settings(), network=network))
