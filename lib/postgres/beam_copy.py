"""A copy by an Apache Beam pipeline: launched here, watched in the target's bookkeeping.

Nothing that a runner reports is relied upon: a chunk is copied when the target says so, for its
rows and this word were committed together.  So progress, failures and the end look the same on
every runner, and a chunk that a runner repeats is found done.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from lib.postgres import bookkeeping, errors, failures
from lib.postgres.beam import Beam
from lib.postgres.beam_worker import CopyChunk
from lib.postgres.catalog import Table
from lib.postgres.chunks import Chunk
from lib.postgres.database import Connection, Database, connect
from lib.postgres.errors import ConnectionLost, CopyFailed, PostgresError
from lib.postgres.reach import FromEnvironment, Reach
from lib.postgres.relay import Rate
from lib.postgres.snapshot import Snapshot

SOURCE_PASSWORD = "ORCHESTRA_BEAM_SOURCE_PASSWORD"
TARGET_PASSWORD = "ORCHESTRA_BEAM_TARGET_PASSWORD"
"""Where workers on this machine find the passwords while a pipeline runs."""

LOOK_LOCAL, LOOK_REMOTE = 0.25, 10.0
"""Seconds between two looks at the bookkeeping."""


class BeamWorkers:
    """Copies chunks under one snapshot, as ``Workers`` does, by the workers of a Beam pipeline."""

    def __init__(
        self,
        beam: Beam,
        snapshot: Snapshot,
        target: Database,
        *,
        count: int,
        rate: Rate,
        copied: Callable[[Chunk, int, int], None],
        safe_point: Callable[[], None],
    ) -> None:
        self._beam = beam
        self._snapshot = snapshot
        self._target = target
        self._count = count
        self._rate = rate
        self._copied = copied
        self._safe_point = safe_point

    def run(self, work: Sequence[tuple[Table, Chunk]]) -> None:
        """Copy every chunk; when it fails or is stopped no worker begins another one."""
        if not work:
            return
        missing = {chunk.key: chunk for _, chunk in work}
        job = _Job(self._pipeline(work))
        with self._passwords(), connect(self._target) as target:
            try:
                job.start()
                while not job.ended(LOOK_LOCAL if self._beam.local else LOOK_REMOTE):
                    self._look(target, missing)
                self._look(target, missing)
                if job.error is not None:
                    raise self._failure(target, job.error) from job.error
            except BaseException as error:
                self._stop(job, target)
                if isinstance(error, psycopg.Error):
                    raise failures.working("Watching the Beam pipeline", error) from error
                raise
        if missing:
            raise CopyFailed(
                f"The Beam pipeline ended, but {len(missing)} chunks are not on the target.",
                remedy="look at the job's log, then run the same command again",
            )

    def _pipeline(self, work: Sequence[tuple[Table, Chunk]]) -> Any:
        import apache_beam

        beam, source, target = self._beam, self._snapshot.database, self._target
        copy = CopyChunk(
            tables={table.identity: table for table, _ in work},
            source=Reach(
                (beam.source or source).named(source.name),
                beam.source_password or FromEnvironment(SOURCE_PASSWORD),
            ),
            target=Reach(
                (beam.target or target).named(target.name),
                beam.target_password or FromEnvironment(TARGET_PASSWORD),
            ),
            snapshot=self._snapshot.exported,
            places=self._count,
            rate=self._rate.bytes_per_second,
        )
        largest_first = sorted(work, key=lambda each: -each[0].bytes)
        pipeline = beam.pipeline(self._count)
        _ = (
            pipeline
            | "chunks" >> apache_beam.Create([chunk for _, chunk in largest_first])
            | "spread" >> apache_beam.Reshuffle()
            | "copy" >> apache_beam.Map(copy)
            | "count" >> apache_beam.Map(_count)
        )
        return pipeline

    @contextmanager
    def _passwords(self) -> Iterator[None]:
        """Passwords for workers on this machine, in its environment, while they are needed."""
        own = {
            SOURCE_PASSWORD: self._snapshot.database.password,
            TARGET_PASSWORD: self._target.password,
        }
        if self._beam.local:
            os.environ.update({name: value for name, value in own.items() if value})
        try:
            yield
        finally:
            for name in own:
                os.environ.pop(name, None)

    def _look(self, target: Connection, missing: dict[tuple[str, str, int], Chunk]) -> None:
        """Tell what was copied since; raises what ``safe_point`` raises, or a lost snapshot."""
        self._safe_point()
        if not self._snapshot.alive():
            raise ConnectionLost(
                "The session that keeps the source's snapshot was lost.",
                remedy="run the same command again; it goes on where it stopped",
            )
        for key, rows in bookkeeping.rows_under(target, self._snapshot.name).items():
            if (chunk := missing.pop(key, None)) is not None:
                self._copied(chunk, rows, chunk.bytes)

    def _failure(self, target: Connection, error: BaseException) -> PostgresError:
        """The failure that a worker wrote down, else what the runner says."""
        for told in bookkeeping.failures(target, self._snapshot.name):
            kind = getattr(errors, told.pop("kind"), CopyFailed)
            return kind(told.pop("what"), **told)
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return CopyFailed(
            f"The Beam pipeline failed: {said}",
            remedy="mend what the message or the job's log names, then run the same command again",
        )

    def _stop(self, job: "_Job", target: Connection) -> None:
        """End the job; the target refuses chunks of workers that don't know it yet."""
        job.cancel()
        with suppress(psycopg.Error):
            bookkeeping.unwant(target, self._snapshot.name)
        while not job.ended(LOOK_REMOTE):
            pass


class _Job:
    """A pipeline under way in a thread of its own, for some runners return only at the end."""

    def __init__(self, pipeline: Any) -> None:
        self.error: BaseException | None = None
        self._pipeline = pipeline
        self._result: Any = None
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beam", daemon=True)

    def start(self) -> None:
        """Submit the pipeline."""
        self._thread.start()

    def ended(self, seconds: float) -> bool:
        """Whether the job ended, waited for so long; ``error`` is why it failed."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Ask the runner to end the job, now or as soon as it has taken it."""
        self._cancelled.set()
        if self._result is not None and self._thread.is_alive():
            with suppress(Exception):
                self._result.cancel()

    def _run(self) -> None:
        try:
            self._result = self._pipeline.run()
            if self._cancelled.is_set():
                self.cancel()
            state = self._result.wait_until_finish()
            if state is not None and str(state) != "DONE":
                raise CopyFailed(f"the job ended as {state}")
        except BaseException as error:
            self.error = error


def _count(copied: tuple[int, int]) -> None:
    """Count on the runner's own pages; runs on workers."""
    from apache_beam.metrics import Metrics

    for name, more in zip(("rows", "bytes"), copied, strict=True):
        Metrics.counter("orchestra", name).inc(more)
