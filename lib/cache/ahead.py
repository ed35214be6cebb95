"""Keeping a server busy: the next requests are under way while an answer is handled."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

ItemT = TypeVar("ItemT")
DoneT = TypeVar("DoneT")

REQUESTS = 1
"""Under way beside the one whose answer is awaited; with two, servers pay for what waits."""


def ahead(
    items: Iterable[ItemT], begin: Callable[[ItemT], None], finish: Callable[[ItemT], DoneT]
) -> Iterator[DoneT]:
    """What ``finish`` gives for each item, in order; each is begun before earlier ones finish."""
    waiting: deque[ItemT] = deque()
    for item in items:
        begin(item)
        waiting.append(item)
        if len(waiting) > REQUESTS:
            yield finish(waiting.popleft())
    for item in waiting:
        yield finish(item)
