"""Reports for tests: made from the engine's own values, as the plugin makes them."""

import math
import random

from lib.engine.changes import NOTHING_TO_REMOVE, Change, ChangeKind, FieldChange
from lib.engine.run import Standing
from lib.engine.run import StepState as EngineState
from lib.engine.store import Checkpoint
from lib.report.build import StepDeclaration, build
from lib.report.model import Beside, ConnectionRow, CriterionRow, Report, StepRow, StepState

BEGIN = 1_795_500_000.0
COMPONENTS = {
    "initialization": ("environment-detection", "auth-validation", "dependency-check"),
    "infrastructure": ("core-infrastructure", "workstation-setup", "security-configuration"),
    "database": ("alloydb-setup", "schema-migration", "data-migration"),
    "vector_search": ("vector-index-creation", "vector-optimization", "circuit-breaker-setup"),
    "apis": ("api-deployment", "api-configuration", "api-testing"),
    "validation": ("connectivity-check", "performance-validation", "security-validation"),
    "finalization": ("cleanup", "documentation-update", "report-generation"),
}
FACTS = {
    "environment": "development",
    "target": "embedded",
    "endpoint": "127.77.13.1:8443",
    "project": "ai-orchestra-dev",
    "region": "us-west4",
    "protected": "no",
    "host": "own machine",
    "python": "3.11.2",
}


def latencies(count: int, middle: float, seed: int = 7) -> tuple[float, ...]:
    """Log-normal samples, as latencies are."""
    source = random.Random(seed)
    return tuple(middle * math.exp(source.gauss(0, 0.35)) for _ in range(count))


def criterion(samples: tuple[float, ...] = (), **changed: object) -> CriterionRow:
    """The vector search criterion, held at p99 with its recall beside it."""
    ordered = sorted(samples)
    values: dict[str, object] = {
        "number": 5,
        "subject": "vector search latency",
        "statistic": "p99",
        "threshold": 30.0,
        "unit": "ms",
        "comparison": "<",
        "observed": ordered[math.ceil(len(ordered) * 0.99) - 1] if ordered else None,
        "samples": samples,
        "beside": (Beside("recall@10", 0.981, ">=", 0.95),),
    }
    return CriterionRow(**{**values, **changed})  # type: ignore[arg-type]


def seven() -> tuple[CriterionRow, ...]:
    """All seven criteria as a good run measures them."""
    start, api = (9.1, 8.4, 12.7), latencies(300, 22.0, 3)

    def present(number: int, subject: str, wanted: str) -> CriterionRow:
        samples = latencies(5, 3.0, number)
        return CriterionRow(
            number, subject, "", wanted, "", "==", wanted, samples, samples_unit="ms"
        )

    return (
        present(1, "project's parent is the organization", "organizations/873291114285"),
        present(2, "workstation cluster ai-development with GPUs", "2 x nvidia-tesla-t4"),
        present(3, "AlloyDB cluster agent-storage answers a query", "READY"),
        present(4, "Redis instance agent-memory reads back a write", "READY"),
        criterion(latencies(300, 5.0)),
        criterion(
            api,
            number=6,
            subject="API response time",
            threshold=100.0,
            beside=(Beside("error rate", 0.0, "==", 0.0),),
            samples_needed=200,
        ),
        CriterionRow(
            7, "workstation start", "largest", 180.0, "s", "<", max(start), start, samples_needed=3
        ),
    )


def steps(per_component: int = 1) -> list[StepRow]:
    """Finished steps of run 7 in all components, the first phase done in run 6."""
    rows, at = [], BEGIN
    for phase, components in COMPONENTS.items():
        for component in components:
            for index in range(per_component):
                seconds = 41.3 if component == "data-migration" else 1.7 + len(component) / 9
                earlier = phase == "initialization"
                rows.append(
                    StepRow(
                        name=f"{component}-{index}",
                        title=f"What {component.replace('-', ' ')} makes true is true.",
                        phase=phase,
                        component=component,
                        state=StepState.SKIPPED_DONE if earlier else StepState.DONE,
                        reason="done 2026-11-24 03:11 in run 6" if earlier else "",
                        started_at=at - (3600 if earlier else 0),
                        seconds=seconds,
                        attempt=2 if component == "data-migration" else 1,
                        retries=3 if component == "alloydb-setup" else 0,
                        run=6 if earlier else 7,
                        changes=_changes(component),
                        notes=("32 tables, 2 workers",) if component == "data-migration" else (),
                    )
                )
                at += seconds
    return rows


def _changes(component: str) -> tuple[Change, ...]:
    if component == "data-migration":
        counted = {"tables": 32, "rows": 412_345, "bytes": 301_000_000}
        return (Change(ChangeKind.COPY, "PostgreSQL data", quantities=counted),)
    if component == "core-infrastructure":
        return (
            Change(ChangeKind.NONE, "project ai-orchestra-dev", reason="it is equal"),
            Change(ChangeKind.NONE, "replication orchestra", reason=NOTHING_TO_REMOVE),
            Change(ChangeKind.CREATE, "Cloud Run service agent-api"),
            Change(ChangeKind.NONE, "Cloud Run service agent-api: traffic", reason="it is equal"),
            Change(
                ChangeKind.UPDATE,
                "project's parent",
                irreversible=True,
                fields=(FieldChange("parent", "organizations/1", "organizations/873291114285"),),
            ),
        )
    if component == "alloydb-setup":
        return (Change(ChangeKind.CREATE, "AlloyDB cluster agent-storage"),)
    return ()


def report(
    rows: list[StepRow] | None = None, criteria: tuple[CriterionRow, ...] = (), **changed: object
) -> Report:
    """A report as the plugin builds it; rows that are done earlier come from checkpoints."""
    rows = steps() if rows is None else rows
    values: dict[str, object] = {
        "declared": [StepDeclaration(r.name, r.title, r.phase, r.component) for r in rows],
        "results": [r for r in rows if r.state is not StepState.SKIPPED_DONE],
        "standings": {r.name: standing(r) for r in rows if r.state is StepState.SKIPPED_DONE},
        "criteria": criteria,
        "environment": FACTS,
        "run": 7,
        "started_at": BEGIN,
        "finished_at": BEGIN + 190.0,
        "log": "migration_execution.log",
    }
    return build(**{**values, **changed})  # type: ignore[arg-type]


def standing(row: StepRow) -> Standing:
    """What the engine says of a step that an earlier run finished."""
    begin = row.started_at or BEGIN
    left = Checkpoint(
        row.name,
        "done",
        row.run,
        row.attempt,
        begin,
        begin + row.seconds,
        {},
        {},
        row.changes,
        None,
    )
    return Standing(EngineState.DONE, row.reason, left)


CONNECTIONS = (
    ConnectionRow(
        "AlloyDB",
        "agent-storage",
        "READY",
        "127.77.13.2:5432",
        "psql postgresql://agent@127.77.13.2/orchestra",
    ),
    ConnectionRow("Redis", "agent-memory", "READY", "127.77.13.3:6379", "redis-cli -h 127.77.13.3"),
)

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & ünï‮ {{ 7 * 7 }}"


def failed() -> Report:
    """A run in which a step failed and later ones did not run."""
    rows = steps()
    from dataclasses import replace

    cut = next(i for i, r in enumerate(rows) if r.component == "data-migration")
    rows[cut] = replace(
        rows[cut],
        state=StepState.FAILED,
        changes=(),
        error="The disk is full.\n  expected: 310 MB free\n  to mend it: df -h, then run again",
    )
    later = [
        replace(
            r,
            state=StepState.NOT_RUN,
            reason="data-migration-0 failed",
            run=0,
            started_at=None,
            seconds=0.0,
            attempt=0,
            retries=0,
            changes=(),
        )
        for r in rows[cut + 1 :]
    ]
    return report(rows[: cut + 1] + later, finished_at=BEGIN + 90)


def hostile() -> Report:
    """A report in which every text tries to break out of its place."""
    change = Change(
        ChangeKind.UPDATE,
        HOSTILE,
        reason=HOSTILE,
        fields=(FieldChange(HOSTILE, HOSTILE, {"a": HOSTILE}),),
    )
    row = StepRow(
        HOSTILE,
        HOSTILE,
        HOSTILE,
        HOSTILE,
        StepState.FAILED,
        HOSTILE,
        BEGIN,
        2.0,
        1,
        0,
        7,
        (change,),
        HOSTILE,
        (HOSTILE,),
    )
    bad = criterion(
        (1.0, 2.0),
        subject=HOSTILE,
        unit=HOSTILE,
        reason=HOSTILE,
        observed=99.0,
        statistic=HOSTILE,
        beside=(Beside(HOSTILE, None, ">=", 1.0),),
    )
    return report(
        [row],
        (bad,),
        environment={HOSTILE: HOSTILE},
        log=HOSTILE,
        connections=[ConnectionRow(*[HOSTILE] * 5)],
    )
