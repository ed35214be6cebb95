"""The graph of steps: checked when it is built, ordered so that prerequisites come first."""

import difflib
from collections.abc import Iterable, Mapping

from lib.engine.errors import GraphError


class StepGraph:
    """Step names and their prerequisites, in the order in which they were written.

    Raises ``GraphError`` for a cycle (with its path), an unknown prerequisite (with near names)
    or a name used twice.
    """

    def __init__(self, steps: Iterable[tuple[str, Iterable[str]]]) -> None:
        self.prerequisites: dict[str, tuple[str, ...]] = {}
        for name, prerequisites in steps:
            if name in self.prerequisites:
                raise GraphError(
                    f"Two steps are named {name!r}.",
                    expected="every step has a name of its own",
                    remedy="rename one of them in its dependency mark",
                )
            self.prerequisites[name] = tuple(prerequisites)
        self._refuse_unknown()
        self.order: tuple[str, ...] = tuple(self._sorted())
        self.place: Mapping[str, int] = {name: at for at, name in enumerate(self.order)}

    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """For each step, the steps that name it as a prerequisite."""
        found: dict[str, list[str]] = {name: [] for name in self.prerequisites}
        for name, prerequisites in self.prerequisites.items():
            for each in prerequisites:
                found[each].append(name)
        return {name: tuple(each) for name, each in found.items()}

    def chains(self, weights: Mapping[str, float]) -> Mapping[str, float]:
        """For each step, the heaviest chain of steps that begins with it and must follow on it.

        A scheduler that begins the step with the heaviest chain first keeps the whole short
        (Graham, "Bounds on Multiprocessing Timing Anomalies", 1969; critical-path list rule).
        A step without a weight counts 1.
        """
        dependents = self.dependents()
        found: dict[str, float] = {}
        for name in reversed(self.order):
            after = max((found[each] for each in dependents[name]), default=0.0)
            found[name] = weights.get(name, 1.0) + after
        return found

    def closure(self, names: Iterable[str]) -> set[str]:
        """These steps and everything they need, directly or not."""
        return _reached(names, self.prerequisites)

    def built_on(self, names: Iterable[str]) -> set[str]:
        """These steps and everything that needs them, directly or not."""
        return _reached(names, self.dependents())

    def _refuse_unknown(self) -> None:
        for name, prerequisites in self.prerequisites.items():
            for each in prerequisites:
                if each not in self.prerequisites:
                    near = difflib.get_close_matches(each, self.prerequisites, n=1)
                    hint = f" (did you mean {near[0]!r}?)" if near else ""
                    raise GraphError(
                        f"Step {name!r} depends on {each!r}, which no step is named{hint}.",
                        expected="the name of another step",
                        remedy=f"correct depends=[...] of {name!r}",
                    )

    def _sorted(self) -> Iterable[str]:
        """Depth first in written order, so that a well-written order is kept as it is."""
        done: set[str] = set()
        for root in self.prerequisites:
            path: dict[str, None] = {}
            stack: list[tuple[str, int]] = [(root, 0)]
            while stack:
                name, position = stack.pop()
                if name in done:
                    continue
                if position == 0:
                    if name in path:
                        raise _cycle(list(path), name)
                    path[name] = None
                if position < len(self.prerequisites[name]):
                    stack.append((name, position + 1))
                    following = self.prerequisites[name][position]
                    if following in path:
                        raise _cycle(list(path), following)
                    stack.append((following, 0))
                else:
                    path.pop(name)
                    done.add(name)
                    yield name


def _reached(names: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(edges[name])
    return found


def _cycle(path: list[str], name: str) -> GraphError:
    loop = [*path[path.index(name) :], name]
    return GraphError(
        "The steps form a cycle: " + " -> ".join(loop) + ".",
        expected="a graph without cycles",
        remedy="remove one of these prerequisites",
    )
