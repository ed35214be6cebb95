"""A saved plan: applied as it is, or refused with what has changed since."""

import json
import re

import pytest

from tests.plugin.conftest import Migrate, applied, text_of


@pytest.fixture
def plan(migration, run: Migrate) -> str:
    """A plan of everything, in a file."""
    assert run("phases", "--plan-out", "plan.json").ret == 0
    assert applied(migration) == []
    return "plan.json"


def test_a_plan_is_applied_whole_whatever_was_selected(migration, run: Migrate, plan):
    result = run("phases/test_1_first.py", "--plan", plan)
    assert result.ret == 0
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "b.txt", "c.txt", "d.txt"]


def test_a_plan_of_some_steps_applies_those_alone(migration, run: Migrate):
    run("phases", "--component", "paper", "--plan-out", "plan.json")
    assert run("phases", "--plan", "plan.json").ret == 0
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "b.txt"]


def test_a_world_that_changed_since_is_named_and_nothing_is_applied(migration, run: Migrate, plan):
    (migration.path / "b.txt").write_text("somebody else's")
    result = run("phases", "--plan", plan)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    seen = text_of(result)
    assert "b: create file b.txt -> update file b.txt" in seen
    assert "make the plan anew" in seen
    assert applied(migration) == []
    assert run().ret == 0, "a refused plan leaves no lock behind"


def test_settings_that_changed_since_are_refused(migration, run: Migrate, plan):
    result = run("phases", "--plan", plan, SIZE="2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "the settings have changed" in text_of(result)
    assert applied(migration) == []


def test_a_step_done_since_makes_the_plan_stale(migration, run: Migrate, plan):
    run("phases/test_1_first.py::test_a")
    result = run("phases", "--plan", plan)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "a: create file a.txt -> nothing" in text_of(result)


def test_a_plan_that_was_edited_or_is_none_is_refused(migration, run: Migrate, plan):
    path = migration.path / plan
    document = json.loads(path.read_text())
    document["steps"][0]["changes"][0]["subject"] = "file z.txt"
    path.write_text(json.dumps(document))
    result = run("phases", "--plan", plan)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "was changed after it was written" in text_of(result)
    path.write_text("no plan")
    assert "is not a plan file" in text_of(run("phases", "--plan", plan))
    assert "is not a plan file" in text_of(run("phases", "--plan", "nowhere.json"))
    assert applied(migration) == []


def test_a_change_while_the_plan_is_applied_stops_the_step(migration, run: Migrate):
    first = migration.path / "phases" / "test_1_first.py"
    # What step a does to b.txt here, somebody else might do while the plan is being applied.
    meddling = "step.dry_run or Path('b.txt').write_text('x')"
    text = first.read_text().replace('step.output("a", "length")', "")
    first.write_text(text.replace("step.publish(length=1)", meddling))
    run("phases", "--plan-out", "plan.json")
    result = run("phases", "--plan", "plan.json")
    assert result.ret == 1
    assert "b would update file b.txt, which is not what the plan holds." in text_of(result)
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "d.txt"]


def test_the_id_of_a_plan_approves_its_irreversible_changes(migration, run: Migrate):
    seen = text_of(run("phases", "--dry-run", PROTECTED="1"))
    plan_id = re.search(r"whole plan is approved by --approve (\w+)", seen)
    assert plan_id
    stopped = run(PROTECTED="1")
    assert stopped.ret == 1
    assert "can't be taken back, and this environment is protected" in text_of(stopped)
    wrong = run("phases", "--approve", "0123456789ab", PROTECTED="1")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    seen = text_of(run("phases", "--dry-run", PROTECTED="1"))
    left = re.search(r"whole plan is approved by --approve (\w+)", seen)
    assert left
    assert left[1] in text_of(wrong)
    assert left[1] != plan_id[1], "another part of the plan was left"
    assert run("phases", "--approve", left[1], PROTECTED="1").ret == 0
    assert "c.txt create" in applied(migration)
