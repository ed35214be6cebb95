"""What to do next, derived from what the run measured; no figure, no recommendation.

Beside steps, criteria and connections, rules look at these observations of a report, each of
which may be missing:

``keys`` and ``keys_without_ttl``     Redis keys on the target, and those that never expire
``tables_without_statistics``         names of target tables that were never analysed
``source_rows_behind``                rows written to the source after the copy began
"""

from collections.abc import Callable, Iterable, Iterator

from lib.engine.changes import NOTHING_TO_REMOVE, ChangeKind
from lib.report.model import CriterionRow, Recommendation, Report, StepState, Urgency
from lib.report.words import COMPARISONS, duration, figure, number, plural, share

NARROW_MARGIN = 0.20
NARROW_BESIDE = 0.01
HEAVY_TAIL = 5.0
SLOW_SHARE = 0.3
SLOW_SECONDS = 30.0
TTL_SHARE = 0.5

Rule = Callable[[Report], Iterable[Recommendation]]


def recommend(report: Report) -> tuple[Recommendation, ...]:
    """Every recommendation that the report's own figures support, the urgent ones first."""
    found = [each for rule in RULES for each in rule(report)]
    order = list(Urgency)
    return tuple(sorted(found, key=lambda each: order.index(each.urgency)))


def _unfinished(report: Report) -> Iterator[Recommendation]:
    failed = [each.name for each in report.steps if each.state is StepState.FAILED]
    if failed:
        yield Recommendation(
            Urgency.ACT,
            "Mend what failed and run the same command again",
            f"{plural(len(failed), 'step')} failed ({_some(failed)}); finished steps are kept.",
        )
    left = (StepState.PENDING, StepState.INTERRUPTED, StepState.DRIFTED)
    open_steps = [each.name for each in report.steps if each.state in left]
    if open_steps:
        yield Recommendation(
            Urgency.ACT,
            "Run again to bring the open steps up to date",
            f"{plural(len(open_steps), 'step')} pending, interrupted or drifted "
            f"({_some(open_steps)}).",
        )


def _criteria(report: Report) -> Iterator[Recommendation]:
    for each in report.criteria:
        if not each.passed:
            yield Recommendation(
                Urgency.ACT,
                f"Criterion {each.number} is not met: {each.subject}",
                f"{_compared(each)}: {each.failure}.",
            )
        else:
            yield from _narrow(each)


def _narrow(criterion: CriterionRow) -> Iterator[Recommendation]:
    margin = criterion.margin
    if margin is not None and margin < NARROW_MARGIN and criterion.comparison != ">=":
        yield Recommendation(
            Urgency.CONSIDER,
            f"Criterion {criterion.number} is met with little room: {criterion.subject}",
            f"{_compared(criterion)} leaves {share(margin)}; below {share(NARROW_MARGIN)} "
            "ordinary variation can breach it.",
        )
    for each in criterion.beside:
        if each.comparison == ">=" and each.observed is not None:
            above = each.observed - each.threshold
            if 0 <= above < NARROW_BESIDE:
                yield Recommendation(
                    Urgency.CONSIDER,
                    f"{each.subject.capitalize()} is just above its target",
                    f"{number(each.observed)} against {number(each.threshold)}: "
                    "raise the search effort, or measure with more queries.",
                )
    yield from _tail(criterion)


def _tail(criterion: CriterionRow) -> Iterator[Recommendation]:
    middle, high = criterion.percentile(50), criterion.percentile(99)
    if len(criterion.samples) >= 20 and middle and high and high / middle > HEAVY_TAIL:
        unit = criterion.samples_unit or criterion.unit
        yield Recommendation(
            Urgency.CONSIDER,
            f"Look at the slowest samples of criterion {criterion.number}",
            f"p99 is {high / middle:.1f} times the median "
            f"({figure(high, unit)} against {figure(middle, unit)}).",
        )


def _retries(report: Report) -> Iterator[Recommendation]:
    retried = [each for each in report.steps if each.retries]
    if retried:
        total = sum(each.retries for each in retried)
        yield Recommendation(
            Urgency.CONSIDER,
            "Find out why calls had to be repeated",
            f"{total} {'retry' if total == 1 else 'retries'} in "
            f"{plural(len(retried), 'step')} ({_some(each.name for each in retried)}).",
        )
    again = [each for each in report.steps if each.attempt > 1 and each.state is StepState.DONE]
    if again:
        named = _some(f"{each.name}: {each.attempt}" for each in again)
        yield Recommendation(
            Urgency.KNOW,
            "Steps needed more than one attempt",
            f"{plural(len(again), 'step')} ({named}); the log says what stopped the earlier ones.",
        )


def _slowest(report: Report) -> Iterator[Recommendation]:
    worked = [each for each in report.steps if each.seconds > 0]
    total = sum(each.seconds for each in worked)
    slowest = max(worked, key=lambda each: each.seconds, default=None)
    if slowest and slowest.seconds >= SLOW_SECONDS and slowest.seconds > SLOW_SHARE * total:
        yield Recommendation(
            Urgency.KNOW,
            f"{slowest.name} decides how long the migration takes",
            f"{duration(slowest.seconds)} of {duration(total)} in all steps "
            f"({share(slowest.seconds / total)}).",
        )


def _adopted(report: Report) -> Iterator[Recommendation]:
    every = [change for step in report.steps for change in step.changes]
    made = {each.subject for each in every if each.kind is ChangeKind.CREATE}
    # "service x: traffic" is a part of "service x", and was there because that was made.
    found = {
        change.subject: None
        for step in report.steps
        if step.state in (StepState.DONE, StepState.SKIPPED_DONE) and step.attempt == 1
        for change in step.changes
        if change.kind is ChangeKind.NONE and change.reason != NOTHING_TO_REMOVE
        if change.subject.partition(":")[0] not in made
    }
    if found:
        yield Recommendation(
            Urgency.KNOW,
            "Some things existed before and were adopted as they are",
            f"{plural(len(found), 'thing')} ({_some(found)}); a rollback leaves them in place.",
        )


def _protection(report: Report) -> Iterator[Recommendation]:
    irreversible = [
        change.subject
        for step in report.steps
        for change in step.changes
        if change.irreversible and change.kind is not ChangeKind.NONE
    ]
    if irreversible and report.environment.get("protected") == "no":
        yield Recommendation(
            Urgency.CONSIDER,
            "Protect this environment if others depend on it",
            f"{plural(len(irreversible), 'change')} with no way back ({_some(irreversible)}) "
            "needed no approval; set protected = true in its file.",
        )


def _loopback(report: Report) -> Iterator[Recommendation]:
    local = [each for each in report.connections if each.address.startswith(("127.", "[::1]"))]
    if report.environment.get("target") == "embedded":
        where = f"; {len(local)} of its addresses are on loopback" if local else ""
        yield Recommendation(
            Urgency.KNOW,
            "These figures are of the embedded cloud on this machine",
            f"The target is embedded{where}: run the validation against Google before cutover, "
            "where networks and machine types differ.",
        )


def _keys(report: Report) -> Iterator[Recommendation]:
    keys = report.observations.get("keys")
    lasting = report.observations.get("keys_without_ttl")
    if isinstance(keys, int) and isinstance(lasting, int) and 0 < keys * TTL_SHARE < lasting:
        yield Recommendation(
            Urgency.CONSIDER,
            "Give short-term memory a time to live",
            f"{lasting:,} of {keys:,} Redis keys ({share(lasting / keys)}) never expire, "
            "so memory only grows.",
        )


def _statistics(report: Report) -> Iterator[Recommendation]:
    names = report.observations.get("tables_without_statistics")
    if isinstance(names, list) and names:
        yield Recommendation(
            Urgency.ACT,
            "Run ANALYZE on the target",
            f"{plural(len(names), 'table')} without planner statistics "
            f"({_some(str(each) for each in names)}).",
        )


def _source_moved(report: Report) -> Iterator[Recommendation]:
    behind = report.observations.get("source_rows_behind")
    if isinstance(behind, int) and behind > 0:
        yield Recommendation(
            Urgency.ACT,
            "Copy again before the cutover",
            f"The source took {behind:,} more rows after the copy began.",
        )


def _some(names: Iterable[str], most: int = 4) -> str:
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def _compared(criterion: CriterionRow) -> str:
    sign = COMPARISONS[criterion.comparison]
    wanted = figure(criterion.threshold, criterion.unit)
    return f"{figure(criterion.observed, criterion.unit)} (wanted: {sign} {wanted})"


RULES: tuple[Rule, ...] = (
    _unfinished,
    _criteria,
    _statistics,
    _source_moved,
    _retries,
    _protection,
    _keys,
    _slowest,
    _adopted,
    _loopback,
)
