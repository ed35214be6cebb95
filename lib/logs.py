"""The log of a migration: one line an event, with run, phase and step; secrets are masked."""

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

LOGGER = logging.getLogger("migration")
"""Everything that a migration says; modules log to its children."""

MASK = "********"

_IN_URL = re.compile(r"(?<=://)([^/\s:@]*):([^/\s]+)@")
_IN_PAIR = re.compile(
    r"(?i)((?:password|passwd|secret|token|auth_string|authorization)[\w-]*)"
    r"(=|['\"]\s*:\s*)(?:(['\"])(?:(?!\3).)+|(?:bearer\s+)?[^\s'\",;&]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}")


class Masking(logging.Filter):
    """Replaces the secrets it was told of, and what looks like one, in every record."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[str] = set()

    def learn(self, secret: str) -> None:
        """Mask this value from now on, wherever it appears."""
        if len(secret) >= 4:
            self._known.add(secret)

    def mask(self, text: str) -> str:
        """The text without secrets."""
        for secret in sorted(self._known, key=len, reverse=True):  # one may be part of another
            text = text.replace(secret, MASK)
        text = _IN_URL.sub(rf"\1:{MASK}@", text)
        text = _IN_PAIR.sub(lambda m: f"{m[1]}{m[2]}{m[3] or ''}{MASK}", text)
        return _BEARER.sub(rf"\1{MASK}", text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the finished message; tracebacks are masked by the formatter."""
        record.msg = self.mask(record.getMessage())
        record.args = None
        return True


MASKING = Masking()
"""The one masking of this process; whoever reads a secret tells it: ``MASKING.learn(value)``."""


class Context(logging.Filter):
    """Adds run, phase and step to every record."""

    def __init__(self) -> None:
        super().__init__()
        self.run = 0
        self.phase = ""
        self.step = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is current."""
        record.run, record.phase, record.step = self.run, self.phase or "-", self.step or "-"
        return True


CONTEXT = Context()


class _Formatter(logging.Formatter):
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        # A traceback that another handler has formatted before is kept in the record, unmasked.
        return MASKING.mask(super().format(record))


class _OneLine(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")


_FILE_FORMAT = (
    "%(asctime)s.%(msecs)03dZ level=%(levelname)s run=%(run)s phase=%(phase)s step=%(step)s "
    "logger=%(name)s %(message)s"
)


class LineHandler(logging.Handler):
    """Gives each message as a line of text to ``write``."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._write(self.format(record))
        except Exception:
            self.handleError(record)


def open_log(path: Path, write: Callable[[str], None] | None, *, debug: bool) -> Callable[[], None]:
    """Log to a file (appended to) and to ``write``; gives the function that closes both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(_OneLine(_FILE_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S"))
    handlers: list[logging.Handler] = [to_file]
    if write is not None:
        to_terminal = LineHandler(write)
        to_terminal.setFormatter(_Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
        handlers.append(to_terminal)
    for handler in handlers:
        handler.addFilter(CONTEXT)
        handler.addFilter(MASKING)
        LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG if debug else logging.INFO)
    LOGGER.propagate = False

    def close() -> None:
        for handler in handlers:
            LOGGER.removeHandler(handler)
            handler.close()

    return close


def shown_error(error: BaseException) -> str:
    """An error's text without secrets, for terminals and reports."""
    return MASKING.mask(str(error))
