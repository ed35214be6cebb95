"""Which of the collected items a session runs, and in which order."""

from collections.abc import Sequence
from typing import Any

import pytest

from lib.engine.run import Mode
from lib.plugin.rollback import rollback_order
from lib.plugin.selection import refuse_unknown_components, refuse_unmatched, with_prerequisites
from lib.plugin.session import MigrationSession


def choose(migration: MigrationSession, remaining: Sequence[pytest.Item]) -> list[pytest.Item]:
    """The items to run: steps with their prerequisites, in order, then everything else.

    ``remaining`` is what ``-m`` and ``-k`` left.  Raises ``UsageError`` for what can't be chosen.
    """
    if migration.worker:  # the controller chooses, and names each step as it sends it
        return [migration.declared[name].item for name in migration.graph.order]
    refuse_unmatched(migration.arguments, [each.item for each in migration.declared.values()])
    refuse_unknown_components(migration.options.components, migration.declared.values())
    chosen, others = _apart(migration, remaining)
    if migration.parallel and others:
        raise pytest.UsageError(
            "-n runs steps, and only steps, at once.\n"
            f"  expected: {migration.steps_folder.name}/ or a part of it; "
            f"found {others[0].nodeid} too\n"
            "  to mend it: run the others by a command of their own"
        )
    if migration.options.rollback:
        migration.selected = dict.fromkeys(_to_roll_back(migration, chosen), True)
    else:
        migration.selected = _with_prerequisites(migration, chosen)
    return [*(migration.declared[name].item for name in migration.selected), *others]


def correct_deselected(
    config: pytest.Config,
    everything: list[pytest.Item],
    before: list[pytest.Item],
    chosen: list[pytest.Item],
) -> None:
    """Report what we deselect, and take back what other plugins did where we need it."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and "deselected" in reporter.stats:
        reporter.stats["deselected"] = [
            item for item in reporter.stats["deselected"] if item not in chosen
        ]
    gone = [item for item in everything if item in before and item not in chosen]
    if gone:
        config.hook.pytest_deselected(items=gone)


def _apart(
    migration: MigrationSession, remaining: Sequence[pytest.Item]
) -> tuple[list[str], list[pytest.Item]]:
    """The chosen steps, and what is no step; a plan that is applied chooses for itself."""
    if migration.planned is not None:
        names = [each.name for each in migration.planned.steps]
        return [name for name in names if name in migration.declared], []
    steps = migration.by_node
    chosen = [
        steps[item.nodeid].name
        for item in remaining
        if item.nodeid in steps and _is_wanted(migration, item)
    ]
    options = migration.options
    if options.components or options.status or migration.mode is not Mode.APPLY:
        return chosen, []
    return chosen, [item for item in remaining if item.nodeid not in steps]


def _is_wanted(migration: MigrationSession, item: pytest.Item) -> bool:
    components = migration.options.components
    if components and migration.by_node[item.nodeid].component not in components:
        return False
    return any(argument.matches(item) for argument in migration.arguments)


def _to_roll_back(migration: MigrationSession, chosen: Sequence[str]) -> list[str]:
    if migration.store is None:
        return []
    declared = migration.declared
    touched = {name for name in declared if migration.run.checkpoint(name) is not None}
    touched |= migration.store.steps_with_intents()
    phases = {name: each.phase for name, each in declared.items()}
    return rollback_order(migration.graph, phases, chosen, touched, migration.options.to)


def _with_prerequisites(migration: MigrationSession, chosen: Sequence[str]) -> dict[str, bool]:
    if not chosen:
        return {}
    migration.selected = dict.fromkeys(chosen, True)
    if migration.options.fresh:
        migration.run.ignore_checkpoints(chosen)
    if migration.options.force:
        order = migration.graph.order
        return {name: True for name in order if name in migration.selected}
    found = with_prerequisites(chosen, migration.graph, migration.is_done)
    brought = [name for name, was_chosen in found.items() if not was_chosen]
    if brought and not migration.options.prerequisites:
        raise pytest.UsageError(
            f"Prerequisites are not done: {', '.join(brought)}.\n"
            "  expected: everything that the selected steps need is done\n"
            "  to mend it: run them first, or leave --no-prerequisites away"
        )
    return dict(found)
