"""What times a measurement: pytest-benchmark in validation, a plain clock in the phases."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol


class Stopwatch(Protocol):
    """Times calls one after the other; ``timed`` is false where benchmarks are switched off."""

    @property
    def timed(self) -> bool:
        """Whether there are samples."""
        ...

    def __call__(
        self,
        call: Callable[[], object],
        *,
        rounds: int,
        warmup: int,
        setup: Callable[[], object] | None = None,
    ) -> Sequence[float]:
        """Seconds of each round; ``setup`` runs before each and is not counted."""
        ...


class PlainStopwatch:
    """A stopwatch without pytest-benchmark, which the suite in ``validation/`` uses instead."""

    timed = True

    def __call__(
        self,
        call: Callable[[], object],
        *,
        rounds: int,
        warmup: int,
        setup: Callable[[], object] | None = None,
    ) -> Sequence[float]:
        """Seconds of each round."""
        samples = []
        for number in range(warmup + rounds):
            if setup is not None:
                setup()
            began = time.perf_counter()
            call()
            if number >= warmup:
                samples.append(time.perf_counter() - began)
        return samples
