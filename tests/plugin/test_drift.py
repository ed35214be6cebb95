"""Drift: what finished steps made, compared with the world as it is."""

import pytest

from tests.plugin.conftest import Migrate, applied, text_of


@pytest.fixture
def finished(migration, run: Migrate) -> None:
    """Everything is done once."""
    assert run().ret == 0


def test_without_drift_a_refresh_runs_nothing(migration, run: Migrate, finished):
    result = run("phases", "--refresh")
    assert result.ret == 0
    assert "no drift: 4 finished steps hold in the world" in text_of(result)
    assert len(applied(migration)) == 4


def test_a_drifted_step_is_told_and_runs_again_alone(migration, run: Migrate, finished):
    (migration.path / "b.txt").write_text("tampered")
    result = run("phases", "--refresh")
    assert result.ret == 0
    assert "drifted: b: update file b.txt" in text_of(result)
    assert applied(migration)[4:] == ["b.txt update"]
    assert (migration.path / "b.txt").read_text() == "b"


def test_drift_is_only_reported_with_an_exit_code_of_its_own(migration, run: Migrate, finished):
    assert run("phases", "--detect-drift").ret == 0
    (migration.path / "d.txt").unlink()
    result = run("phases", "--detect-drift", "--junit-xml=junit.xml")
    assert result.ret == 11
    seen = text_of(result)
    assert "d has drifted: create file d.txt." in seen
    assert "--refresh" in seen
    assert "Traceback" not in seen
    assert not (migration.path / "d.txt").exists()
    assert 'failures="1"' in (migration.path / "junit.xml").read_text()
    assert run().ret == 0, "only reported: the checkpoints say as before that all is done"
    assert len(applied(migration)) == 4


def test_steps_that_never_ran_are_no_drift(run: Migrate):
    run("phases", "--component", "paper")
    result = run("phases", "--detect-drift")
    assert result.ret == 0
    assert "not started: there is nothing to compare" in text_of(result)


def test_pending_and_drifted_are_told_apart(migration, run: Migrate, finished):
    (migration.path / "d.txt").unlink()
    seen = text_of(run("phases", "--status", "--refresh", SIZE="2"))
    states = {line.split()[0]: line.split()[1] for line in seen.splitlines() if " run 1," in line}
    assert states == {"a": "pending", "b": "done", "c": "done", "d": "drifted"}
    assert "drifted: create file d.txt" in seen
    assert len(applied(migration)) == 4


def test_a_dry_run_can_show_drift_in_its_plan(migration, run: Migrate, finished):
    (migration.path / "d.txt").unlink()
    seen = text_of(run("phases", "--dry-run", "--refresh"))
    assert "d  [drifted]" in seen
    assert "1 to create" in seen
    assert len(applied(migration)) == 4


def test_a_run_killed_after_the_look_still_knows_the_drift(migration, run: Migrate, finished):
    (migration.path / "b.txt").write_text("tampered")
    (migration.path / "d.txt").unlink()
    run("phases", "--refresh", DIE_IN="b.txt")
    seen = text_of(run("phases", "--status"))
    states = {line.split()[0]: line.split()[1] for line in seen.splitlines() if " run " in line}
    assert states["b"] == "interrupted"
    assert states["d"] == "drifted"
    assert run().ret == 0
    assert (migration.path / "d.txt").exists()
