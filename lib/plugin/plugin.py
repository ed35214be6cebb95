"""The hooks: they see that something happens and hand it to the module whose job it is."""

import gc
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lib.engine.errors import Interrupted
from lib.engine.run import Mode, StepState
from lib.engine.unknown import UnknownUntilApplied
from lib.errors import MigrationError
from lib.logs import LOGGER, open_log, shown_error
from lib.plugin import dependency, hookspecs, selection, steps
from lib.plugin.choosing import choose, correct_deselected
from lib.plugin.criteria import BREACHED, CriterionBreached
from lib.plugin.drift import DRIFTED, Drifted
from lib.plugin.fixtures import benchmark_clock, criterion, migration, settings, step
from lib.plugin.interruption import stops_at_safe_points
from lib.plugin.options import MARKERS, Options, add_options
from lib.plugin.output import TestLines, plan_lines, print_status
from lib.plugin.parallel import GraphScheduling, run_as_worker
from lib.plugin.preparation import find_drift, prepare
from lib.plugin.reporting import Reporting, drop_reports, prepare_html
from lib.plugin.session import MIGRATION, STEP, MigrationSession, of
from lib.report.junit import step_properties
from lib.report.model import StepState as RowState

__all__ = ["benchmark_clock", "criterion", "migration", "settings", "step"]  # the fixtures

_COUNT_AS_DONE = (RowState.SKIPPED_DONE, RowState.PLANNED, RowState.DRIFTED)

_COLLECT_AFTER = 100_000
"""New objects before Python looks for cycles.

The clients' modules make many that stay: to look at them again and again took a fifth of a dry run.
"""
_ONLY_LOOKS = "nothing is changed"
_STOPPED = "stopped at a safe point; the same command goes on from there"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register what ``pytest --help`` shows under 'migration'."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks by which a migration describes itself."""
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make the session; a call that touches neither steps nor criteria is left alone."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    session = MigrationSession(config, Options.of(config))
    config.stash[MIGRATION] = session
    if not _concerned(session):
        session.worker = False  # of a run of other tests, which is xdist's own affair
        return
    config.add_cleanup(partial(gc.set_threshold, *gc.get_threshold()))
    gc.set_threshold(_COLLECT_AFTER)
    if config.getoption("numprocesses", None):
        _decide_on_workers(config, session)
    if config.option.collectonly or session.options.status:
        return
    log = config.rootpath / config.getini("migration_log")
    config.add_cleanup(open_log(log, session.lines.line, debug=session.options.debug))
    if not session.worker:
        prepare_html(config)
        config.pluginmanager.register(Reporting(session), "migration-reporting")


def _decide_on_workers(config: pytest.Config, session: MigrationSession) -> None:
    """Steps may run at once; criteria never do, and what changes nothing needs no workers."""
    benchmarks = config.getoption("benchmark_only", default=False)
    if benchmarks or _reaches(session, session.validation_folder):
        raise pytest.UsageError(
            "-n: criteria are measured one after the other, on a machine that does nothing else.\n"
            f"  expected: -n for {session.steps_folder.name}/ alone\n"
            f"  to mend it: pytest {session.steps_folder.name}/ -n {config.option.numprocesses}, "
            f"then pytest {session.validation_folder.name}/ without -n"
        )
    session.parallel = session.changes_something and not session.options.rollback
    if not session.parallel or config.option.collectonly:
        config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> GraphScheduling | None:
    """Let steps begin as soon as their own prerequisites are done."""
    migration = of(config)
    if migration.parallel:
        migration.scheduling = GraphScheduling(config, migration)
    return migration.scheduling


def pytest_sessionstart(session: pytest.Session) -> None:
    """Let our own lines stand in the place of dots, where it is our session."""
    migration = of(session.config)
    if session.config.pluginmanager.hasplugin("migration-reporting"):
        migration.own_lines = migration.lines.own_lines()
        if migration.own_lines:
            session.config.pluginmanager.register(TestLines(migration))


def _concerned(session: MigrationSession) -> bool:
    """Whether the command line reaches into the steps or the criteria."""
    return _reaches(session, session.steps_folder) or _reaches(session, session.validation_folder)


def _reaches(session: MigrationSession, folder: Path) -> bool:
    start = session.config.invocation_params.dir
    paths = [(start / text.split("::")[0]).resolve() for text in session.config.args]
    return folder.is_dir() and any(
        path == folder or folder in path.parents or path in folder.parents for path in paths
    )


# -- collection ------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect all steps, whichever were named: the graph is needed to know prerequisites."""
    migration = of(session.config)
    session.config.args, migration.arguments = selection.widen(
        session.config.args, session.config.invocation_params.dir, migration.steps_folder
    )
    if migration.parallel:  # xdist's controller collects nothing, and then knows no graph
        session.perform_collect()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Order the steps by their graph and add the prerequisites of those that were chosen."""
    migration = of(config)
    everything = list(items)
    with _told_as_usage(config):
        migration.declare(steps.read_steps(items, migration.steps_folder))
        if items and _concerned(migration):
            migration.require_settings()
    yield
    if not migration.declared:
        return
    with _told_as_usage(config):
        chosen = choose(migration, items)
    correct_deselected(config, everything, items, chosen)
    items[:] = chosen


class _told_as_usage:
    """Turns an expected failure into pytest's own kind, which ends with exit code 4.

    An earlier run's report is left as it was: there is nothing to report of this one.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, MigrationError | pytest.UsageError):
            drop_reports(self._config)
        if isinstance(error, MigrationError):
            raise pytest.UsageError(shown_error(error)) from error


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which environment this is about."""
    migration = of(config)
    if not _concerned(migration):
        return []
    mode = str(migration.mode) if migration.changes_something else _ONLY_LOOKS
    return [f"migration: environment {migration.environment}, {mode}"]


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say which prerequisites are brought along, or left out by force."""
    migration = of(config)
    lines = []
    brought = [
        name
        for name, chosen in migration.selected.items()
        if not chosen and not migration.is_done(name)
    ]
    if brought:
        lines.append(f"prerequisites that are not done run first: {', '.join(brought)}")
    if migration.options.force and migration.selected and migration.mode is not Mode.ROLLBACK:
        lines.append("--force: prerequisites are not checked")
    return lines


# -- the run ---------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True, specname="pytest_runtestloop")
def pytest_show_status(session: pytest.Session) -> bool | None:
    """With ``--status``, print it instead of running anything."""
    migration = of(session.config)
    if not (migration.options.status and migration.declared):
        return None
    with _told_as_usage(session.config):
        if migration.options.refresh and migration.selected:
            find_drift(migration)
        print_status(migration)
    return True


@pytest.hookimpl(tryfirst=True, specname="pytest_runtestloop")
def pytest_work_for_controller(session: pytest.Session) -> bool | None:
    """In a worker, run what the controller sends when it sends it."""
    return run_as_worker(session) if of(session.config).worker else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Hold the lock while the items run."""
    migration = of(session.config)
    if (
        migration.worker
        or migration.options.status
        or session.config.option.collectonly
        or not (migration.selected or migration.declared)
    ):
        return (yield)
    with stops_at_safe_points(migration):
        with _told_as_usage(session.config):
            prepare(migration, session.config.invocation_params.args)
            if migration.mode is Mode.ROLLBACK and not migration.changes_something:
                session.items.clear()  # what would be taken back has been seen
            if session.items:
                dependency.only_these_are_done(session.items[0], migration.succeeded_before())
        result = yield
    if migration.scheduling is not None:
        migration.run.catch_up()
    if migration.run.interrupted:
        raise session.Interrupted(_STOPPED)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is done; pytest-dependency then looks at the prerequisites of the rest."""
    migration = of(item.config)
    declared = migration.by_node.get(item.nodeid)
    if declared is None:
        return
    standing = migration.standing(declared.name)
    if migration.is_skipped(standing):
        migration.begin_step(declared)
        pytest.skip(standing.reason)
    if migration.mode is Mode.REFRESH and standing.state is not StepState.DONE:
        pytest.skip(f"{standing.state}: there is nothing to compare")
    if migration.mode is Mode.ROLLBACK and not migration.looking:
        _keep_what_is_needed(migration, declared.name)


def _keep_what_is_needed(migration: MigrationSession, name: str) -> None:
    """Leave a step as it is where one that is built on it could not be taken back."""
    for other in migration.rows.values():
        if other.state is RowState.FAILED and name in migration.graph.closure([other.name]):
            pytest.skip(f"kept: {other.name}, which needs it, could not be taken back")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run a step's code and write its checkpoint."""
    migration = of(pyfuncitem.config)
    declared = migration.by_node.get(pyfuncitem.nodeid)
    if declared is None:
        return (yield)
    if STEP not in pyfuncitem.stash:
        migration.begin_step(declared)
    try:
        try:
            result = yield
        except UnknownUntilApplied:
            if migration.mode is not Mode.ROLLBACK:
                raise
            result = True
        if migration.mode is Mode.ROLLBACK and not migration.looking:
            pyfuncitem.stash[STEP].undo_all()
    except BaseException as error:
        if migration.end_step(declared, error):
            _raise_drift(migration, declared.name)
            return True
        raise
    migration.end_step(declared, None)
    _raise_drift(migration, declared.name)
    return result


def _raise_drift(migration: MigrationSession, name: str) -> None:
    row = migration.rows[name]
    if row.state is RowState.DRIFTED and not migration.looking:
        raise Drifted(name, row.reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show expected failures without a traceback; give JUnit what the step did."""
    report = yield
    migration = of(item.config)
    declared = migration.by_node.get(item.nodeid)
    error = call.excinfo.value if call.excinfo is not None else None
    if declared is not None:
        _report_step(migration, declared, report, error)
    if report.failed:
        told: Any = report  # travels from a worker to the controller with the report
        told.migration_exit = _exit_code(error)
    if isinstance(error, Interrupted) and not migration.worker:
        item.session.shouldstop = _STOPPED
    if isinstance(error, MigrationError) and report.failed:
        if not migration.looking:
            LOGGER.error("%s", error)
        if not migration.options.debug:
            report.longrepr = shown_error(error)
    return report


def _exit_code(error: BaseException | None) -> int:
    if isinstance(error, CriterionBreached):
        return BREACHED
    return DRIFTED if isinstance(error, Drifted) else int(pytest.ExitCode.TESTS_FAILED)


def _report_step(
    migration: MigrationSession,
    declared: steps.DeclaredStep,
    report: pytest.TestReport,
    error: BaseException | None,
) -> None:
    item = declared.item
    if report.when == "setup" and report.failed and error is not None and STEP in item.stash:
        absorbed = migration.end_step(declared, error)
        if absorbed:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {error}")
    row = migration.rows.get(declared.name)
    if row is None:
        return
    if report.when == "call" or (report.when == "setup" and not report.passed):
        item.user_properties.extend(step_properties(row))
        if migration.worker:
            told: Any = report
            told.migration_row = row.to_json()
    elif report.when == "teardown" and row.state in _COUNT_AS_DONE:
        dependency.count_as_done(item, [declared.name])


def pytest_report_teststatus(
    report: pytest.TestReport | pytest.CollectReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """A step that was skipped because it is done says so; dots give way to our own lines."""
    migration = of(config)
    if not isinstance(report, pytest.TestReport) or not migration.own_lines:
        return None
    row = migration.row_of(report.nodeid)
    if report.when == "setup" and row is not None and row.state is RowState.SKIPPED_DONE:
        return "already done", "", "ALREADY DONE"
    if report.when == "call" or (report.when == "setup" and not report.passed):
        return report.outcome, "", report.outcome.upper()
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Close the run; a session whose only failures are breached criteria has its own code."""
    migration = of(session.config)
    reporting: Reporting | None = session.config.pluginmanager.get_plugin("migration-reporting")
    if reporting is not None:
        session.exitstatus = reporting.exit_code(exitstatus)
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and migration.options.rollback:
        session.exitstatus = pytest.ExitCode.OK
    if reporting is not None and migration.declared and not session.config.option.collectonly:
        reporting.write_junit()
    if migration.began:
        outcome = {0: "passed", 1: "failed", 2: "interrupted"}.get(int(exitstatus), "error")
        migration.end(outcome)
    if _concerned(migration):
        gc.freeze()  # pytest collects ten times at its end, and a run is over


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The plan of a dry run, or the summary of a run."""
    migration = of(config)
    reporting: Reporting | None = config.pluginmanager.get_plugin("migration-reporting")
    if reporting is None or not migration.declared or config.option.collectonly:
        return
    terminalreporter.section("migration")
    planned = migration.options.dry_run
    lines = plan_lines(migration) if planned else reporting.summary()
    for line in lines:
        terminalreporter.write_line(line)
