"""Counters, gauges and histograms, written as Prometheus text; needs no library."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """What one process counted since it started; used from its event loop alone."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._requests: dict[tuple[str, str, int], int] = defaultdict(int)
        self._durations: dict[tuple[str, str], list[int]] = {}
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._cache: dict[str, int] = defaultdict(int)
        self._searches: dict[tuple[str, bool], int] = defaultdict(int)
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.gauge("api_requests_in_flight", "Requests under way.", lambda: self.in_flight)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one finished request."""
        self._requests[method, route, status] += 1
        buckets = self._durations.setdefault((method, route), [0] * (len(_BOUNDS) + 1))
        buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[method, route] += seconds

    def cache(self, outcome: str) -> None:
        """Count one look into the cache: ``hit``, ``miss`` or ``unavailable``."""
        self._cache[outcome] += 1

    def search(self, backend: str, *, fallback: bool) -> None:
        """Count one search by who answered; ``fallback``: it was asked as another could not."""
        self._searches[backend, fallback] += 1

    def gauge(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Offer a value that is read when the metrics are."""
        self._gauges[name] = (about, read)

    def render(self) -> str:
        """The metrics in Prometheus' text format 0.0.4."""
        lines = [
            "# HELP api_requests_total Finished requests.",
            "# TYPE api_requests_total counter",
        ]
        for (method, route, status), count in sorted(self._requests.items()):
            labels = _labels(method=method, route=route, status=str(status))
            lines.append(f"api_requests_total{labels} {count}")
        lines += self._histogram()
        lines += ["# HELP api_cache_total Looks into the cache.", "# TYPE api_cache_total counter"]
        for outcome, count in sorted(self._cache.items()):
            lines.append(f"api_cache_total{_labels(outcome=outcome)} {count}")
        lines += [
            "# HELP api_search_total Vector searches by the backend that answered.",
            "# TYPE api_search_total counter",
        ]
        for (backend, fallback), count in sorted(self._searches.items()):
            labels = _labels(backend=backend, fallback=str(fallback).lower())
            lines.append(f"api_search_total{labels} {count}")
        for name, (about, read) in self._gauges.items():
            lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {read():g}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name = "api_request_seconds"
        lines = [f"# HELP {name} Duration of requests in seconds.", f"# TYPE {name} histogram"]
        for (method, route), buckets in sorted(self._durations.items()):
            total = 0
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), buckets, strict=True):
                total += count
                labels = _labels(method=method, route=route, le=bound)
                lines.append(f"{name}_bucket{labels} {total}")
            labels = _labels(method=method, route=route)
            lines.append(f"{name}_sum{labels} {self._seconds[method, route]:.6f}")
            lines.append(f"{name}_count{labels} {total}")
        return lines


def _labels(**labels: str) -> str:
    escaped = (
        value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        for value in labels.values()
    )
    pairs = zip(labels, escaped, strict=True)
    return "{" + ",".join(f'{name}="{value}"' for name, value in pairs) + "}"
