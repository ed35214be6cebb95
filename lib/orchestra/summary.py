"""What a copy of rows came to, as a table for a terminal and a report."""

from collections.abc import Sequence

from lib.postgres.bookkeeping import Moved
from lib.postgres.comparison import Comparison

SHOWN = 20
_HEAD = ("table", "rows", "MB", "MB/s a worker", "verified")


def table(moved: Sequence[Moved], verified: Comparison | None = None) -> str:
    """A line for each table, the largest first, and one for all.

    Sizes are those on the source.  Without ``verified`` rows are compared later.
    """
    if not moved:
        return "no rows had to be copied"
    equal = {each.table: each.equal for each in verified.tables} if verified else {}
    lines = [_line(each, _word(equal.get(each.table))) for each in moved[:SHOWN]]
    if len(moved) > SHOWN:
        lines.append(_line(_sum(f"{len(moved) - SHOWN} more", moved[SHOWN:]), ""))
    every = None if verified is None else verified.equal
    lines.append(_line(_sum("total", moved), _word(every)))
    columns = list(zip(_HEAD, *lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    return "what was copied:\n" + "\n".join(
        "  ".join(
            text.ljust(width) if place in (0, 4) else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (_HEAD, *lines)
    )


def _word(equal: bool | None) -> str:
    return {True: "all rows", False: "differs", None: "not yet"}[equal]


def _sum(name: str, moved: Sequence[Moved]) -> Moved:
    return Moved(
        name,
        sum(each.rows for each in moved),
        sum(each.bytes for each in moved),
        sum(each.seconds for each in moved),
    )


def _line(moved: Moved, verified: str) -> tuple[str, ...]:
    size = moved.bytes / 1e6
    rate = f"{size / moved.seconds:,.1f}" if moved.seconds else "-"
    return moved.table, f"{moved.rows:,}", f"{size:,.1f}", rate, verified
