"""The matrix as a table on the page of the embedded cloud."""

from collections.abc import Mapping
from pathlib import Path

from tests.cloud.matrix.cells import FAULTS, MUTATIONS

BEGIN, END = "<!-- fault matrix: begin -->", "<!-- fault matrix: end -->"
PAGE = Path(__file__).resolve().parents[3] / "docs" / "embedded-cloud.md"


def table(found: Mapping[tuple[str, str], str]) -> str:
    """The table as Markdown, a row for each call; ``found`` says what a run did, by cell."""
    lines = ["| call | " + " | ".join(FAULTS) + " |", "| --- " * (len(FAULTS) + 1) + "|"]
    for mutation in MUTATIONS:
        cells = [found.get((mutation.method, name), "") for name in FAULTS]
        lines.append(f"| `{mutation.method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(found: Mapping[tuple[str, str], str]) -> None:
    """Put the table in its place."""
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{table(found)}\n{END}{tail}", encoding="utf-8")
