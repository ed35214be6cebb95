"""The converging resource, shown on Memorystore through Google's own client."""

import dataclasses

import pytest

from lib.cloud.errors import CannotChange, NotFound
from lib.engine.changes import ChangeKind
from lib.engine.errors import CannotUndo
from lib.settings import NetworkSettings, ProjectSettings, RedisSettings
from tests.cloud.small_engine import MemoryJournal, converge

PROJECT = ProjectSettings()
NETWORK = NetworkSettings()
NAME = "projects/ai-orchestra/locations/us-central1/instances/agent-memory"


def instance(cloud, **changed):
    return cloud.redis_instance(PROJECT, NETWORK, RedisSettings(**changed))


def test_is_created_and_then_left_alone_at_the_cost_of_one_read(small_cloud, memorystore):
    change, state = converge(instance(small_cloud))
    assert change.kind is ChangeKind.CREATE
    assert {f.path: f.new for f in change.fields}["memory_size_gb"] == 5
    assert (state.host, state.port) == ("10.0.0.3", 6379)
    memorystore.calls.clear()
    change, _ = converge(instance(small_cloud))
    assert change.kind is ChangeKind.NONE
    assert memorystore.calls == ["GetInstance"]


def test_updates_only_what_differs_one_field_a_call_and_keeps_foreign_labels(
    small_cloud, memorystore
):
    converge(instance(small_cloud))
    memorystore.instances[NAME].labels["team"] = "theirs"
    memorystore.instances[NAME].labels["platform"] = "other"
    change, state = converge(instance(small_cloud, memory_gb=8))
    assert {(f.path, f.old, f.new) for f in change.fields} == {
        ("memory_size_gb", 5, 8),
        ("labels.platform", "other", "ai-orchestra"),
    }
    assert sorted(memorystore.masks) == [["labels"], ["memory_size_gb"]]
    assert state.labels["team"] == "theirs"
    assert state.memory_size_gb == 8


def test_refuses_what_never_changes_in_place_with_both_ways_out(small_cloud, memorystore, journal):
    converge(instance(small_cloud))
    action = instance(small_cloud, tier="BASIC")
    change = action.plan(action.observe())
    assert change.kind is ChangeKind.REPLACE
    with pytest.raises(CannotChange, match=r"(?s)tier.*either.*; or") as caught:
        action.apply(change, journal)
    assert "STANDARD_HA" in str(caught.value)
    assert "UpdateInstance" not in memorystore.calls


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["CreateInstance", "UpdateInstance"])
def test_an_unavailable_answer_makes_nothing_twice(small_cloud, memorystore, method, when):
    if method == "UpdateInstance":
        converge(instance(small_cloud))
    memorystore.calls.clear()
    memorystore.faults[method] = when
    _, state = converge(instance(small_cloud, memory_gb=8))
    assert state.memory_size_gb == 8
    assert memorystore.calls.count(method) == (2 if when == "before" else 1)


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_crash_while_waiting_resumes_the_same_operation(small_cloud, memorystore, journal):
    memorystore.faults["CreateInstance"] = "slow"
    action = instance(small_cloud)
    change = action.plan(action.observe())

    def kill_while_waiting():
        if journal.get("operation"):
            raise Killed

    journal.at_safe_point = kill_while_waiting
    with pytest.raises(Killed):
        action.apply(change, journal)
    name = journal.get("operation")
    assert name in memorystore.operations

    again = instance(small_cloud)
    waiting = again.plan(again.observe())
    assert (waiting.kind, waiting.fields) == (ChangeKind.UPDATE, ())
    memorystore.finish()
    memorystore.calls.clear()
    journal.at_safe_point = lambda: None
    again.apply(waiting, journal)
    assert again.verify().host == "10.0.0.3"
    assert memorystore.calls[0] == "GetOperation"
    assert "CreateInstance" not in memorystore.calls
    assert journal.entries() == {}


def test_an_operation_that_the_service_forgot_is_not_an_error(small_cloud, memorystore, journal):
    converge(instance(small_cloud))
    journal.put("operation", "projects/p/locations/l/operations/forgotten")
    action = instance(small_cloud, memory_gb=6)
    action.apply(action.plan(action.observe()), journal)
    assert action.verify().memory_size_gb == 6


def test_undo_deletes_what_was_created(small_cloud, memorystore):
    change, _ = converge(instance(small_cloud))
    instance(small_cloud).undo(change, MemoryJournal())
    assert memorystore.instances == {}


def test_undo_leaves_what_somebody_else_made(small_cloud, memorystore, journal):
    change, _ = converge(instance(small_cloud))
    del memorystore.instances[NAME].labels["created-by"]
    with pytest.raises(CannotUndo, match="did not make it"):
        instance(small_cloud).undo(change, journal)
    assert NAME in memorystore.instances


def test_undo_gives_updated_fields_their_old_values(small_cloud, memorystore, journal):
    converge(instance(small_cloud))
    del memorystore.instances[NAME].labels["platform"]
    change, _ = converge(instance(small_cloud, memory_gb=8))
    instance(small_cloud).undo(change, journal)
    assert memorystore.instances[NAME].memory_size_gb == 5
    assert dict(memorystore.instances[NAME].labels) == {"created-by": "ai-orchestra-migration"}


def test_undo_refuses_where_somebody_changed_the_value_since(small_cloud, memorystore, journal):
    converge(instance(small_cloud))
    change, _ = converge(instance(small_cloud, memory_gb=8))
    memorystore.instances[NAME].memory_size_gb = 12
    with pytest.raises(CannotUndo, match="12"):
        instance(small_cloud).undo(change, journal)


def test_a_protected_environment_undoes_nothing(small_cloud, memorystore, journal):
    change, _ = converge(instance(small_cloud))
    small_cloud.protected = True
    with pytest.raises(CannotUndo, match="protected"):
        instance(small_cloud).undo(change, journal)
    assert NAME in memorystore.instances


def test_one_aspect_of_an_instance_is_set_and_taken_back_alone(small_cloud, memorystore, journal):
    action = small_cloud.redis_auth(PROJECT, RedisSettings())
    change = action.plan(action.observe())
    assert change.kind is ChangeKind.UNKNOWN
    with pytest.raises(NotFound, match="does not exist"):
        action.apply(change, journal)
    converge(instance(small_cloud))
    change, state = converge(action)
    assert (change.kind, state.auth_enabled) == (ChangeKind.UPDATE, True)
    action.undo(change, journal)
    assert NAME in memorystore.instances
    assert not memorystore.instances[NAME].auth_enabled


def test_constructing_actions_touches_nothing(small_cloud, memorystore):
    instance(small_cloud, **dataclasses.asdict(RedisSettings()))
    assert memorystore.calls == []
