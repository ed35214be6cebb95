"""The one family of expected failures: what happened, what was expected, what to do next."""


class MigrationError(Exception):
    """An expected failure that a user can mend; shown without a traceback.

    ``what`` says what happened, ``expected`` what should have been there, and ``remedy`` the
    next thing to do (a command where there is one).  Raise it ``from`` the original exception.
    """

    def __init__(self, what: str, *, expected: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.what]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.remedy:
            lines.append(f"  to mend it: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.expected, self.remedy, self.__dict__)


def _rebuild(
    kind: type[MigrationError], what: str, expected: str, remedy: str, state: dict[str, object]
) -> MigrationError:
    """Make an error again in another process, whatever its class's own signature is."""
    error = kind.__new__(kind)
    MigrationError.__init__(error, what, expected=expected, remedy=remedy)
    error.__dict__.update(state)
    return error


class SettingsError(MigrationError):
    """A setting is wrong; the message names the file, the key and the accepted values."""


class VerificationError(MigrationError):
    """A change was applied, but the world does not show it."""
