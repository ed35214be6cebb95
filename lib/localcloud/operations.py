"""Long-running operations that survive a kill: accepted in a transaction, resumed at start."""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Any, Final

from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from lib.errors import MigrationError
from lib.localcloud import errors
from lib.localcloud.store import OperationRow, Store

log = logging.getLogger(__name__)

Finish = Callable[[], Message]
Work = Callable[[OperationRow], Finish]
SCOPE: Final = "mishap"
CANCELLED: Final = "cancelled-operation"
MAKING: Final = ("Create", "Insert")
"""Operations whose work can be taken back, so they are cancelled until their very end."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """What a fault does to one operation; ``error`` is a ``google.rpc.Status`` as hexadecimal."""

    effect: str
    when: str
    fault: int
    error: str

    @property
    def told(self) -> errors.RpcError:
        """The error that the operation ends with."""
        status = status_pb2.Status.FromString(bytes.fromhex(self.error))
        return errors.RpcError(status.code, status.message)


mishap_of_this_call: ContextVar[Mishap | None] = ContextVar("mishap", default=None)
"""Set around a call whose operation a fault strikes."""


class Operations:
    """Accepts, runs and reports operations.

    ``workers`` finds the function that does an operation's work.  The work must be repeatable:
    after a kill it runs again from the beginning.  What it returns is called in the transaction
    that marks the operation done, and yields the response.
    """

    def __init__(
        self,
        store: Store,
        seconds: float,
        work: Callable[[OperationRow], Finish],
        fail: Callable[[OperationRow, errors.RpcError], None],
        metadata: Callable[[OperationRow], Message | None],
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._work = work
        self._fail = fail
        self._metadata = metadata
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="operation")
        self._stopping = threading.Event()
        self._finished = threading.Condition()

    def accept(
        self, *, name: str, service: str, rpc: str, kind: str, target: str, payload: bytes = b""
    ) -> OperationRow:
        """Keep a new operation; call in the transaction that changes its resource."""
        row = OperationRow(name, service, rpc, kind, target, payload, time.time(), None, None, None)
        self._store.put_operation(row)
        mishap = mishap_of_this_call.get()
        if mishap is not None:
            self._store.put_fact(SCOPE, name, json.dumps(asdict(mishap)).encode())
        return row

    def mishap(self, name: str) -> Mishap | None:
        """What a fault does to the operation of that name."""
        told = self._store.fact(SCOPE, name)
        return Mishap(**json.loads(told)) if told else None

    def require(self, name: str) -> OperationRow:
        """The operation of that name; NOT_FOUND where there is none, or nobody is to know it."""
        row = self._store.operation(name)
        if row is None or self.lost(name):
            raise errors.not_found(name, "Operation")
        return row

    def lost(self, name: str) -> bool:
        """Whether nobody is to know the operation any more."""
        mishap = self.mishap(name)
        return mishap is not None and mishap.effect == "operation-lost"

    def release(self, stands: Callable[[int], bool]) -> None:
        """Let hanging operations go on whose fault does not stand any more."""
        for name in self._store.facts(SCOPE):
            mishap = self.mishap(name)
            row = self._store.operation(name)
            if mishap is None or mishap.effect != "operation-hangs" or stands(mishap.fault):
                continue
            self._store.drop_fact(SCOPE, name)
            if row is not None and row.done is None:
                self.begin(row)

    def cancel(self, name: str) -> None:
        """Ask an operation to stop; one that is done, or past the point of return, is as it is.

        Raises NOT_FOUND where there is none.
        """
        with self._store.transaction():
            row = self.require(name)
            if row.done is not None:
                return
            self._store.put_fact(CANCELLED, name, b"asked for")
            mishap = self.mishap(name)
            hangs = mishap is not None and mishap.effect == "operation-hangs"
            if hangs:
                self._store.drop_fact(SCOPE, name)
        if hangs:
            self.begin(row)
        with self._finished:
            self._finished.notify_all()

    def cancelled(self, name: str) -> bool:
        """Whether somebody asked the operation to stop."""
        return self._store.fact(CANCELLED, name) is not None

    def forget(self, name: str) -> None:
        """Forget an operation with all that is known of it."""
        with self._store.transaction():
            self._store.delete_operation(name)
            for scope in (SCOPE, CANCELLED):
                self._store.drop_fact(scope, name)

    def begin(self, row: OperationRow) -> None:
        """Start working; call after the transaction that accepted the operation."""
        self._pool.submit(self._run, row)

    def resume(self) -> int:
        """Start every operation that an earlier server left under way; returns how many."""
        rows = self._store.open_operations()
        for row in rows:
            self.begin(row)
        return len(rows)

    def stop(self) -> None:
        """Take up no more work; what is under way is resumed by the next server."""
        self._stopping.set()
        with self._finished:
            self._finished.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def wait(self, name: str, seconds: float) -> OperationRow:
        """The operation once it is done, or as it is after ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._finished:
            while True:
                row = self._store.operation(name)
                if row is None:
                    raise errors.not_found(name, "Operation")
                left = deadline - time.monotonic()
                if row.done is not None or left <= 0:
                    return row
                self._finished.wait(min(left, 1.0))

    def message(self, row: OperationRow) -> operations_pb2.Operation:
        """The operation on the wire."""
        operation = operations_pb2.Operation(name=row.name, done=row.done is not None)
        metadata = self._metadata(row)
        if metadata is not None:
            operation.metadata.Pack(metadata)
        if row.error is not None:
            operation.error.CopyFrom(status_pb2.Status.FromString(row.error))
        elif row.response is not None:
            operation.response.ParseFromString(row.response)
        return operation

    def _run(self, row: OperationRow) -> None:
        mishap = self.mishap(row.name)
        if mishap is not None and mishap.effect == "operation-hangs":
            return
        try:
            if mishap is not None and mishap.when == "before":
                raise mishap.told
            making = row.rpc.startswith(MAKING)
            if not making and not self._time_passed(row):
                return
            finish = self._work(row)
            if making and not self._time_passed(row):
                return
            with self._store.transaction():
                if making and self.cancelled(row.name):
                    raise errors.cancelled(row.name)
                response = packed(finish())
                failed = mishap is not None and mishap.effect == "operation-fails"
                told = bytes.fromhex(mishap.error) if mishap is not None and failed else None
                self._store.finish_operation(
                    row.name, time.time(), told, None if failed else response
                )
        except errors.RpcError as error:
            self._failed(row, error)
        except MigrationError as error:
            self._failed(row, errors.behind(error))
        except Exception as error:
            log.exception("operation %s on %s failed", row.rpc, row.target)
            self._failed(row, errors.internal(f"{type(error).__name__}: {error}"))
        with self._finished:
            self._finished.notify_all()

    def _time_passed(self, row: OperationRow) -> bool:
        """Wait as long as operations last; False where the server stops before.

        Raises CANCELLED as soon as somebody asks for it.
        """
        due = row.created + self._seconds
        with self._finished:
            while not self._stopping.is_set():
                if self.cancelled(row.name):
                    raise errors.cancelled(row.name)
                left = due - time.time()
                if left <= 0:
                    return True
                self._finished.wait(min(left, 1.0))
        return False

    def _failed(self, row: OperationRow, error: errors.RpcError) -> None:
        if self._stopping.is_set():
            return
        log.warning("operation %s on %s failed: %s", row.rpc, row.target, error.message)
        with self._store.transaction():
            self._fail(row, error)
            self._store.finish_operation(
                row.name, time.time(), error.status.SerializeToString(), None
            )


def packed(message: Message) -> bytes:
    """A message as the bytes of an ``Any``."""
    holder = operations_pb2.Operation()
    holder.response.Pack(message)
    content: bytes = holder.response.SerializeToString()
    return content


def new_name(parent: str) -> str:
    """A fresh operation name below ``parent`` (empty for the root)."""
    own = f"operations/operation-{time.time_ns() // 1_000_000}-{uuid.uuid4().hex[:16]}"
    return f"{parent}/{own}" if parent else own


def standard_metadata(
    row: OperationRow, kind: type[Message] | None, *, cancelled: bool
) -> Message | None:
    """The usual metadata fields, as far as the API's metadata type has them."""
    if kind is None:
        return None
    metadata: Any = kind()
    fields = kind.DESCRIPTOR.fields_by_name
    if "create_time" in fields:
        metadata.create_time.FromNanoseconds(int(row.created * 1e9))
    if "end_time" in fields and row.done is not None:
        metadata.end_time.FromNanoseconds(int(row.done * 1e9))
    for field, value in (
        ("target", row.target), ("verb", _verb(row.rpc)), ("api_version", "v1"),
        ("requested_cancellation", cancelled), ("cancel_requested", cancelled),
    ):  # fmt: skip
        if field in fields and fields[field].message_type is None:
            setattr(metadata, field, value)
    return metadata


def _verb(rpc: str) -> str:
    for verb in ("create", "update", "delete", "start", "stop"):
        if rpc.lower().startswith(verb):
            return verb
    return rpc.lower()
