"""What a circuit breaker raises itself."""

from datetime import datetime

from lib.errors import MigrationError


class CircuitConfigError(MigrationError, ValueError):
    """A circuit breaker's setting is out of range, or a name is used with two settings."""


class CircuitOpenError(MigrationError):
    """A call was not made, because its circuit is open; the last failures are its cause.

    ``circuit`` is the breaker's name, ``retry_after`` the seconds until a call may be tried
    (None when that depends on others: forced open, or trial calls under way), ``until`` the
    same moment as a UTC time, ``failures`` the last exceptions that were recorded.
    """

    def __init__(
        self,
        what: str,
        *,
        expected: str = "",
        remedy: str = "",
        circuit: str = "",
        retry_after: float | None = None,
        until: datetime | None = None,
        failures: tuple[BaseException, ...] = (),
        transient: bool = True,
    ) -> None:
        super().__init__(what, expected=expected, remedy=remedy)
        self.circuit = circuit
        self.retry_after = retry_after
        self.until = until
        self.failures = failures
        self.transient = transient
        self.__cause__ = _one(circuit, failures)


def _one(circuit: str, failures: tuple[BaseException, ...]) -> BaseException | None:
    if len(failures) < 2:
        return failures[0] if failures else None
    return BaseExceptionGroup(f"last failures of circuit '{circuit}'", failures)
