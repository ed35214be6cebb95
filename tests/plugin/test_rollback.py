"""Rollback: what the runs made is taken back, newest first; what was there before stays."""

import re
import sqlite3

import pytest

from tests.plugin.conftest import Migrate, applied, text_of, undone


@pytest.fixture
def finished(migration, run: Migrate) -> None:
    """Everything is done once; d.txt was there before, and a.txt with another text."""
    (migration.path / "d.txt").write_text("d")
    (migration.path / "a.txt").write_text("older")
    assert run().ret == 0


def there(migration) -> list[str]:
    return sorted(path.name for path in migration.path.glob("?.txt"))


def test_everything_is_taken_back_in_reverse_order(migration, run: Migrate, finished):
    result = run("phases", "--rollback")
    assert result.ret == 0
    assert undone(migration) == ["c.txt create", "b.txt create", "a.txt update"]
    assert there(migration) == ["a.txt", "d.txt"], "what was adopted is never deleted"
    assert (migration.path / "a.txt").read_text() == "older"
    seen = text_of(run("phases", "--status"))
    assert seen.count("rolled back") == 4


def test_history_is_kept_and_the_next_run_makes_everything_again(migration, run, finished):
    run("phases", "--rollback")
    with sqlite3.connect(migration.path / ".migration" / "development.db") as store:
        states = [row[0] for row in store.execute("select state from orchestra_history")]
    assert states == ["done"] * 4 + ["rolled back"] * 4
    assert run().ret == 0
    assert there(migration) == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert (migration.path / "a.txt").read_text() == "1"


def test_a_step_that_only_checked_something_is_rolled_back_too(migration, run: Migrate):
    (migration.path / "phases" / "test_3_third.py").write_text(
        """
import pytest

@pytest.mark.component("ink")
@pytest.mark.dependency(name="e", depends=["d"], scope="session")
def test_e(step):
    step.note(f"{step.check('something', lambda: 1):,} of it")
"""
    )
    assert run().ret == 0
    assert run("phases", "--rollback").ret == 0
    assert text_of(run("phases", "--status")).count("rolled back") == 5


def test_a_dry_run_shows_it_and_takes_nothing_back(migration, run: Migrate, finished):
    result = run("phases", "--rollback", "--dry-run")
    assert result.ret == 0
    seen = text_of(result)
    assert "- delete file c.txt" in seen
    assert 'text: "1" -> "older"' in seen
    assert "Plan: 1 to update, 2 to delete" in seen
    assert undone(migration) == []


@pytest.mark.parametrize(
    ("to", "left"), [("b", ["a.txt", "b.txt", "d.txt"]), ("first", ["a.txt", "b.txt", "d.txt"])]
)
def test_it_ends_at_a_step_or_a_phase_which_stays(migration, run: Migrate, finished, to, left):
    assert run("phases", "--rollback", "--to", to).ret == 0
    assert there(migration) == left
    assert undone(migration) == ["c.txt create"]


def test_a_selected_step_takes_those_along_that_need_it(migration, run: Migrate, finished):
    assert run("phases", "-k", "test_b", "--rollback").ret == 0
    assert undone(migration) == ["c.txt create", "b.txt create"]


def test_a_step_that_does_not_exist_is_refused_with_near_names(migration, run, finished):
    result = run("phases", "--rollback", "--to", "frist")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Did you mean first?" in text_of(result)
    assert undone(migration) == []


def test_what_stays_is_told_before_anything_is_taken_back(migration, run: Migrate, finished):
    result = run("phases", "--rollback", STONE="b.txt")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "b: create file b.txt: it is carved in stone" in text_of(result)
    assert undone(migration) == []
    assert run("phases", "--rollback", "--force", STONE="b.txt").ret == 0
    assert undone(migration) == ["c.txt create", "a.txt update"]
    assert "b.txt" in there(migration)


def test_a_change_that_the_code_no_longer_makes_is_told(migration, run: Migrate, finished):
    path = migration.path / "phases" / "test_2_second.py"
    path.write_text(path.read_text().replace('TextFile("c.txt"', 'TextFile("e.txt"'))
    result = run("phases", "--rollback")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "create file c.txt: this step's code makes it no longer" in text_of(result)


def test_a_failure_keeps_what_the_failed_step_stands_on(migration, run: Migrate, finished):
    result = run("phases", "--rollback", KEEP="b.txt")
    assert result.ret == 1
    seen = text_of(result)
    assert "b.txt is in use." in seen
    assert "kept: b, which needs it, could not be taken back" in seen
    assert undone(migration) == ["c.txt create", "b.txt create"]
    assert run("phases", "--rollback").ret == 0
    assert there(migration) == ["a.txt", "d.txt"]


def test_a_killed_rollback_goes_on_where_it_was(migration, run: Migrate, finished):
    run("phases", "--rollback", DIE_UNDOING="b.txt")
    assert "interrupted" in text_of(run("phases", "--status"))
    assert run("phases", "--rollback").ret == 0
    assert undone(migration) == ["c.txt create", "b.txt create", "b.txt create", "a.txt update"]
    assert there(migration) == ["a.txt", "d.txt"]


def test_production_asks_for_the_approval_of_exactly_this_rollback(migration, run, finished):
    result = run("phases", "--rollback", PROTECTED="1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    found = re.search(r"--approve (\w{12})", text_of(result))
    assert found
    assert undone(migration) == []
    assert run("phases", "--rollback", "--approve", "0123456789ab", PROTECTED="1").ret == 4
    assert found[1] in text_of(run("phases", "--rollback", "--dry-run", PROTECTED="1"))
    assert run("phases", "--rollback", "--approve", found[1], PROTECTED="1").ret == 0


def test_nothing_made_is_nothing_to_roll_back(migration, run: Migrate):
    result = run("phases", "--rollback")
    assert result.ret == 0
    assert "nothing to roll back" in text_of(result)
    assert not (migration.path / ".migration").exists()
    assert applied(migration) == []


def test_to_without_rollback_is_refused(run: Migrate):
    assert "--to says where --rollback ends" in text_of(run("phases", "--to", "b"))
