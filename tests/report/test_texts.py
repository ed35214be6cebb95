"""JUnit properties, the terminal's summary and the inventory document."""

import xml.etree.ElementTree as ET

from lib.report.junit import criterion_properties, step_properties, suite_properties
from lib.report.markdown import inventory
from lib.report.model import ConnectionRow
from lib.report.terminal import summary
from tests.report import examples


def test_the_suite_tells_outcome_facts_and_counts():
    pairs = dict(suite_properties(examples.report(criteria=examples.seven())))
    assert pairs["outcome"] == "passed"
    assert pairs["environment.project"] == "ai-orchestra-dev"
    assert pairs["steps.done"] == "18"
    assert pairs["steps.skipped-done"] == "3"
    assert (pairs["criteria.met"], pairs["criteria.measured"]) == ("7", "7")


def test_steps_tell_their_changes():
    row = next(r for r in examples.steps() if r.component == "core-infrastructure")
    pairs = step_properties(row)
    assert ("change", "update project's parent") in pairs
    assert ("unchanged", "3") in pairs


def test_criteria_tell_threshold_observed_and_margin():
    pairs = dict(criterion_properties(examples.seven()[4]))
    assert pairs["threshold"] == "30.0"
    assert pairs["passed"] == "true"
    assert float(pairs["margin"]) > 0.5
    assert pairs["p99"].endswith(" ms")
    assert pairs["beside.recall@10"] == "0.981 >= 0.950: true"
    assert dict(criterion_properties(examples.criterion()))["failure"] == "it was not measured"


def test_properties_are_names_and_single_lines():
    built = examples.hostile()
    every = suite_properties(built) + step_properties(built.steps[0])
    every += criterion_properties(built.criteria[0])
    root = ET.Element("properties")
    for name, value in every:
        assert "\n" not in value
        ET.SubElement(root, "property", name=name, value=value)
    assert len(ET.fromstring(ET.tostring(root))) == len(every)


def test_the_terminal_shows_criteria_and_the_place():
    lines = summary(examples.report(criteria=examples.seven()), "reports/migration.html")
    text = "\n".join(lines)
    assert "✓ Database" in text
    assert "p99 9.51 ms (wanted: < 30 ms); margin 68 %; recall@10 0.981 ≥ 0.950" in text
    assert lines[-1] == "report: reports/migration.html"


def test_the_terminal_shows_what_failed():
    text = "\n".join(summary(examples.failed()))
    assert "data-migration-0: The disk is full." in text
    assert "to mend it: df -h" in text
    assert "– APIs             0/3 steps    not run" in text


def test_an_empty_run_is_one_line():
    assert len(summary(examples.report([], environment={}))) == 1


def test_the_inventory_lists_things_and_commands():
    text = inventory(examples.CONNECTIONS, {"project": "ai-orchestra-dev"})
    assert "- project: ai-orchestra-dev" in text
    assert "| AlloyDB | agent-storage | READY | 127.77.13.2:5432 |" in text
    assert "```sh\nredis-cli -h 127.77.13.3\n```" in text


def test_the_inventory_survives_hostile_names():
    row = ConnectionRow("a|b", "<b>*x*\n# y", "", "`", "echo ```")
    text = inventory([row], {})
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert r"a\|b" in table[2]
    assert r"\<b\>\*x\* \# y" in table[2]
    assert "````sh\necho ```\n````" in text
    assert "Nothing exists yet." in inventory([], {})
