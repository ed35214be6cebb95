"""What a report concludes: verdicts, margins, outcomes, and rows that travel as JSON."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.engine.run import Standing
from lib.engine.run import StepState as EngineState
from lib.report.build import StepDeclaration
from lib.report.model import Beside, CriterionRow, Outcome, StepRow, StepState, Urgency
from lib.report.quantiles import distribution, percentile
from lib.report.words import duration, number
from tests.report import examples

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


def test_a_criterion_without_samples_fails_and_says_why():
    row = examples.criterion((), observed=1.0)
    assert not row.passed
    assert row.failure == "0 of 1 samples"
    assert examples.criterion().failure == "it was not measured"
    assert examples.criterion(reason="benchmarks are disabled").failure == "benchmarks are disabled"


@pytest.mark.parametrize(
    "observed,passed",
    [(29.9, True), (30.0, False), (math.nan, False), ("29", False), (None, False)],
)
def test_the_threshold_itself_is_a_breach(observed, passed):
    assert examples.criterion((1.0,), observed=observed).passed is passed


def test_fast_and_wrong_fails():
    wrong = (Beside("recall@10", 0.94, ">=", 0.95),)
    row = examples.criterion((1.0,), beside=wrong)
    assert not row.passed
    assert "recall@10" in row.failure
    assert not replace(row, beside=(Beside("recall@10", None, ">=", 0.95),)).passed


def test_margins_are_what_is_left_of_the_threshold():
    assert examples.criterion((1.0,), observed=24.0).margin == pytest.approx(0.2)
    assert examples.criterion((1.0,), observed=36.0).margin == pytest.approx(-0.2)
    row = examples.criterion((1.0,), comparison=">=", threshold=0.5, observed=0.6)
    assert row.margin == pytest.approx(0.2)
    assert examples.criterion().margin is None


@given(st.lists(finite, min_size=1, max_size=400), st.floats(0, 100))
def test_a_percentile_is_a_sample_with_enough_below_it(samples, percent):
    value = percentile(samples, percent)
    assert value in samples
    assert sum(each <= value for each in samples) >= percent / 100 * len(samples) - 1e-6


@given(st.lists(finite, min_size=1, max_size=1500))
def test_a_distribution_keeps_ends_and_order(samples):
    points = distribution(samples)
    assert len(points) <= 241
    assert points[-1] == (max(samples), 1.0)
    assert points[0][0] == min(samples)
    assert points == sorted(points)


def test_percentiles_refuse_what_is_none():
    with pytest.raises(ValueError, match="samples"):
        percentile([], 50)
    with pytest.raises(ValueError, match="percentage"):
        percentile([1.0], 101)


@given(
    st.text(),
    st.one_of(st.none(), finite, st.text()),
    st.lists(finite),
    st.one_of(st.none(), finite),
)
def test_criteria_travel_as_json(text, observed, samples, beside):
    row = CriterionRow(
        5,
        text,
        "p99",
        30.0,
        text,
        "<",
        observed,
        tuple(samples),
        (Beside(text, beside, ">=", 0.95),),
        text,
        "ms",
        200,
    )
    assert CriterionRow.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_steps_travel_as_json():
    for row in examples.steps():
        assert StepRow.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_outcomes_are_told_in_words():
    assert examples.report(criteria=examples.seven()).headline == (
        "21 of 21 steps done, all 7 criteria met."
    )
    assert examples.report().headline == "21 of 21 steps done, criteria not measured in this run."
    breached = examples.report(criteria=(examples.criterion((31.0,), observed=31.0),))
    assert breached.outcome is Outcome.BREACHED
    assert breached.headline == "Criterion 5 of 1 not met; 21 of 21 steps done."
    assert examples.failed().outcome is Outcome.FAILED
    assert examples.failed().headline == "1 step failed; 12 steps did not run."
    assert examples.report([]).outcome is Outcome.EMPTY


@pytest.mark.parametrize(
    "state,outcome",
    [
        (StepState.INTERRUPTED, Outcome.INTERRUPTED),
        (StepState.PLANNED, Outcome.PLANNED),
        (StepState.NOT_RUN, Outcome.INCOMPLETE),
        (StepState.ROLLED_BACK, Outcome.ROLLED_BACK),
    ],
)
def test_one_open_step_decides_the_outcome(state, outcome):
    rows = examples.steps()
    rows[-1] = replace(rows[-1], state=state)
    assert examples.report(rows).outcome is outcome


@pytest.mark.parametrize("state", list(EngineState))
def test_every_standing_of_the_engine_is_told(state):
    declared = [StepDeclaration("a", "A is so.", "database", "data-migration")]
    built = examples.report([], declared=declared, standings={"a": Standing(state, "why", None)})
    assert built.steps[0].reason == "why"
    assert built.outcome is not Outcome.EMPTY


def test_earlier_steps_come_from_their_checkpoints():
    row = next(r for r in examples.report().steps if r.phase == "initialization")
    assert row.state is StepState.SKIPPED_DONE
    assert row.run == 6
    assert row.seconds > 0


def titles(report) -> list[str]:
    return [each.title for each in report.recommendations]


def test_recommendations_rest_on_figures():
    close = examples.criterion(
        (27.0,), observed=27.0, beside=(Beside("recall@10", 0.953, ">=", 0.95),)
    )
    seen = {
        "keys": 100,
        "keys_without_ttl": 80,
        "tables_without_statistics": ["a", "b"],
        "source_rows_behind": 12,
    }
    built = examples.report(criteria=(close,), observations=seen)
    told = {each.title: each for each in built.recommendations}
    assert (
        "leaves 10 %" in told["Criterion 5 is met with little room: vector search latency"].reason
    )
    assert "0.953 against 0.950" in told["Recall@10 is just above its target"].reason
    assert "80 of 100" in told["Give short-term memory a time to live"].reason
    assert "2 tables" in told["Run ANALYZE on the target"].reason
    assert "12 more rows" in told["Copy again before the cutover"].reason
    assert "3 retries in 1 step" in told["Find out why calls had to be repeated"].reason
    adopted = told["Some things existed before and were adopted as they are"].reason
    assert adopted.startswith("1 thing (project ai-orchestra-dev)")
    assert "41.3 s" in told["data-migration-0 decides how long the migration takes"].reason
    assert all(any(c.isdigit() for c in r.reason) or "embedded" in r.reason for r in told.values())
    urgencies = [list(Urgency).index(each.urgency) for each in built.recommendations]
    assert urgencies == sorted(urgencies)


def test_no_figures_no_recommendations():
    assert titles(examples.report([], environment={})) == []
    assert not any(
        "Protect" in t for t in titles(examples.report(environment={"protected": "yes"}))
    )


def test_heavy_tails_are_noticed():
    row = examples.criterion((*[1.0] * 97, 9.0, 9.0, 9.0), observed=9.0)
    assert "Look at the slowest samples of criterion 5" in titles(examples.report([], (row,)))


@pytest.mark.parametrize(
    "seconds,text",
    [
        (0.34, "340 ms"),
        (12.44, "12.4 s"),
        (59.97, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7620, "2 h 07 min"),
        (-1, "0 ms"),
        (math.nan, "unknown"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "value,text",
    [
        (0, "0"),
        (30.0, "30"),
        (9.514, "9.51"),
        (0.981, "0.981"),
        (1234.5, "1,234"),
        (math.nan, "not a number"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text
