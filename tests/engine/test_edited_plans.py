"""A plan file that was edited anywhere, in any way, is refused as such."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import PlanStale
from lib.engine.plan import Plan, PlannedStep

CHANGE = Change(
    ChangeKind.UPDATE, "disk", (FieldChange("gb", 1, [2]),), "it grew", {"rows": 3}, None, True
)
PLAN = Plan("test", (PlannedStep("a", "first", "", (CHANGE,)),), "settings")

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys or indexes."""
    if not isinstance(document, dict | list):
        return []
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    return [(document, key) for key in keys] + [
        place for key in keys for place in places(document[key])
    ]


@given(st.data())
def test_an_edit_anywhere_is_refused(tmp_path_factory, data):
    document = json.loads(PLAN.to_json())
    before = json.dumps(document, sort_keys=True)
    container, key = data.draw(st.sampled_from(places(document)), label="place")
    how = data.draw(st.sampled_from(["replace", "remove", "add"]), label="how")
    if how == "remove":
        del container[key]
    elif how == "replace" or isinstance(container, list):
        container[key] = data.draw(anything, label="value")
    else:
        container["more"] = data.draw(anything, label="value")
    file = tmp_path_factory.mktemp("plan") / "plan.json"
    file.write_text(json.dumps(document))
    if json.dumps(document, sort_keys=True) == before:
        assert Plan.load(file).id == PLAN.id
    else:
        with pytest.raises(PlanStale):
            Plan.load(file)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "[1, 2", "\0", "NaN"])
def test_what_no_plan_could_ever_be_is_refused(tmp_path, content):
    file = tmp_path / "plan.json"
    file.write_text(content)
    with pytest.raises(PlanStale, match="is not a plan file"):
        Plan.load(file)
    with pytest.raises(PlanStale, match="is not a plan file"):
        Plan.load(tmp_path)
