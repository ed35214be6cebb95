"""Waiting for long-running operations by name, so that a crash loses none of them."""

import time
from collections.abc import Iterator
from typing import Any

from lib.cloud.errors import (
    NotFound,
    OperationCancelled,
    OperationFailed,
    Situation,
    TookTooLong,
    after_failure,
    read_details,
    translate,
)
from lib.cloud.target import Polling
from lib.engine.actions import Journal


def pauses(polling: Polling, what: str, journal: Journal | None = None) -> Iterator[float]:
    """Give the seconds waited so far, then pause a little longer each time.

    Reports progress and stops at safe points; raises ``TookTooLong`` past the deadline.
    """
    began = time.monotonic()
    pause = polling.initial
    while True:
        waited = time.monotonic() - began
        if journal is not None:
            journal.safe_point()
            journal.progress(what, waited, None, "seconds")
        yield waited
        if waited > polling.deadline:
            raise TookTooLong(
                f"{what} was not ready after {polling.deadline:.0f} seconds.",
                remedy="run again: the wait goes on where it stopped",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, polling.maximum)


def patiently(polling: Polling) -> Any:
    """The retry of calls that change nothing: an unreachable service is asked again."""
    from google.api_core.exceptions import ServiceUnavailable
    from google.api_core.retry import Retry, if_exception_type

    return Retry(
        predicate=if_exception_type(ServiceUnavailable),
        initial=polling.initial,
        maximum=polling.maximum,
        timeout=polling.patience,
    )


def wait(
    client: Any, name: str, situation: Situation, polling: Polling, journal: Journal | None = None
) -> None:
    """Wait until the operation called ``name`` is done.

    Raises what the operation failed with, ``NotFound`` where it is lost, ``TookTooLong`` past the
    deadline.  A server that can't be reached is asked again for ``polling.patience`` seconds.
    """
    from google.api_core.exceptions import GatewayTimeout, GoogleAPIError, ServiceUnavailable

    reached = time.monotonic()
    for _ in pauses(polling, situation.subject, journal):
        try:
            operation = client.transport.operations_client.get_operation(
                name, retry=None, timeout=polling.call
            )
        except (ServiceUnavailable, GatewayTimeout) as error:
            if time.monotonic() - reached > polling.patience:
                raise translate(error, situation) from error
            continue
        except GoogleAPIError as error:
            raise translate(error, situation) from error
        reached = time.monotonic()
        if operation.done:
            _raise_failure(operation, situation)
            return


def _raise_failure(operation: Any, situation: Situation) -> None:
    from google.api_core.exceptions import Cancelled, from_grpc_status

    if not operation.HasField("error"):
        return
    status = operation.error
    original = from_grpc_status(  # type: ignore[no-untyped-call]
        status.code, status.message, errors=(status,)
    )
    if isinstance(original, Cancelled):
        raise OperationCancelled(
            f"{situation.subject}: the operation {operation.name} was cancelled by somebody.",
            expected="nobody to cancel what the migration waits for",
            remedy="find out who did and why (audit logs: protoPayload.methodName: "
            "CancelOperation), then run again: what it left half made is looked at first",
        ) from original
    meant = translate(original, situation)
    if meant.transient or isinstance(meant, NotFound):
        # Nothing passes by itself here: the operation is over.
        raise OperationFailed(
            f"{situation.subject}: the operation {operation.name} failed: {status.message}",
            expected="the operation to succeed",
            remedy=after_failure(read_details(original), situation),
        ) from original
    raise meant from original
