"""What a user sees of steps: done, skipped, selected, failed, killed, planned, refused."""

import json
import signal
import sqlite3
import xml.etree.ElementTree as ET

import pytest

from tests.plugin.conftest import Migrate, applied, text_of


def test_finished_steps_are_skipped_with_the_reason_and_dependents_go_on(migration, run: Migrate):
    assert run("phases/test_1_first.py").ret == 0
    result = run()
    assert result.ret == 0
    seen = text_of(result)
    assert "done 20" in seen
    assert "in run 1" in seen
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "b.txt", "c.txt", "d.txt"]


def test_a_failure_stops_what_depends_on_it_and_the_next_run_begins_there(migration, run: Migrate):
    result = run(FAIL_B="1")
    assert result.ret == 1
    seen = text_of(result)
    assert "B broke." in seen
    assert "mend B" in seen
    assert "Traceback" not in seen
    assert "raise MigrationError" not in seen
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "d.txt"]
    assert run().ret == 0
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "d.txt", "b.txt", "c.txt"]


def test_what_a_step_said_is_in_later_reports_without_secrets(migration, run: Migrate):
    (migration.path / "phases" / "test_3_third.py").write_text(
        """
import pytest
from lib.logs import MASKING

@pytest.mark.component("ink")
@pytest.mark.dependency(name="e", depends=["d"], scope="session")
def test_e(step):
    MASKING.learn("hidden-word")
    step.note("recall is 0.97, by hidden-word")
"""
    )
    for _ in range(2):
        assert run("phases", "-p", "metadata", "-p", "html").ret == 0
        report = migration.path / "reports" / "migration.html"
        assert "recall is 0.97" in report.read_text()
        report.unlink()
    kept = [each for each in migration.path.rglob("*") if each.suffix not in (".py", ".pyc")]
    assert not any(b"hidden-word" in each.read_bytes() for each in kept if each.is_file())


def test_debug_shows_the_traceback(run: Migrate):
    assert "raise MigrationError" in text_of(run("phases", "--migration-debug", FAIL_B="1"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["phases/test_2_second.py::test_c"],
        ["phases", "-k", "test_c"],
        ["phases", "-k", "ink and not test_d"],
        ["phases/test_2_second.py", "-k", "test_c"],
    ],
    ids=" ".join,
)
def test_a_selected_step_brings_its_unfinished_prerequisites(migration, run: Migrate, arguments):
    result = run(*arguments)
    assert result.ret == 0
    assert "prerequisites that are not done run first: a, b" in text_of(result)
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "b.txt", "c.txt"]


def test_a_component_is_selected_by_name(migration, run: Migrate):
    assert run("phases", "--component", "paper").ret == 0
    assert [line.split()[0] for line in applied(migration)] == ["a.txt", "b.txt"]


def test_an_unknown_component_suggests_a_near_one(migration, run: Migrate):
    result = run("phases", "--component", "papre")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Did you mean paper?" in text_of(result)
    assert not (migration.path / ".migration").exists()


def test_prerequisites_can_be_refused_by_name(migration, run: Migrate):
    result = run("phases/test_2_second.py::test_c", "--no-prerequisites")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Prerequisites are not done: a, b." in text_of(result)
    assert applied(migration) == []


def test_force_runs_a_step_without_its_prerequisites_and_says_so(migration, run: Migrate):
    result = run("phases/test_2_second.py::test_c", "--force")
    assert result.ret == 0
    assert "--force: prerequisites are not checked" in text_of(result)
    assert [line.split()[0] for line in applied(migration)] == ["c.txt"]


def test_a_changed_setting_makes_only_its_reader_pending(migration, run: Migrate):
    run()
    result = run(SIZE="2", COLOUR="blue")
    assert "a: changed: size" in text_of(result)
    assert applied(migration)[4:] == ["a.txt update"]


def test_changed_code_makes_the_step_pending_and_a_comment_does_not(migration, run: Migrate):
    run()
    path = migration.path / "phases" / "test_2_second.py"
    before = path.read_text()
    path.write_text(before.replace('"d.txt", "d"', '"d.txt",   "d"  # a comment'))
    assert "to do" not in text_of(run())
    path.write_text(before.replace('"d.txt", "d"', '"d.txt", "D"'))
    assert "d: changed: its code" in text_of(run())
    assert applied(migration)[4:] == ["d.txt update"]


def test_fresh_goes_through_all_steps_and_leaves_alone_what_is_right(migration, run: Migrate):
    run()
    result = run("phases", "--fresh")
    assert result.ret == 0
    assert "already right: file a.txt" in text_of(result)
    assert len(applied(migration)) == 4


def test_a_dry_run_prints_the_plan_and_changes_nothing(migration, run: Migrate):
    result = run("phases", "--dry-run", "--plan-out", "plan.json")
    assert result.ret == 0
    assert "+ create file a.txt" in text_of(result)
    assert "Plan: 4 to create." in text_of(result)
    assert applied(migration) == []
    assert not (migration.path / ".migration").exists()
    plan = json.loads((migration.path / "plan.json").read_text())
    assert [step["name"] for step in plan["steps"]] == ["a", "b", "c", "d"]


def test_status_tells_how_every_step_stands(run: Migrate):
    run(FAIL_B="1")
    seen = run("phases", "--status").outlines
    rows = {line.split()[0]: line.split()[1] for line in seen if line.startswith("  ")}
    assert rows == {"a": "done", "b": "failed", "c": "not", "d": "done"}


def test_a_killed_step_is_interrupted_and_the_next_run_finishes_it(migration, run: Migrate):
    assert run(DIE_IN="b.txt").ret not in (0, 1)
    assert "interrupted" in text_of(run("phases", "--status"))
    assert run().ret == 0
    # The dead run's lock was freed by itself, and what was finished was not done again.
    assert [line.split()[0] for line in applied(migration)].count("a.txt") == 1
    assert (migration.path / "c.txt").read_text() == "c"


def test_sigterm_leaves_an_interrupted_checkpoint_and_frees_the_lock(migration, run: Migrate):
    result = run(DIE_IN="b.txt", SIGNAL=str(int(signal.SIGTERM)))
    assert result.ret == pytest.ExitCode.INTERRUPTED
    store = sqlite3.connect(migration.path / ".migration" / "development.db")
    assert store.execute("select state from orchestra_checkpoints where step = 'b'").fetchone() == (
        "running",
    )
    assert store.execute("select expires_at from orchestra_locks").fetchone() == (0.0,)
    assert run().ret == 0


def test_an_irreversible_change_of_a_protected_environment_waits(migration, run: Migrate):
    planned = text_of(run("phases", "--dry-run", PROTECTED="1"))
    (approval,) = [line for line in planned.splitlines() if line.startswith("irreversible:")]
    result = run(PROTECTED="1")
    assert result.ret == 1
    assert "--approve" in text_of(result)
    assert not (migration.path / "c.txt").exists()
    identifier = approval.rpartition("--approve ")[2].rstrip(")")
    assert run("phases", "--approve", identifier, PROTECTED="1").ret == 0
    assert (migration.path / "c.txt").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name="a", depends=[]', 'name="a", depends=["b"]', "cycle: a -> b -> a"),
        ('name="b", depends=["a"]', 'name="b", depends=["aa"]', "no step is named"),
        ('name="b", depends=["a"]', 'name="a", depends=[]', "Two steps are named 'a'"),
        ('@pytest.mark.component("paper")', "", "is no step"),
    ],
    ids=["cycle", "unknown", "twice", "no component"],
)
def test_a_wrong_graph_is_refused_before_anything_runs(migration, run: Migrate, old, new, told):
    path = migration.path / "phases" / "test_1_first.py"
    path.write_text(path.read_text().replace(old, new))
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in text_of(result)
    assert applied(migration) == []


def test_a_path_without_a_step_suggests_a_near_one(run: Migrate):
    result = run("phases/test_2_second.py::test_cc")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "There is no step at" in text_of(result)


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0 cut short"])
def test_a_checkpoint_file_that_is_none_is_an_error_and_left_alone(migration, run, content):
    path = migration.path / "mine.db"
    path.write_bytes(content)
    result = run("phases", "--checkpoint", "mine.db")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "checkpoint store mine.db" in text_of(result)
    assert path.read_bytes() == content
    assert applied(migration) == []


def test_another_database_is_not_taken_for_a_checkpoint_store(migration, run: Migrate):
    with sqlite3.connect(migration.path / "other.db") as other:
        other.execute("create table invoices (number)")
    result = run("phases", "--checkpoint", "other.db")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is a database, but not a checkpoint store" in text_of(result)


def test_junit_carries_what_steps_did(migration, run: Migrate):
    run("phases", "--junit-xml", "junit.xml")
    suite = ET.parse(migration.path / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    everywhere = {p.get("name"): p.get("value") for p in suite.findall("properties/property")}
    assert everywhere["outcome"] == "passed"
    case = suite.findall("testcase")[0]
    own = {p.get("name"): p.get("value") for p in case.findall("properties/property")}
    assert (own["step"], own["state"], own["change"]) == ("a", "done", "create file a.txt")


CRITERIA = """
from lib.report.model import CriterionRow

def test_speed(criterion, benchmark_clock):
    '''It is fast.'''
    samples = benchmark_clock(lambda: None, rounds=5, warmup=1)
    slowest = max(samples, default=None)
    criterion.judge(CriterionRow(5, "speed", "max", {threshold}, "s", "<", slowest, samples))
"""


def test_a_breached_criterion_alone_has_its_own_exit_code(migration, run: Migrate):
    folder = migration.mkdir("validation")
    (folder / "test_speed.py").write_text(CRITERIA.format(threshold=-1))
    result = run("phases", "validation")
    assert result.ret == 10
    assert "Criterion 5, speed" in text_of(result)
    assert run("phases", "validation", FAIL_B="1", SIZE="3").ret == 10
    (folder / "test_speed.py").write_text(CRITERIA.format(threshold=60))
    assert run("validation", "--benchmark-only").ret == 0


def test_a_criterion_without_benchmarks_fails(migration, run: Migrate):
    folder = migration.mkdir("validation")
    (folder / "test_speed.py").write_text(CRITERIA.format(threshold=60))
    result = run("validation", "--benchmark-disable")
    assert result.ret == 10
    assert "not measured" in text_of(result)


def test_other_tests_leave_nothing_of_a_migration(migration, run: Migrate):
    folder = migration.mkdir("tests")
    (folder / "test_own.py").write_text("def test_own(): assert True\n")
    assert run("tests").ret == 0
    left = {path.name for path in migration.path.iterdir()}
    assert left.isdisjoint({".migration", "reports", "migration_execution.log"})


def test_the_log_has_run_phase_and_step(migration, run: Migrate):
    run()
    lines = (migration.path / "migration_execution.log").read_text().splitlines()
    assert any("run=1 phase=first step=a" in line and "create file a.txt" in line for line in lines)
