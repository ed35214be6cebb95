"""The project on the embedded cloud: made, moved, labelled, taken back."""

import dataclasses
import uuid

import pytest
from google.api_core.exceptions import PermissionDenied
from google.rpc.error_details_pb2 import ErrorInfo

from lib.cloud.cloud import Cloud
from lib.cloud.errors import ApiNotEnabled, RegionNotOffered
from lib.cloud.permissions import required_permissions
from lib.cloud.target import Target
from lib.engine.changes import ChangeKind
from lib.settings import ProjectSettings
from tests.cloud.small_engine import converge


@pytest.fixture
def project():
    return ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def cloud(localcloud, project):
    target = Target.embedded(
        localcloud.endpoint, localcloud.ca, localcloud.token, project=project.id
    )
    cloud = Cloud(target)
    yield cloud
    cloud.close()


def test_is_made_under_its_organization_and_then_left_alone(cloud, project):
    change, state = converge(cloud.project(project))
    assert change.kind is ChangeKind.CREATE
    assert state.parent == "organizations/873291114285"
    assert converge(cloud.project(project))[0].kind is ChangeKind.NONE


def test_labels_change_in_place(cloud, project):
    converge(cloud.project(project))
    changed = ProjectSettings(id=project.id, labels={"platform": "new"})
    change, state = converge(cloud.project(changed))
    assert [each.path for each in change.fields] == ["labels.platform"]
    assert not change.irreversible
    assert state.labels["platform"] == "new"


def test_undo_deletes_the_project_that_was_made(cloud, project, journal):
    change, _ = converge(cloud.project(project))
    cloud.project(project).undo(change, journal)
    found = cloud.clients.get("projects").get_project(name=f"projects/{project.id}")
    assert found.state.name == "DELETE_REQUESTED"


def test_a_project_that_was_marked_for_deletion_is_restored(cloud, project, journal):
    change, _ = converge(cloud.project(project))
    cloud.project(project).undo(change, journal)
    change, state = converge(cloud.project(project))
    assert change.kind is ChangeKind.CREATE
    assert change.reason == "it was marked for deletion and is restored"
    assert state.state.name == "ACTIVE"


def test_undo_of_enabled_apis_waits_for_an_enabling_that_was_cut_off(cloud, project, journal):
    converge(cloud.project(project))
    action = cloud.services(project)
    change = action.plan(action.observe())
    journal.at_safe_point = lambda: 1 / ("operation" not in journal.values)
    with pytest.raises(ZeroDivisionError):
        action.apply(change, journal)
    journal.at_safe_point = lambda: None
    action.undo(change, journal)
    assert not any(action.observe().enabled.values())


def test_roles_are_granted_once_and_taken_back_alone(cloud, project, journal):
    converge(cloud.project(project))
    theirs = cloud.project_roles("user:bob@example.com", ["roles/viewer"])
    converge(theirs)
    ours = cloud.project_roles("user:ada@example.com", ["roles/viewer", "roles/redis.viewer"])
    change, _ = converge(ours)
    assert converge(ours)[0].kind is ChangeKind.NONE
    ours.undo(change, journal)
    assert ours.observe().roles == ()
    assert theirs.observe().roles == ("roles/viewer",)


def test_missing_permissions_say_what_is_unknown(cloud, project):
    before = cloud.missing_permissions(project, required_permissions())
    assert before == ()
    assert "does not exist yet" in before.unknown
    converge(cloud.project(project))
    assert cloud.missing_permissions(project, ["resourcemanager.projects.get"]) == ()


@pytest.mark.parametrize("service", ["alloydb", "redis", "indexes"])
def test_a_region_without_the_product_is_refused_with_those_that_have_it(cloud, project, service):
    for each in (cloud.project(project), cloud.services(project)):
        converge(each)
    cloud.require_region(project, "it", service)
    elsewhere = dataclasses.replace(project, region="us-east9")
    with pytest.raises(RegionNotOffered, match="it: the region us-east9") as caught:
        cloud.require_region(elsewhere, "it", service)
    assert "europe-west1, " in caught.value.expected


def test_an_api_that_is_being_enabled_is_waited_for(cloud, project, monkeypatch):
    """The embedded cloud can't tell whose locations are asked for, so a client refuses here."""
    converge(cloud.project(project))
    client, calls = cloud.clients.get("alloydb"), []

    def list_locations(**values):
        calls.append(values)
        if len(calls) < 3:
            disabled = ErrorInfo(reason="SERVICE_DISABLED", metadata={"service": "alloydb"})
            raise PermissionDenied("no", details=[disabled])
        return asked(**values)

    asked = client.list_locations
    monkeypatch.setattr(client, "list_locations", list_locations)
    cloud.require_region(project, "it", "alloydb")
    assert len(calls) == 3
    calls.clear()
    hurried = dataclasses.replace(cloud.clients.target.polling, patience=-1)
    target = dataclasses.replace(cloud.clients.target, polling=hurried)
    monkeypatch.setattr(cloud.clients, "target", target)
    with pytest.raises(ApiNotEnabled, match="alloydb"):
        cloud.require_region(project, "it", "alloydb")
