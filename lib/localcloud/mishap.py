"""What the faults that strike one call do to it: before its effect, while it reads, after it."""

import logging
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2

from lib.localcloud import errors
from lib.localcloud.faults import ON_OPERATIONS, Standing
from lib.localcloud.operations import Mishap, mishap_of_this_call
from lib.localcloud.store import Store

log = logging.getLogger(__name__)

DESCRIPTORS: Final = ("/proc/self/fd", "/dev/fd")


class Mishaps:
    """The faults of one call, struck at their time; ``cut`` ends the caller's connection."""

    def __init__(self, faults: Sequence[Standing], store: Store, cut: Callable[[], None]) -> None:
        self._faults = faults
        self._store = store
        self._cut = cut

    @contextmanager
    def around(self) -> Iterator[None]:
        """Strike before the effect, let the call be made inside, strike after it.

        Raises ``RpcError``.
        """
        self._strike("before")
        with ExitStack() as stack:
            for each in self._faults:
                if each.fault.effect == "stale-read":
                    stack.enter_context(self._store.as_it_was(each.id))
                if each.fault.effect in ON_OPERATIONS:
                    token = mishap_of_this_call.set(_of_operation(each))
                    stack.callback(mishap_of_this_call.reset, token)
            yield
        self._strike("after")

    def _strike(self, when: str) -> None:
        for fault in (each.fault for each in self._faults):
            if fault.when != when:
                continue
            log.info("fault: %s", fault.told())
            if fault.effect == "delay":
                time.sleep(fault.seconds)
            elif fault.effect == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault.effect == "cut":
                self._cut()
                raise errors.RpcError(code_pb2.UNAVAILABLE, fault.message)
            elif fault.effect == "error":
                raise error_of(fault.code, fault.message, fault.reason)


def error_of(code: str, message: str, reason: str = "") -> errors.RpcError:
    """The error that a fault asks for, with the details that its code comes with."""
    number = code_pb2.Code.Value(code)
    details: list[Message] = []
    if reason:
        details.append(error_details_pb2.ErrorInfo(reason=reason, domain="googleapis.com"))
    elif code == "RESOURCE_EXHAUSTED":
        violation = error_details_pb2.QuotaFailure.Violation(subject="quota", description=message)
        details.append(error_details_pb2.QuotaFailure(violations=[violation]))
    return errors.RpcError(number, message, *details)


def _of_operation(standing: Standing) -> Mishap:
    fault = standing.fault
    error = error_of(fault.code, fault.message, fault.reason)
    return Mishap(fault.effect, fault.when, standing.id, error.status.SerializeToString().hex())


def cut_connection(peer: str) -> None:
    """Shut the socket of ours that is connected to ``peer``, as ``ipv4:127.0.0.1:41234``."""
    host, _, port = peer.removeprefix("ipv4:").rpartition(":")
    folder = next(path for path in DESCRIPTORS if os.path.isdir(path))
    for name in os.listdir(folder):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.getpeername()[:2] == (host, int(port)):
                    found.shutdown(socket.SHUT_RDWR)
                    return
        except OSError:
            continue
