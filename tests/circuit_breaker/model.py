"""A circuit breaker as resilience4j's documentation tells it, with nothing but plain lists."""

from dataclasses import dataclass, field

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


@dataclass
class Model:
    """Keeps every outcome of the present state and computes rates from scratch."""

    size: int
    minimum: int
    time_based: bool
    failure_rate: float
    slow_rate: float
    wait: float
    permitted: int
    longest_trial: float
    state: str = CLOSED
    visit: int = 0
    entered: float = 0.0
    issued: int = 0
    outcomes: list[tuple[float, bool, bool]] = field(default_factory=list)

    def enter(self, state: str, now: float) -> None:
        self.state, self.entered, self.issued = state, now, 0
        self.visit += 1
        self.outcomes = []

    def pass_time(self, now: float) -> None:
        if self.state == HALF_OPEN and now >= self.entered + self.longest_trial:
            self.enter(OPEN, self.entered + self.longest_trial)

    def ask(self, now: float) -> int | None:
        """Give the visit that a permitted call belongs to, or None."""
        self.pass_time(now)
        if self.state == OPEN and now >= self.entered + self.wait:
            self.enter(HALF_OPEN, now)
        if self.state == OPEN:
            return None
        if self.state == HALF_OPEN:
            if self.issued == self.permitted:
                return None
            self.issued += 1
        return self.visit

    def give_back(self, visit: int) -> None:
        if visit == self.visit and self.state == HALF_OPEN:
            self.issued -= 1

    def finish(self, visit: int, failed: bool, slow: bool, now: float) -> None:
        self.pass_time(now)
        if visit != self.visit or self.state == OPEN:
            return
        self.outcomes.append((now, failed, slow))
        window = self.window(now)
        enough = self.permitted
        if self.state == CLOSED:
            enough = self.minimum if self.time_based else min(self.minimum, self.size)
        if len(window) < enough:
            return
        failures = 100 * sum(failed for _, failed, _ in window) / len(window)
        slows = 100 * sum(slow for _, _, slow in window) / len(window)
        if failures >= self.failure_rate or slows >= self.slow_rate:
            self.enter(OPEN, now)
        elif self.state == HALF_OPEN:
            self.enter(CLOSED, now)

    def window(self, now: float) -> list[tuple[float, bool, bool]]:
        if self.state == HALF_OPEN:
            return self.outcomes
        if self.time_based:
            return [one for one in self.outcomes if int(one[0]) > int(now) - self.size]
        return self.outcomes[-self.size :]
