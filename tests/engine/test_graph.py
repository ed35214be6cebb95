"""The graph of steps: ordered so that prerequisites come first, refused where it is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.engine.errors import GraphError
from lib.engine.graph import StepGraph
from lib.plugin.selection import with_prerequisites


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Acyclic graphs: a step may need any of those that were drawn before it, written anyhow."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 12)))]
    steps = {
        name: tuple(draw(st.lists(st.sampled_from(names[:position]), unique=True, max_size=4)))
        if position
        else ()
        for position, name in enumerate(names)
    }
    return {name: steps[name] for name in draw(st.permutations(names))}


@given(graphs())
def test_every_step_comes_once_and_after_what_it_needs(steps):
    order = StepGraph(steps.items()).order
    assert sorted(order) == sorted(steps)
    for name in steps:
        assert all(order.index(each) < order.index(name) for each in steps[name])


@given(graphs(), st.data())
def test_a_selection_brings_exactly_what_is_unfinished(steps, data):
    graph = StepGraph(steps.items())
    chosen = data.draw(st.sets(st.sampled_from(sorted(steps)), min_size=1))
    done = data.draw(st.sets(st.sampled_from(sorted(steps))))
    found = with_prerequisites(chosen, graph, done.__contains__)
    assert {name for name, was_chosen in found.items() if was_chosen} == chosen
    assert set(found) >= {name for name in graph.closure(chosen) if name not in done}
    assert set(found) <= graph.closure(chosen)
    assert list(found) == [name for name in graph.order if name in found]


def test_a_well_written_order_is_kept():
    graph = StepGraph([("a", ()), ("c", ("a",)), ("b", ("a",))])
    assert graph.order == ("a", "c", "b")
    assert graph.dependents() == {"a": ("c", "b"), "b": (), "c": ()}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([("a", ("b",)), ("b", ("c",)), ("c", ("a",))], "a -> b -> c -> a"),
        ([("a", ("a",))], "a -> a"),
        ([("project", ()), ("redis", ("projct",))], "did you mean 'project'?"),
        ([("a", ()), ("a", ())], "Two steps are named 'a'"),
    ],
)
def test_what_is_no_graph_is_refused_with_the_place(steps, told):
    with pytest.raises(GraphError) as raised:
        StepGraph(steps)
    assert told in str(raised.value)
