"""The inventory: a Markdown page of what now exists and how to connect to it."""

import re
from collections.abc import Iterable, Mapping

from lib.report.model import ConnectionRow


def inventory(rows: Iterable[ConnectionRow], facts: Mapping[str, str]) -> str:
    """The page's text: the facts, one table of all things, and a command for each of them."""
    things = list(rows)
    lines = ["# What exists after the migration", ""]
    lines += [f"- {_words(name)}: {_inline(value)}" for name, value in facts.items()]
    if facts:
        lines.append("")
    if not things:
        return "\n".join([*lines, "Nothing exists yet.", ""])
    lines += ["| kind | name | state | address |", "| --- | --- | --- | --- |"]
    lines += [
        "| " + " | ".join(_cell(v) for v in (row.kind, row.name, row.state, row.address)) + " |"
        for row in things
    ]
    reachable = [row for row in things if row.connect]
    if reachable:
        lines += ["", "## How to connect"]
        for row in reachable:
            fence = "`" * max(3, 1 + _longest_run(row.connect))
            title = f"### {_inline(row.kind)} {_inline(row.name)}"
            lines += ["", title, "", fence + "sh", row.connect, fence]
    return "\n".join([*lines, ""])


def _words(name: str) -> str:
    return _inline(name.replace("_", " "))


def _inline(text: str) -> str:
    """Text that Markdown shows as it is: one line, no marks, no HTML."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", flat)


def _cell(text: str) -> str:
    return _inline(text) or "–"


def _longest_run(text: str) -> int:
    return max((len(each) for each in re.findall("`+", text)), default=0)
