"""Which steps run: arguments, marks and components choose, prerequisites follow."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lib.engine.graph import StepGraph
from lib.plugin.steps import DeclaredStep


@dataclass(frozen=True, slots=True)
class Argument:
    """A command-line argument that points at steps: a path, and names within it."""

    text: str
    path: Path
    names: tuple[str, ...]

    def matches(self, item: pytest.Item) -> bool:
        """Whether the item lies at or under this argument."""
        if self.path != item.path and self.path not in item.path.parents:
            return False
        own = item.nodeid.split("::")[1:]
        return all(
            wanted in (name, name.partition("[")[0])
            for wanted, name in zip(self.names, own, strict=False)
        ) and len(self.names) <= len(own)


def widen(arguments: Sequence[str], start: Path, steps: Path) -> tuple[list[str], list[Argument]]:
    """Replace the arguments that point at steps by the folder of steps.

    The whole graph has to be seen to know a step's prerequisites.  Gives the arguments to collect
    and those replaced, which then choose among the steps.
    """
    collect: list[str] = []
    chosen: list[Argument] = []
    for text in arguments:
        before, *names = text.split("::")
        path = (start / before).resolve()
        if path.exists() and (path == steps or steps in path.parents):
            chosen.append(Argument(text, path, tuple(names)))
            if str(steps) not in collect:
                collect.append(str(steps))
        else:
            collect.append(text)
            if path in steps.parents:
                chosen.append(Argument(text, path, ()))
    return collect, chosen


def refuse_unmatched(arguments: Iterable[Argument], items: Sequence[pytest.Item]) -> None:
    """Raise ``UsageError`` for an argument that no step answers to."""
    for argument in arguments:
        if not any(argument.matches(item) for item in items):
            names = [item.name for item in items if item.path == argument.path]
            near = difflib.get_close_matches("::".join(argument.names), names, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise pytest.UsageError(f"There is no step at {argument.text}.{hint}")


def refuse_unknown_components(wanted: Iterable[str], steps: Iterable[DeclaredStep]) -> None:
    """Raise ``UsageError``, with near names, for a component that no step belongs to."""
    known = list(dict.fromkeys(each.component for each in steps))
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise pytest.UsageError(
                f"There is no component {name!r}.{hint}\n"
                f"  expected: one of {', '.join(known)}\n"
                "  to mend it: correct --component"
            )


def with_prerequisites(
    chosen: Iterable[str], graph: StepGraph, done: Callable[[str], bool]
) -> Mapping[str, bool]:
    """The steps to run in order, each with whether it was chosen (or is brought along).

    A finished prerequisite is brought along only where one of its own will run, since that may
    change what it reads; it is looked at again when its turn comes.
    """
    wanted = set(chosen)
    needed = graph.closure(wanted)
    found: dict[str, bool] = {}
    for name in graph.order:
        if name in wanted:
            found[name] = True
        elif name in needed and (
            not done(name) or any(each in found for each in graph.prerequisites[name])
        ):
            found[name] = False
    return found
