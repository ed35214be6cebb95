"""The first Ctrl-C or SIGTERM lets running steps reach a safe point; a second one stops at once."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from lib.plugin.session import MigrationSession

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stops_at_safe_points(migration: MigrationSession) -> Iterator[None]:
    """Hold the signals while items run; where no step is at work there is nothing to wait for."""

    def stop(number: int, _: object) -> None:
        workers = migration.scheduling
        at_work = migration.at_work or (workers is not None and workers.has_pending)
        if migration.run.interrupted or not at_work:
            if workers is not None:
                workers.stop_workers()
            raise KeyboardInterrupt(signal.Signals(number).name)
        migration.run.interrupt()
        migration.lines.line(
            "stopping at the next safe point; what is done stays done (again to stop at once)"
        )
        if workers is not None:
            workers.ask_workers_to_stop()

    before = {each: signal.signal(each, stop) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def listen_as_worker(migration: MigrationSession) -> None:
    """In a worker: Ctrl-C reaches the controller, which sends SIGTERM to those that work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: migration.run.interrupt())


def send(pid: int, number: signal.Signals) -> None:
    """Send a worker a signal; one that is gone already needs none."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
