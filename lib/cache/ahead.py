"""Keeping a server busy: the next request is under way while the last answer is handled."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

ItemT = TypeVar("ItemT")
DoneT = TypeVar("DoneT")


def one_ahead(
    items: Iterable[ItemT], begin: Callable[[ItemT], None], finish: Callable[[ItemT], DoneT]
) -> Iterator[DoneT]:
    """What ``finish`` gives for each item, in order; each is begun before the last is finished."""
    waiting: list[ItemT] = []
    for item in items:
        begin(item)
        if waiting:
            yield finish(waiting.pop())
        waiting.append(item)
    for item in waiting:
        yield finish(item)
