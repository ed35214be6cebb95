"""Bytes passed both ways between two connections."""

import asyncio

CHUNK = 1 << 17
"""The most bytes that are read in one piece; also the ``limit`` that suits these streams."""


async def passed_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    other_reader: asyncio.StreamReader,
    other_writer: asyncio.StreamWriter,
) -> None:
    """Pass bytes both ways until one side ends; both are closed then."""
    ways = [
        asyncio.create_task(_pass(reader, other_writer)),
        asyncio.create_task(_pass(other_reader, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        other_writer.close()
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
