"""RESP 2 on a socket: commands packed and answers parsed by hiredis, nothing else in between."""

import select
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import hiredis
import redis

Argument: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Argument, ...]

CONNECT_SECONDS = 10
ANSWER_SECONDS = 120
READ_BYTES = 1 << 18
_NONE_YET = object()
_packed: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]


class Wire:
    """An open connection.  Raises ``OSError`` kinds where it breaks or the peer talks no RESP.

    No greeting is sent: no HELLO, no CLIENT SETINFO.  A server's error is no exception here but
    an answer, a ``redis.ResponseError`` with the server's own words.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._socket = socket.create_connection((host, port), CONNECT_SECONDS)
        try:
            self._socket.settimeout(ANSWER_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        except BaseException:
            self._socket.close()
            raise
        self._reader = hiredis.Reader(replyError=redis.ResponseError, notEnoughData=_NONE_YET)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, commands: Iterable[Command]) -> None:
        """Send commands in one piece."""
        self._socket.sendall(b"".join([_packed(each) for each in commands]))

    def receive(self, count: int) -> list[Any]:
        """Wait for the next ``count`` answers."""
        answers: list[Any] = []
        answer = self._reader.gets
        try:
            while len(answers) < count:
                each = answer()
                if each is _NONE_YET:
                    self._feed()
                else:
                    answers.append(each)
        except hiredis.ProtocolError as error:
            raise ConnectionError(f"the answer is no RESP ({error})") from error
        return answers

    def arrived(self, seconds: float) -> list[Any]:
        """What has come, waiting so many seconds for the first of it."""
        answers: list[Any] = []
        while True:
            while (answer := self._reader.gets()) is not _NONE_YET:
                answers.append(answer)
            if answers or not self._readable(seconds):
                return answers
            self._feed()

    def _readable(self, seconds: float) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(select.select([self._socket], [], [], seconds)[0])

    def _feed(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._reader.feed(data)
