"""What a run says on the terminal while it works: log lines and progress."""

import os
import time
from functools import cached_property
from typing import Any

import pytest

_IN_PLACE_SECONDS, _LINE_SECONDS = 0.2, 5.0


class TerminalLines:
    """Writes whole lines between pytest's own output, and progress in place on a terminal.

    Where standard output is no terminal (CI), progress is a plain line every five seconds.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._worker: str = getattr(config, "workerinput", {}).get("workerid", "")
        self._shown = False
        self._last = 0.0
        self._began: dict[tuple[str, str, float | None], tuple[float, float]] = {}

    @cached_property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @cached_property
    def _capture(self) -> Any:
        return self._config.pluginmanager.get_plugin("capturemanager")

    @property
    def _in_place(self) -> bool:
        return bool(getattr(self._reporter, "isatty", False))

    def line(self, text: str) -> None:
        """Write one line of its own."""
        if self._worker:
            self._to_controller(text)
        elif self._reporter is not None and self._reporter.verbosity >= 0:
            self._write("".join(f"  {each}\n" for each in text.splitlines()))

    def own_lines(self) -> bool:
        """Write a line for each test in place of dots, unless ``-v`` or ``-q`` ask otherwise."""
        if self._reporter is None or self._reporter.verbosity != 0:
            return False
        self._reporter.showfspath = False
        return True

    def result(self, mark: str, name: str, title: str, seconds: float | None) -> None:
        """Write what came of one test."""
        took = f"  ({seconds:.1f} s)" if seconds is not None else ""
        self._write(f"{mark} {name:<24} {title}{took}\n")

    def progress(self, step: str, label: str, done: float, total: float | None, unit: str) -> None:
        """Show how far an action is, with its rate and the time that is left.

        The label may tell what is under way just now: a rate is that of the step's unit and total.
        """
        now = time.monotonic()
        began, first = self._began.setdefault((step, unit, total), (now, done))
        finished = total is not None and done >= total
        pause = _IN_PLACE_SECONDS if self._in_place else _LINE_SECONDS
        if now - max(self._last, began) < pause and not (finished and self._last > began):
            return
        self._last = now
        text = f"{label}: {_amount(done, unit)}"
        if total:
            text += f" of {_amount(total, unit)} ({100 * done / total:.0f} %)"
        rate = (done - first) / (now - began) if now - began > 0.5 else 0
        if rate > 0 and unit != "seconds":
            text += f", {_amount(rate, unit)}/s"
            if total and not finished:
                text += f", {(total - done) / rate:.0f} s left"
        if self._worker:
            self._to_controller(text)
        elif self._in_place:
            self._write(f"\r\x1b[2K  {text[: self._reporter._tw.fullwidth - 4]}", whole=False)
        elif self._reporter is not None and self._reporter.verbosity >= 0:
            self._write(f"  {text}\n")

    def _to_controller(self, text: str) -> None:
        """Write to the standard error that a worker shares with its controller: it has no more."""
        if self._config.get_verbosity() >= 0:
            with self._capture.global_and_fixture_disabled():
                os.write(2, f"  {self._worker}: {text}\n".encode())

    def _write(self, text: str, *, whole: bool = True) -> None:
        reporter = self._reporter
        with self._capture.global_and_fixture_disabled():
            if self._shown and whole:
                reporter._tw.write("\r\x1b[2K")
            elif not self._shown:
                reporter.ensure_newline()
            reporter._tw.write(text, flush=True)
        self._shown = not whole


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if unit == "seconds":
        return f"{value:.0f} s"
    return f"{value:,.0f} {unit}"
