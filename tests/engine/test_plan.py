"""Plans and changes as data: what is written is read, and an edited plan is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import PlanStale
from lib.engine.plan import Plan, PlannedStep, render

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
changes = st.builds(
    Change,
    kind=st.sampled_from(ChangeKind),
    subject=st.text(),
    fields=st.lists(
        st.builds(FieldChange, path=st.text(), old=json_values, new=json_values), max_size=2
    ).map(tuple),
    reason=st.text(),
    quantities=st.dictionaries(st.text(), st.integers(0), max_size=2),
    seconds=st.none() | st.floats(0, 1e6),
    irreversible=st.booleans(),
)
steps = st.builds(
    PlannedStep,
    name=st.text(min_size=1),
    phase=st.text(),
    state=st.sampled_from(["", "done"]),
    changes=st.lists(changes, max_size=3).map(tuple),
)
plans = st.builds(
    Plan,
    environment=st.text(),
    steps=st.lists(steps, max_size=3, unique_by=lambda step: step.name).map(tuple),
    settings=st.text(),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plan") / "plan.json"


@given(changes)
def test_a_change_survives_json(change):
    assert Change.from_json(json.loads(json.dumps(change.to_json()))) == change
    assert change.subject in change.describe()


@given(plans)
def test_a_plan_survives_its_file(file, plan):
    file.write_text(plan.to_json(), encoding="utf-8")
    loaded = Plan.load(file)
    assert loaded.id == plan.id
    assert loaded.differences(plan) == []
    assert render(loaded)[-1].startswith("Plan: ")


@given(plans.filter(lambda plan: plan.steps), st.data())
def test_an_edited_plan_is_refused(file, plan, data):
    document = json.loads(plan.to_json())
    place = data.draw(st.sampled_from(["id", "environment", "settings", "version", "steps"]))
    if place == "steps":
        key = data.draw(st.sampled_from(["name", "phase", "state"]))
        document["steps"][0][key] += "!"
    else:
        document[place] = f"{document[place]}!"
    file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(PlanStale):
        Plan.load(file)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": 3}', "null", "\udcff"])
def test_what_is_no_plan_is_refused(file, content):
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(PlanStale, match="is not a plan file"):
        Plan.load(file)


def test_a_plan_tells_what_is_no_longer_so():
    def plan(size: int, settings: str = "s") -> Plan:
        change = Change(ChangeKind.CREATE, "disk", quantities={"gb": size})
        return Plan("test", (PlannedStep("a", "first", "", (change,)),), settings)

    assert plan(1).differences(plan(1)) == []
    assert plan(1).differences(plan(2, "t")) == [
        "the settings have changed",
        "a: create disk (1 gb) -> create disk (2 gb)",
    ]
    assert plan(1).differences(Plan("test", (), "s")) == ["a: gone"]
