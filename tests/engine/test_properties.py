"""What holds for every graph, whatever fails, whatever is selected and however many work."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.engine.graph import StepGraph
from lib.plugin.parallel import GraphScheduling
from lib.report.model import StepState
from tests.engine.test_graph import graphs

Steps = Mapping[str, tuple[str, ...]]


# -- runs one after the other ----------------------------------------------------------------------

CONFTEST = """
    pytest_plugins = ["lib.plugin.plugin"]

    def pytest_migration_settings(config, environment):
        return None
"""
PHASE = """
    import json
    from pathlib import Path
    import pytest
    from lib.engine.changes import Change, ChangeKind
    from lib.errors import MigrationError

    class Line:
        def __init__(self, name):
            self.path, self.subject = Path("world") / name, f"line {name}"
        def observe(self):
            return self.path.exists() or None
        def plan(self, observed):
            return Change(ChangeKind.NONE if observed else ChangeKind.CREATE, self.subject)
        def apply(self, change, journal):
            told("applied", self.path.name)
            self.path.touch()
        def verify(self):
            assert self.path.exists()
            return True

    def told(what, name):
        with open("told.txt", "a") as log:
            log.write(f"{what} {name}\\n")

    def step_of(name, depends):
        @pytest.mark.component(name)
        @pytest.mark.dependency(name=name, depends=depends, scope="session")
        def test(step):
            told("began", name)
            for each in depends:
                assert step.output(each, "name") == each
            fails = json.loads(Path("failing.json").read_text()).get(name)
            if fails == "before":
                raise MigrationError("It was told to fail before its change.")
            step.make(Line(name))
            if fails == "after":
                raise ValueError("told to fail after its change")
            step.publish(name=name)
            told("ended", name)
        return test

    for name, depends in json.loads(Path("graph.json").read_text()).items():
        globals()[f"test_{name}"] = step_of(name, depends)
"""


class Migration:
    """A migration of any graph, run by pytest in this process."""

    def __init__(self, pytester: pytest.Pytester, steps: Steps) -> None:
        self._pytester = pytester
        self.folder = pytester.path
        for path in sorted(self.folder.glob(".migration/*")):
            path.unlink()
        for path in (self.folder / "world").iterdir():
            path.unlink()
        self.told: list[str] = []
        (self.folder / "graph.json").write_text(json.dumps(steps))

    def run(self, chosen: set[str] = frozenset(), failing: Mapping[str, str] = {}) -> list[str]:
        """What happened in a run of these steps (of all, where there are none)."""
        log = self.folder / "told.txt"
        log.write_text("")
        (self.folder / "failing.json").write_text(json.dumps(failing))
        components = [f"--component={each}" for each in sorted(chosen)]
        self._pytester.inline_run("phases", "-p", "no:terminal", *components)
        new = log.read_text().splitlines()
        self.told += new
        return new


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder that holds a migration whose graph is read from a file."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2])
    pytester.makeconftest(textwrap.dedent(CONFTEST))
    plugins = "-p pytest_dependency -p pytest_benchmark.plugin -p xdist.plugin"
    pytester.makeini(f"[pytest]\naddopts = {plugins} -p no:cacheprovider\n")
    (pytester.mkdir("phases") / "test_1_any.py").write_text(textwrap.dedent(PHASE))
    pytester.mkdir("world")
    return pytester


def names(told: list[str], what: str) -> list[str]:
    return [line.split()[1] for line in told if line.startswith(f"{what} ")]


def runnable(graph: StepGraph, chosen: set[str], done: set[str], failing: Mapping[str, str]) -> Any:
    """The steps that a run has to begin, and those it has to end, in any order."""
    began, ended = set(), set()
    for name in graph.order:
        wanted = name in graph.closure(chosen) and name not in done
        if wanted and all(each in done | ended for each in graph.prerequisites[name]):
            began.add(name)
            if name not in failing:
                ended.add(name)
    return began, ended


@settings(max_examples=12)
@given(graphs(), st.data())
def test_runs_do_what_can_be_done_once_and_in_order_until_all_is_done(folder, steps, data):
    graph, migration = StepGraph(steps.items()), Migration(folder, steps)
    some, failures = st.sampled_from(sorted(steps)), st.sampled_from(["before", "after"])
    done: set[str] = set()
    for _ in range(data.draw(st.integers(0, 2), label="runs that fail")):
        chosen = data.draw(st.sets(some, min_size=1), label="chosen")
        failing = data.draw(st.dictionaries(some, failures, max_size=3), label="failing")
        told = migration.run(chosen, failing)
        began, ended = runnable(graph, chosen, done, failing)
        assert sorted(names(told, "began")) == sorted(began)
        assert sorted(names(told, "ended")) == sorted(ended)
        done |= ended
    assert sorted(names(migration.run(), "ended")) == sorted(set(steps) - done)
    assert migration.run() == []
    ended, applied = names(migration.told, "ended"), names(migration.told, "applied")
    assert sorted(ended) == sorted(applied) == sorted(steps), "each once, over all runs"
    for name in steps:
        assert all(ended.index(each) < ended.index(name) for each in steps[name])


# -- steps at once ---------------------------------------------------------------------------------


@dataclass(eq=False)
class Worker:
    """Stands where an xdist worker stands; keeps what it was sent."""

    sent: list[dict[str, Any]] = field(default_factory=list)

    def send_runtest_some(self, messages: list[dict[str, Any]]) -> None:
        self.sent += messages


class Workshop:
    """A scheduler over a graph, and the workers that its steps are sent to."""

    def __init__(self, steps: Steps, selected: set[str], weights: Mapping[str, float] = {}) -> None:
        graph = StepGraph(steps.items())
        run = SimpleNamespace(number=7, token=3, interrupted=False, earlier_seconds=lambda: weights)
        self.migration: Any = SimpleNamespace(
            graph=graph,
            selected={name: True for name in graph.order if name in selected},
            run=run,
            rows={},
            declared={name: self._declared(name) for name in graph.order},
            succeeded_before=lambda: [each for each in steps if each not in selected],
        )
        self.names, self.chains = list(graph.order), graph.chains(weights)
        self.scheduling = GraphScheduling(SimpleNamespace(), self.migration)  # type: ignore[arg-type]
        self.at_work: dict[Worker, str] = {}
        self.idle: list[Worker] = []
        self.sent: list[str] = []
        self.settled: set[str] = set()
        self.succeeded = set(self.migration.succeeded_before())

    def _declared(self, name: str) -> Any:
        item = SimpleNamespace(nodeid=f"phases/test_1.py::test_{name}")
        return SimpleNamespace(item=item, title=name, phase="any", component="any")

    def hire(self) -> None:
        """A worker comes, collects, and is sent something where there is anything."""
        worker = Worker()
        self.scheduling.add_node(worker)
        nodeids = [self.migration.declared[name].item.nodeid for name in self.names]
        self.scheduling.add_node_collection(worker, nodeids)
        self.idle.append(worker)
        assert self.scheduling.collection_is_completed
        self.scheduling.schedule()
        self.see()

    def see(self) -> None:
        """Take over what was sent, and hold it against the rules."""
        before = len(self.sent)
        for worker in list(self.idle):
            if not worker.sent:
                continue
            (message,) = worker.sent
            name = self.names[message["place"]]
            needed = self.migration.graph.prerequisites[name]
            assert (message["run"], message["token"]) == (7, 3)
            selected = self.migration.selected
            assert all(each in self.settled or each not in selected for each in needed), "order"
            assert message["succeeded"] == [each for each in needed if each in self.succeeded]
            self.sent.append(name)
            self.at_work[worker] = name
            self.idle.remove(worker)
        waiting = self.waiting()
        assert not (self.idle and waiting), "nobody idles while a step may run"
        for name in self.sent[before:]:
            assert all(self.chains[name] >= self.chains[each] for each in waiting), "heaviest first"
        assert self.scheduling.has_pending == bool(self.at_work)

    def waiting(self) -> list[str]:
        """The steps that may run and were not sent."""
        return [
            name
            for name in self.migration.selected
            if name not in self.sent
            and not self.migration.run.interrupted
            and all(
                each in self.settled or each not in self.migration.selected
                for each in self.migration.graph.prerequisites[name]
            )
        ]

    def end(self, worker: Worker, failing: set[str] = frozenset()) -> None:
        """A worker's step ends as a worker would end it, and it is free again."""
        name = self.at_work.pop(worker)
        needed = self.migration.graph.prerequisites[name]
        if all(each in worker.sent[0]["succeeded"] for each in needed):
            state = StepState.FAILED if name in failing else StepState.DONE
            self.migration.rows[name] = SimpleNamespace(state=state)
            if state is StepState.DONE:
                self.succeeded.add(name)
        worker.sent.clear()
        self.idle.append(worker)
        self.settled.add(name)
        self.scheduling.mark_test_complete(worker, 0)
        self.see()

    def die(self, worker: Worker) -> None:
        """A worker is gone, and another one comes in its place."""
        name = self.at_work.pop(worker, None)
        if name is None:
            self.idle.remove(worker)
        else:
            self.settled.add(name)
        lost = self.scheduling.remove_node(worker)
        assert lost == (name and self.migration.declared[name].item.nodeid)
        self.see()
        self.hire()


@given(graphs(), st.data())
def test_each_step_is_sent_once_when_it_may_run_whoever_dies(steps, data):
    some = st.sampled_from(sorted(steps))
    selected = data.draw(st.sets(some, min_size=1), label="selected")
    failing = data.draw(st.sets(some, max_size=3), label="failing")
    shop = Workshop(steps, selected)
    for _ in range(data.draw(st.integers(1, 5), label="workers")):
        shop.hire()
    deaths = data.draw(st.integers(0, 4), label="deaths")
    while not shop.scheduling.tests_finished:
        if deaths and data.draw(st.booleans(), label="death"):
            deaths -= 1
            shop.die(data.draw(st.sampled_from([*shop.at_work, *shop.idle])))
        else:
            assert shop.at_work, "something is left, and nobody was sent it"
            shop.end(data.draw(st.sampled_from(list(shop.at_work))), failing)
    assert sorted(shop.sent) == sorted(selected) == sorted(shop.settled)
    blocked = StepGraph(steps.items()).closure
    for name in selected - shop.succeeded:
        row = shop.migration.rows.get(name)
        failed_itself = row is not None and row.state is StepState.FAILED
        assert failed_itself or not blocked(steps[name]) <= shop.succeeded


@given(graphs(), st.data())
def test_an_interrupted_run_sends_nothing_more_and_ends_with_what_is_at_work(steps, data):
    shop = Workshop(steps, set(steps))
    for _ in range(data.draw(st.integers(1, 3), label="workers")):
        shop.hire()
    for _ in range(data.draw(st.integers(0, len(steps) - 1), label="steps before")):
        if shop.at_work:
            shop.end(data.draw(st.sampled_from(list(shop.at_work))))
    shop.migration.run.interrupted = True
    sent = list(shop.sent)
    while shop.at_work:
        assert not shop.scheduling.tests_finished
        shop.end(next(iter(shop.at_work)))
    assert shop.sent == sent
    assert shop.scheduling.tests_finished


weights_of = st.fractions(min_value=0, max_value=9, max_denominator=4).map(float)


@given(graphs(), st.data())
def test_a_chain_is_the_heaviest_way_that_begins_with_a_step(steps, data):
    graph = StepGraph(steps.items())
    weights = data.draw(st.dictionaries(st.sampled_from(sorted(steps)), weights_of))
    dependents = graph.dependents()

    def ways(name: str) -> list[float]:
        after = [way for each in dependents[name] for way in ways(each)] or [0.0]
        return [weights.get(name, 1.0) + way for way in after]

    assert graph.chains(weights) == {name: pytest.approx(max(ways(name))) for name in steps}


@settings(max_examples=40)
@given(graphs(), st.integers(1, 4), st.data())
def test_no_run_takes_longer_than_a_list_schedule_may(steps, workers, data):
    """Graham's bound: the work divided, and what of the longest chain can't be."""
    seconds = {name: data.draw(weights_of, label=name) for name in steps}
    shop = Workshop(steps, set(steps), seconds)
    for _ in range(workers):
        shop.hire()
    now, ends = 0.0, {}
    while not shop.scheduling.tests_finished:
        for worker, name in shop.at_work.items():
            ends.setdefault(worker, now + seconds[name])
        worker = min(shop.at_work, key=lambda each: ends[each])
        now = ends.pop(worker)
        shop.end(worker)
    longest = max(shop.migration.graph.chains(seconds).values())
    assert now <= sum(seconds.values()) / workers + longest * (1 - 1 / workers) + 1e-9
