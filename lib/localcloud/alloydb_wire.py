"""The beginning of a PostgreSQL session, as far as a proxy takes part in it."""

import asyncio
import struct
from dataclasses import dataclass
from typing import Final

from lib.localcloud.alloydb_admission import Refused
from lib.localcloud.scram import MECHANISM, Login

LARGEST: Final = 1 << 16
_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_OK: Final = b"R" + struct.pack("!II", 8, 0)


@dataclass(frozen=True, slots=True)
class Startup:
    """A client's first message, whole, and the user that it names (none in a cancellation)."""

    message: bytes
    user: str


async def read_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Startup:
    """The first message; who asks for encryption inside TLS is told that there is none."""
    while True:
        length = await reader.readexactly(4)
        (size,) = struct.unpack("!I", length)
        if not 8 <= size <= LARGEST:
            raise Refused("the first message is none of PostgreSQL's protocol", "08P01")
        body = await reader.readexactly(size - 4)
        (code,) = struct.unpack("!I", body[:4])
        if code not in (_SSL, _GSS):
            break
        writer.write(b"N")
        await writer.drain()
    words = body[4:].split(b"\0") if code != _CANCEL else []
    told = dict(zip(words[::2], words[1::2], strict=False))
    return Startup(length + body, told.get(b"user", b"").decode(errors="replace"))


async def ask_password(writer: asyncio.StreamWriter) -> None:
    """Ask for a password in clear text; TLS is around it."""
    writer.write(b"R" + struct.pack("!II", 8, 3))
    await writer.drain()


async def read_password(reader: asyncio.StreamReader) -> str:
    """The password that a client sends."""
    kind, body = await _message(reader)
    if kind != b"p":
        raise Refused("a password was expected", "08P01")
    return body.rstrip(b"\0").decode(errors="replace")


async def log_in(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str
) -> bytes:
    """Authenticate to the database; gives what its client is to see of that."""
    login = Login(password)
    while True:
        kind, body = await _message(reader)
        if kind != b"R":
            return kind + struct.pack("!I", len(body) + 4) + body
        (step,) = struct.unpack("!I", body[:4])
        if step == 0:
            return _OK
        if step == 10 and MECHANISM in body[4:].split(b"\0"):
            first = login.first
            answer = MECHANISM + b"\0" + struct.pack("!I", len(first)) + first
        elif step == 11:
            answer = login.final(body[4:])
        elif step == 12 and login.accepts(body[4:]):
            continue
        else:
            raise Refused("the database asks for another authentication", "08001")
        writer.write(b"p" + struct.pack("!I", len(answer) + 4) + answer)
        await writer.drain()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    (size,) = struct.unpack("!I", await reader.readexactly(4))
    if not 4 <= size <= LARGEST:
        raise Refused("a message is too large", "08P01")
    return kind, await reader.readexactly(size - 4)


def refusal(state: str, text: str) -> bytes:
    """An error that ends a session which has not begun."""
    fields = (b"SFATAL", b"VFATAL", b"C" + state.encode(), b"M" + text.encode())
    body = b"".join(each + b"\0" for each in fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body
