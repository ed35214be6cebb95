"""Keeps what runs behind the resources running: at start, and again after a crash."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from lib.localcloud.core import Core
from lib.localcloud.errors import RpcError
from lib.localcloud.kind import Kind

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 0.5
FIRST_DELAY_SECONDS: Final = 1.0
LONGEST_DELAY_SECONDS: Final = 60.0


class Supervisor:
    """Watches every runtime and starts it again with growing delays."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._stopping = threading.Event()
        self._delays: dict[str, tuple[float, float]] = {}
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def revive(self) -> None:
        """Start everything that should run and does not; failures are logged and tried later."""
        for kind, name, _ in list(self._backed()):
            with self._core.guard(name):
                pb = None if self._busy(kind, name) else kind.find(name)
                if pb is not None:
                    self._ensure(kind, name, pb)

    def halt(self) -> None:
        """Stop every runtime, keeping its data."""
        for kind, name, pb in list(self._backed()):
            try:
                kind.halt(pb)
            except Exception:
                log.exception("cannot stop what runs behind %s", name)

    def discard(self) -> None:
        """Remove every runtime with its data."""
        for kind, name, pb in list(self._backed()):
            log.info("removing what is behind %s", name)
            kind.remove(pb)

    def _watch(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            try:
                self._core.operations.release(self._core.faults.stands)
                self.revive()
            except Exception:
                log.exception("supervision failed")

    def _backed(self) -> Iterator[tuple[Kind, str, Any]]:
        for service in self._core.services_in_use():
            for kind in service.of_kind.values():
                if kind.backed:
                    for name, pb in kind.everything():
                        yield kind, name, pb

    def _busy(self, kind: Kind, name: str) -> bool:
        """Whether an operation works on the resource or on something above it."""
        return any(
            row.service == kind.service.name and f"{name}/".startswith(f"{row.target}/")
            for row in self._core.store.open_operations()
        )

    def _ensure(self, kind: Kind, name: str, pb: Any) -> None:
        due, delay = self._delays.get(name, (0.0, FIRST_DELAY_SECONDS))
        if kind.alive(pb):
            if time.monotonic() > due + delay:
                self._delays.pop(name, None)
            return
        if time.monotonic() < due:
            return
        self._delays[name] = (time.monotonic() + delay, min(delay * 2, LONGEST_DELAY_SECONDS))
        log.warning("starting what runs behind %s", name)
        try:
            kind.revive(pb)
        except RpcError as error:
            log.error("%s: %s", name, error.message)
        except Exception:
            log.exception("cannot start what runs behind %s", name)
