"""Steps as pytest items declare them: marks and docstring read into plain data."""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from lib.engine.graph import StepGraph
from lib.engine.step import ATTEMPTS
from lib.report.build import StepDeclaration


@dataclass(frozen=True, slots=True)
class DeclaredStep:
    """One step: an item with a named ``dependency`` mark inside the folder of steps."""

    item: pytest.Function
    name: str
    prerequisites: tuple[str, ...]
    phase: str
    component: str
    title: str
    deadline_seconds: float | None
    attempts: int
    source: str

    def declaration(self) -> StepDeclaration:
        """The part that a report shows."""
        return StepDeclaration(self.name, self.title, self.phase, self.component)


def read_steps(items: Iterable[pytest.Item], folder: Path) -> list[DeclaredStep]:
    """The steps among collected items; raises ``UsageError`` for one that is not marked well."""
    return [
        _read(item)
        for item in items
        if isinstance(item, pytest.Function) and folder in item.path.parents
    ]


def build_graph(steps: Iterable[DeclaredStep]) -> StepGraph:
    """The steps' graph; raises ``GraphError``."""
    return StepGraph((each.name, each.prerequisites) for each in steps)


def _read(item: pytest.Function) -> DeclaredStep:
    dependency = item.get_closest_marker("dependency")
    component = item.get_closest_marker("component")
    deadline = item.get_closest_marker("deadline")
    retries = item.get_closest_marker("retries")
    name = dependency.kwargs.get("name") if dependency else None
    if dependency is None or not name or component is None or not component.args:
        raise pytest.UsageError(
            f"{item.nodeid} is no step: it needs @pytest.mark.component(NAME) and "
            "@pytest.mark.dependency(name=NAME, depends=[...], scope='session')."
        )
    if dependency.kwargs.get("scope") != "session":
        raise pytest.UsageError(f"{item.nodeid}: its dependency mark needs scope='session'.")
    phase = _phase(item)
    item.extra_keyword_matches.update((name, component.args[0], phase))
    return DeclaredStep(
        item=item,
        name=name,
        prerequisites=tuple(dependency.kwargs.get("depends") or ()),
        phase=phase,
        component=component.args[0],
        title=(inspect.getdoc(item.function) or item.name).split("\n")[0],
        deadline_seconds=deadline.args[0] if deadline else None,
        attempts=retries.args[0] if retries else ATTEMPTS,
        source=source_digest(item.function),
    )


def _phase(item: pytest.Function) -> str:
    """The phase mark's name; without one, ``test_3_database.py`` is phase ``database``."""
    marker = item.get_closest_marker("phase")
    if marker is not None:
        return str(marker.args[0])
    return item.path.stem.removeprefix("test_").lstrip("0123456789_")


@cache  # parametrized steps share their function
def source_digest(function: object) -> str:
    """A digest of what a function does: comments, layout and its docstring do not count."""
    source = textwrap.dedent(inspect.getsource(function))  # type: ignore[arg-type]
    tree = ast.parse(source).body[0]
    if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
        tree.decorator_list = []
        if ast.get_docstring(tree) is not None:
            tree.body = tree.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:20]
