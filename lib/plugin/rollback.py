"""Which steps a rollback takes back, in which order, and what stands in its way."""

import difflib
from collections.abc import Collection, Mapping, Sequence

import pytest

from lib.engine.errors import EngineError
from lib.engine.graph import StepGraph


class RollbackRefused(EngineError):
    """Something can't be taken back; nothing was."""


def rollback_order(
    graph: StepGraph,
    phases: Mapping[str, str],
    chosen: Sequence[str],
    touched: Collection[str],
    to: str | None,
) -> list[str]:
    """The chosen steps and all that need them, as far as runs touched them, last made first.

    ``to`` is a step or a phase that stays, with all that comes before it in the graph's order.
    Raises ``UsageError`` for one that there is not.
    """
    wanted = graph.built_on(chosen)
    order = list(graph.order)
    if to is not None:
        order = order[_end(order, phases, to) + 1 :]
    return [name for name in reversed(order) if name in wanted and name in touched]


def _end(order: Sequence[str], phases: Mapping[str, str], to: str) -> int:
    """The place of the last step that stays."""
    places = [place for place, name in enumerate(order) if to in (name, phases[name])]
    if places:
        return max(places)
    known = [*order, *dict.fromkeys(phases.values())]
    near = difflib.get_close_matches(to, known, n=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise pytest.UsageError(
        f"--to: there is no step and no phase {to!r}.{hint}\n"
        f"  expected: a phase ({', '.join(dict.fromkeys(phases.values()))}), or a step's name "
        "as --status prints it\n"
        "  to mend it: correct --to; nothing was taken back"
    )


def refused(staying: Mapping[str, Sequence[str]]) -> RollbackRefused:
    """The refusal that names each change which would stay."""
    lines = [f"{name}: {reason}" for name, reasons in staying.items() for reason in reasons]
    return RollbackRefused(
        "Not everything can be taken back, so nothing was:\n    " + "\n    ".join(lines),
        expected="a way back for each change",
        remedy="do what each line says, or stop above it with --to STEP, "
        "or take back everything else with --force",
    )
