"""The seven criteria: what each measures on the target, and the row of evidence it gives."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from lib.errors import MigrationError
from lib.orchestra.platform import API_TOKEN, Platform
from lib.orchestra.stopwatch import Stopwatch
from lib.orchestra.vectors import NothingToSearch, Vectors
from lib.report.model import Beside, CriterionRow, Figure, LeftOut
from lib.report.quantiles import percentile


class Outputs(Protocol):
    """What steps have published."""

    def output(self, step: str, name: str) -> Any:
        """One value of one step."""
        ...


class CriterionBreached(MigrationError):
    """At least one criterion does not hold."""


class Evidence:
    """Measures each criterion; what can't be measured gives a row that fails and says why."""

    def __init__(self, platform: Platform, outputs: Outputs, settings: Any) -> None:
        self._platform = platform
        self._outputs = outputs
        self._settings = settings

    def rows(self, clock: Stopwatch) -> list[CriterionRow | LeftOut]:
        """All seven."""
        return [
            self.organization(clock),
            self.workstation_cluster(clock),
            self.agent_storage(clock),
            self.agent_memory(clock),
            self.vector_search(clock),
            self.api(clock),
            self.workstation_start(clock),
        ]

    # -- existence and access ------------------------------------------------------------------

    def organization(self, clock: Stopwatch) -> CriterionRow | LeftOut:
        """1: the project's parent is the organization."""
        project = self._settings.project
        wanted = f"organizations/{project.organization}"
        seen: list[str] = []
        action = self._platform.cloud.project(project)
        return self._exists(
            1, "Project's organization", wanted, clock, lambda: seen.append(_parent(action)), seen
        )

    def workstation_cluster(self, clock: Stopwatch) -> CriterionRow | LeftOut:
        """2: the workstation cluster exists and its configuration has the GPUs."""
        settings, cloud = self._settings, self._platform.cloud
        machines = settings.workstations
        wanted = f"{machines.cluster}: {machines.accelerator_count} x {machines.accelerator}"
        cluster = cloud.workstation_cluster(settings.project, settings.network, machines)
        config = cloud.workstation_config(settings.project, machines)
        seen: list[str] = []

        def ask() -> None:
            seen.append(_gpus(cluster, config))

        return self._exists(2, "Workstations with GPUs", wanted, clock, ask, seen)

    def agent_storage(self, clock: Stopwatch) -> CriterionRow | LeftOut:
        """3: the AlloyDB cluster exists and a query answers."""
        from lib.orchestra.connectivity import query_database

        settings = self._settings
        name = settings.alloydb.cluster
        cluster = self._platform.cloud.alloydb_cluster(
            settings.project, settings.network, settings.alloydb, str
        )
        seen: list[str] = []

        def ask() -> None:
            query_database(self._platform, self._outputs)
            found: Any = cluster.observe()
            seen.append(f"{name} answers" if found is not None else "absent")

        return self._exists(3, "AlloyDB cluster", f"{name} answers", clock, ask, seen)

    def agent_memory(self, clock: Stopwatch) -> CriterionRow | LeftOut:
        """4: the Redis instance exists and gives back what is written."""
        from lib.orchestra.connectivity import write_and_read_redis

        settings = self._settings
        name = settings.redis.instance
        instance = self._platform.cloud.redis_instance(
            settings.project, settings.network, settings.redis
        )
        seen: list[str] = []

        def ask() -> None:
            write_and_read_redis(self._platform, self._outputs)
            found: Any = instance.observe()
            seen.append(f"{name} answers" if found is not None else "absent")

        return self._exists(4, "Redis instance", f"{name} answers", clock, ask, seen)

    def _measured(
        self, row: CriterionRow, measure: Callable[[], dict[str, Any]]
    ) -> CriterionRow | LeftOut:
        """The row with what was measured; an expected failure is the reason why nothing was."""
        if str(row.number) in self._settings.criteria.left_out:
            return LeftOut(row.number, row.subject, "[criteria] left_out names it")
        try:
            return replace(row, **measure())
        except NothingToSearch as error:
            return LeftOut(row.number, row.subject, error.what)
        except MigrationError as error:
            return replace(row, reason=" ".join(str(error).split()))

    def _exists(
        self,
        number: int,
        subject: str,
        wanted: str,
        clock: Stopwatch,
        ask: Callable[[], None],
        seen: list[str],
    ) -> CriterionRow | LeftOut:
        return self._measured(
            CriterionRow(number, subject, "state", wanted, "", "==", None, samples_unit="ms"),
            lambda: {
                "samples": _ms(clock(ask, rounds=3, warmup=0)),
                "observed": next((each for each in seen if each != wanted), wanted),
            },
        )

    # -- latency ---------------------------------------------------------------------------------

    def vector_search(self, clock: Stopwatch) -> CriterionRow | LeftOut:
        """5: a search answers in time at the 99th percentile, and finds what is near."""
        wanted = self._settings.criteria
        where = "" if self._settings.vectors.backend == "alloydb" else ", Vertex AI"
        row = CriterionRow(
            5, f"Vector search latency{where}", "p99", wanted.vector_search_p99_ms, "ms", "<", None,
            samples_needed=200,
        )  # fmt: skip

        def measure() -> dict[str, Any]:
            from lib.orchestra.vertex import Vertex

            vectors = Vectors(self._platform.database(self._outputs), self._platform)
            samples, recall = vectors.measure(
                clock,
                wanted.vector_search_samples,
                self._settings.vectors,
                Vertex(vectors.database, self._settings) if where else None,
            )
            beside = Beside("recall@10", recall, ">=", wanted.vector_search_recall)
            return {
                "samples": _ms(samples),
                "observed": percentile(_ms(samples), 99) if samples else None,
                "beside": (beside,),
            }

        return self._measured(row, measure)

    def api(self, clock: Stopwatch) -> CriterionRow | LeftOut:
        """6: the API answers in time at the 99th percentile, without an error."""
        from lib.api import probe

        wanted = self._settings.criteria
        row = CriterionRow(
            6, "API response time", "p99", wanted.api_p99_ms, "ms", "<", None, samples_needed=200
        )

        def measure() -> dict[str, Any]:
            uri = self._outputs.output("agent-api", "uri")
            token = self._platform.secret(API_TOKEN)
            loads: list[probe.ApiMeasurement] = []
            clock(
                lambda: loads.append(probe.measure(uri, token, samples=wanted.api_samples)),
                rounds=1,
                warmup=0,
            )
            samples, errors = loads[0].latencies_ms, len(loads[0].errors)
            rate = errors / max(1, len(samples) + errors)
            return {
                "samples": samples if clock.timed else (),
                "observed": percentile(samples, 99) if samples else None,
                "beside": (Beside("error rate", rate, "<=", wanted.api_error_rate),),
            }

        return self._measured(row, measure)

    def workstation_start(self, clock: Stopwatch) -> CriterionRow | LeftOut:
        """7: every cold start of the workstation is fast enough."""
        from lib.orchestra.workstations import ColdStart

        wanted, settings = self._settings.criteria, self._settings
        starts = wanted.workstation_cold_starts
        row = CriterionRow(
            7, "Workstation start", "max", wanted.workstation_start_seconds, "s", "<", None,
            samples_needed=max(1, starts),
        )  # fmt: skip

        def measure() -> dict[str, Any]:
            cold = ColdStart(self._platform.cloud, settings.project, settings.workstations)
            try:
                samples = tuple(clock(cold.start, rounds=starts, warmup=0, setup=cold.stop))
            finally:
                cold.stop()
            return {"samples": samples, "observed": max(samples, default=None)}

        return self._measured(row, measure)


def _ms(seconds: Iterable[float]) -> tuple[float, ...]:
    return tuple(1000 * each for each in seconds)


def _parent(project: Any) -> str:
    found = project.observe()
    return "absent" if found is None else str(found.parent)


def _gpus(cluster: Any, config: Any) -> str:
    there, found = cluster.observe(), config.observe()
    if there is None or found is None:
        return "absent"
    accelerators = found.host.gce_instance.accelerators
    name = there.name.rpartition("/")[2]
    return f"{name}: " + ", ".join(f"{each.count} x {each.type_}" for each in accelerators)


def _told(row: CriterionRow) -> str:
    """What failed, with the figures that were seen."""
    told = f"{row.number} {row.subject}: {row.failure}"
    if row.observed is None:
        return told
    figures = [_figure(row.statistic, row.observed, row.comparison, row.threshold)]
    figures += [_figure(b.subject, b.observed, b.comparison, b.threshold) for b in row.beside]
    return f"{told}: {', '.join(figures)}"


def _figure(what: str, value: Figure | None, comparison: str, threshold: Figure) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{what} {shown} (wanted {comparison} {threshold})"


def require_all(rows: Sequence[CriterionRow | LeftOut]) -> list[CriterionRow]:
    """The rows that were measured, if all hold; raises ``CriterionBreached`` naming the others."""
    measured = [row for row in rows if isinstance(row, CriterionRow)]
    breached = [row for row in measured if not row.passed]
    if breached:
        told = "; ".join(map(_told, breached))
        raise CriterionBreached(
            f"{len(breached)} of {len(measured)} criteria do not hold: {told}.",
            expected="all of them hold",
            remedy="pytest validation/ --benchmark-only shows each with its samples",
        )
    return measured
