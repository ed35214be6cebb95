"""Rows of one COPY are taken as several: each whole, none lost, in their order."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.postgres import portions
from lib.postgres.portions import Portions

HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
ROWS = st.lists(st.sampled_from([b"\0\0", b"\0\1\xff\xff\xff\xff", b"\0\1\0\0\0\2\xff\xff"]))
PIECES = st.lists(st.lists(st.sampled_from([b"a\n", b"\\N\n", b"long row\n"]), min_size=1))


async def through(buffers: list[bytes], *, binary: bool) -> tuple[list[bytes], int]:
    """What each COPY of the target gets, and the bytes that were counted."""
    way = Portions(binary=binary)

    async def fill() -> None:
        for buffer in buffers:
            await way.put(buffer)
        await way.end()

    async def drain() -> list[bytes]:
        return [b"".join([part async for part in portion]) async for portion in way.each()]

    async with asyncio.TaskGroup() as group:
        group.create_task(fill())
        drained = group.create_task(drain())
    return drained.result(), way.bytes


@given(rows=ROWS, at=st.integers(1, 9), bring=st.integers(1, 40), alone=st.booleans())
def test_binary_portions_are_whole_and_hold_the_rows(
    rows: list[bytes], at: int, bring: int, alone: bool
) -> None:
    parts = [HEADER, *rows] if alone else [HEADER + b"".join(rows[:1]), *rows[1:]]
    buffers = [b"".join(parts[n : n + at]) for n in range(0, len(parts), at)]
    buffers = [*buffers, TRAILER] if alone else [*buffers[:-1], buffers[-1] + TRAILER]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "PORTION_BYTES", bring)
        taken, counted = asyncio.run(through(buffers, binary=True))
    assert counted == sum(map(len, buffers))
    assert all(each.startswith(HEADER) and each.endswith(TRAILER) for each in taken)
    inside = [each.removeprefix(HEADER).removesuffix(TRAILER) for each in taken]
    assert b"".join(inside) == b"".join(rows)
    assert all(len(each) < bring + len(max(buffers, key=len)) for each in inside)


@given(pieces=PIECES, bring=st.integers(1, 20))
def test_text_portions_hold_the_rows(pieces: list[list[bytes]], bring: int) -> None:
    buffers = [b"".join(piece) for piece in pieces]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "PORTION_BYTES", bring)
        taken, counted = asyncio.run(through(buffers, binary=False))
    assert b"".join(taken) == b"".join(buffers)
    assert counted == sum(map(len, buffers))
    assert all(each.endswith(b"\n") for each in taken if each)
