"""What a session leaves: the HTML report, JUnit properties, and a summary on the terminal."""

import time
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from _pytest.junitxml import xml_key
from pytest_html.basereport import BaseReport

from lib.engine.run import Mode
from lib.plugin.session import MigrationSession
from lib.report import fragment, junit, terminal
from lib.report.build import build
from lib.report.model import Report, StepRow


def prepare_html(config: pytest.Config) -> None:
    """Let pytest-html write our report, unless the command line names another place."""
    if config.pluginmanager.hasplugin("html") and not config.getoption("htmlpath", None):
        config.option.htmlpath = str(config.rootpath / config.getini("migration_report"))
        config.option.self_contained_html = True


def drop_reports(config: pytest.Config) -> None:
    """Write no report of this session."""
    for plugin in list(config.pluginmanager.get_plugins()):
        if isinstance(plugin, Reporting | BaseReport):
            config.pluginmanager.unregister(plugin)


class Reporting:
    """Builds the report once, at the end, and gives it to whoever shows it."""

    def __init__(self, session: MigrationSession) -> None:
        self._session = session
        self._failures: set[int] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what came of an item, here or in a worker."""
        row = getattr(report, "migration_row", None)
        if row is not None:
            self._session.rows[row["name"]] = StepRow.from_json(row)
        if report.failed:
            failed = int(pytest.ExitCode.TESTS_FAILED)
            self._failures.add(getattr(report, "migration_exit", failed))

    def exit_code(self, exitstatus: int) -> int:
        """pytest's own, or that of failures which are all of one kind with a code of its own."""
        if exitstatus == pytest.ExitCode.TESTS_FAILED and len(self._failures) == 1:
            return next(iter(self._failures))
        return exitstatus

    @cached_property
    def report(self) -> Report:
        """The report of this session."""
        session = self._session
        config = session.config
        gone = session.mode is Mode.ROLLBACK
        asked = config.hook
        connections = [] if gone else asked.pytest_migration_connections(config=config)
        earlier = [] if gone else asked.pytest_migration_criteria(config=config)
        return build(
            declared=[each.declaration() for each in self._in_order()],
            results=session.rows.values(),
            standings=session.standings(),
            criteria=session.criteria or chain.from_iterable(earlier),
            connections=chain.from_iterable(connections),
            environment=session.facts(),
            run=session.run.number or self._last_run(),
            started_at=session.started_at,
            finished_at=time.time(),
            log=Path(config.getini("migration_log")).name,
        )

    def _in_order(self) -> list[Any]:
        return [self._session.declared[name] for name in self._session.graph.order]

    def _last_run(self) -> int:
        store = self._session.store
        runs = store.runs() if store is not None else []
        return int(runs[-1]["id"]) if runs else 0

    def write_junit(self) -> None:
        """Add what holds for the whole run to the JUnit file, where one is written."""
        xml = self._session.config.stash.get(xml_key, None)
        if xml is not None:
            for name, value in junit.suite_properties(self.report):
                xml.add_global_property(name, value)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_report_title(self, report: Any) -> None:
        """Name the page."""
        report.title = fragment.TITLE

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Put our sections above pytest-html's table of tests."""
        prefix.extend(fragment.sections(self.report))

    def summary(self) -> list[str]:
        """The last lines of a run."""
        place = self._session.config.getoption("htmlpath", None)
        return terminal.summary(self.report, str(place) if place else "")
