"""What can't be done is refused with one clear message, and leaves nothing half-made."""

import pytest

from lib.engine.lock import RunLock
from lib.engine.store import Store
from tests.plugin.conftest import Migrate, applied, text_of


def refused(result: pytest.RunResult) -> str:
    """The message of a run that was refused: an exit code of 4 and no traceback."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    seen = text_of(result)
    assert "Traceback" not in seen
    assert "INTERNALERROR" not in seen
    return seen


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--status"], ["--force"]], ids=" ".join)
def test_wrong_settings_are_refused_before_anything_is_made(migration, run: Migrate, arguments):
    conftest = migration.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\ndef pytest_migration_settings(config, environment):\n"
        + "    from lib.errors import SettingsError\n"
        + "    raise SettingsError(f'{environment}.toml: unknown key sise.')\n"
    )
    assert "mine.toml: unknown key sise." in refused(run("phases", "--env", "mine", *arguments))
    assert applied(migration) == []
    assert not (migration.path / ".migration").exists()


@pytest.mark.parametrize("arguments", [["--status", "--force"], ["--dry-run"], ["--fresh"]])
def test_a_corrupt_store_is_refused_and_an_earlier_report_kept(migration, run: Migrate, arguments):
    report = migration.mkdir("reports") / "migration.html"
    report.write_text("an earlier run")
    (migration.path / "mine.db").write_text("no database at all")
    with_html = ["-p", "metadata", "-p", "html"]
    result = run("phases", "--checkpoint", "mine.db", *with_html, *arguments)
    assert "checkpoint store mine.db can't be used" in refused(result)
    assert report.read_text() == "an earlier run"
    assert (migration.path / "mine.db").read_text() == "no database at all"


def test_a_plan_that_can_not_be_saved_is_refused_first(run: Migrate):
    assert "nowhere/plan.json" in refused(run("phases", "--plan-out", "nowhere/plan.json"))


def test_a_second_run_is_told_who_works(migration, run: Migrate):
    path = migration.mkdir(".migration") / "development.db"
    store = Store(path)
    lock = RunLock(store)
    lock.acquire()
    assert "Another run works with" in refused(run())
    assert applied(migration) == []
    assert run("phases", "--status").ret == 0, "looking needs no lock"
    lock.release()
    store.close()


def test_a_dry_run_over_an_empty_shared_store_leaves_it_empty(
    migration, run: Migrate, make_database
):
    url = make_database()
    assert run("phases", "--dry-run", "--checkpoint", url).ret == 0
    looking = Store(url, create=False)
    assert not looking.exists
    looking.close()


def test_a_fixture_that_needs_an_unknown_value_is_planned_as_unknown(migration, run: Migrate):
    path = migration.path / "phases" / "test_1_first.py"
    path.write_text(
        path.read_text()
        .replace("step.publish(length=1)", "step.publish(length=step.make(TextFile('e', 'e')).no)")
        .replace("def test_b(step):", "def test_b(step, length):")
        + "\n@pytest.fixture\ndef length(step):\n    return int(step.output('a', 'length'))\n"
    )
    result = run("phases", "--dry-run")
    assert result.ret == 0
    assert "unknown B is written. (needs a.length)" in text_of(result)
    assert "create file c.txt" in text_of(result)


def test_a_finished_step_has_its_properties_in_junit(migration, run: Migrate):
    run()
    run("phases", "--junit-xml", "junit.xml")
    junit = (migration.path / "junit.xml").read_text()
    assert junit.count('<property name="state" value="skipped-done" />') == 4


def test_an_interrupted_step_is_told_as_such(migration, run: Migrate):
    path = migration.path / "phases" / "test_1_first.py"
    path.write_text(
        path.read_text().replace('step.output("a", "length")', "raise KeyboardInterrupt")
    )
    result = run(apart=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "interrupted" in text_of(result)
    assert "failed" not in text_of(result)
