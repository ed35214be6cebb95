"""The order in which chunks are copied: by a clock of its own, at a byte a second."""

import heapq
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lib.postgres.catalog import Table
from lib.postgres.chunks import Chunk
from lib.postgres.schedule import Schedule

SIZES = st.tuples(st.integers(1, 2000), st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.0]))
Work = list[tuple[Table, Chunk]]


def table(name: str, size: int, build: int = 0) -> Table:
    """A table of so many bytes, and of so many bytes' time for its indexes."""
    return Table("s", name, 0, (), (), True, size, size, 0, build=build)


def cut(tables: list[Table], most: int) -> Work:
    """All chunks of the tables."""
    return [
        (each, Chunk(each.schema, each.name, at, None, min(most, each.bytes - at)))
        for each in tables
        for at in range(0, each.bytes, most)
    ]


def run(work: Work, workers: int) -> list[tuple[float, int, Chunk]]:
    """When each chunk is in, by which worker, in that order."""
    schedule = Schedule(work, workers)
    free: list[tuple[float, int, int]] = [(0.0, worker, -1) for worker in range(workers)]
    done: list[tuple[float, int, Chunk]] = []
    while free:
        now, worker, last = heapq.heappop(free)
        following = schedule.take(work[last][0] if last >= 0 else None)
        if following is not None:
            end = now + following[1].bytes
            done.append((end, worker, following[1]))
            heapq.heappush(free, (end, worker, work.index(following)))
    return sorted(done, key=lambda each: each[0])


@given(sizes=st.lists(SIZES, min_size=1, max_size=8), workers=st.integers(1, 8))
def test_every_chunk_comes_once_and_the_end_is_early(
    sizes: list[tuple[int, float]], workers: int
) -> None:
    tables = [table(f"t{n}", size, int(size * part)) for n, (size, part) in enumerate(sizes)]
    total = sum(each.bytes for each in tables)
    most = max(1, total // (workers * 16))
    work = cut(tables, most)
    done = run(work, workers)
    assert Counter(chunk.key for _, _, chunk in done) == Counter(chunk.key for _, chunk in work)
    rows_in = {chunk.name: end for end, _, chunk in done}
    end = max(rows_in[each.name] + each.build for each in tables)
    # Nothing is better than no pause before the last rows, and than all workers for one table.
    alone = max(each.bytes / workers + each.build for each in tables)
    least = max(alone, total / workers + min(each.build for each in tables))
    assert end <= 2 * least + most


def test_tables_alike_are_copied_by_one_worker_each_in_the_order_of_their_rows() -> None:
    work = cut([table(name, 100) for name in "abcdef"], 10)
    done = run(work, 2)
    for name in "abcdef":
        assert len({worker for _, worker, chunk in done if chunk.name == name}) == 1
        firsts = [chunk.first for _, _, chunk in done if chunk.name == name]
        assert firsts == sorted(firsts)


def test_a_table_that_outweighs_the_others_gets_all_workers_at_once() -> None:
    work = cut([table("small", 20), table("huge", 900), table("other", 30)], 10)
    assert {chunk.name for _, _, chunk in run(work, 4)[:4]} == {"huge"}


def test_a_table_with_an_index_that_takes_long_comes_before_a_larger_one() -> None:
    work = cut([table("large", 300), table("searched", 100, build=500)], 10)
    assert {chunk.name for _, _, chunk in run(work, 2)[:10]} == {"searched"}


def test_who_is_done_helps_where_most_is_left() -> None:
    work = cut([table("one", 400), table("two", 200)], 10)
    done = run(work, 2)
    assert done[-1][0] <= 310
    assert len({worker for _, worker, chunk in done if chunk.name == "one"}) == 2
