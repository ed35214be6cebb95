"""The connection itself: TLS, broken connections, and peers that talk something else."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lib.cache.comparison import compare
from lib.cache.copy import CopyKeys
from lib.cache.errors import ServerRefused, ServerUnreachable
from lib.cache.notifications import Notifications
from lib.cache.server import Link, Server
from lib.localcloud import certificates
from tests.cache.journal import MemoryJournal
from tests.cache.platform import fill


def serve(answer: Callable[[socket.socket], None], context: ssl.SSLContext | None = None):
    """Answer each connection in a thread of its own; gives the listening socket."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if context is None:
                answer(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as secure:
                    answer(secure)

    threading.Thread(target=accept, daemon=True).start()
    return listening


@pytest.fixture
def secured(redis_target_url, tmp_path) -> Iterator[tuple[str, str]]:
    """The URL of a TLS endpoint in front of the target, and its CA's file."""
    authority = certificates.authority(tmp_path)
    pair = certificates.server(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    behind = urlsplit(redis_target_url)

    def forward(connection: socket.socket) -> None:
        """Hand requests and answers on, one thread for both: TLS sockets are not shared."""
        with socket.create_connection((behind.hostname, behind.port)) as server:
            for each in (connection, server):
                each.settimeout(0.005)
            while True:
                for one, other in ((connection, server), (server, connection)):
                    try:
                        data = one.recv(1 << 16)
                    except TimeoutError:
                        continue
                    if not data:
                        return
                    other.settimeout(10)
                    other.sendall(data)
                    other.settimeout(0.005)

    with serve(forward, context) as listening:
        yield f"rediss://127.0.0.1:{listening.getsockname()[1]}", str(authority.certificate)


def test_keys_move_over_tls_and_are_announced_over_it(
    source, target, redis_source_url, redis_target_url, secured
):
    fill(source)
    source.set("large", "x" * 1_000_000)
    url, authority = secured
    action = CopyKeys(redis_source_url, url, target_ca_file=authority)
    action.apply(action.plan(action.observe()), MemoryJournal())
    assert compare(action.source, Server.from_url(redis_target_url)).equal
    announcing = Server.from_url(url, authorities=Path(authority).read_text())
    with Notifications(announcing, MemoryJournal()) as notifications:
        assert notifications.complete
        target.set("changed", 1)
        notifications.settle()
        assert notifications.take(10) == {0: [b"changed"]}


def test_a_certificate_of_somebody_else_is_refused(secured):
    with (
        pytest.raises(ServerUnreachable, match="certificate"),
        Link(Server.from_url(secured[0])) as link,
    ):
        link.ask("PING")


@pytest.mark.parametrize(
    "spoken, told",
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no RESP"),
        (b"", "closed"),
        (b"$100\r\nhalf", "closed"),
    ],
)
def test_a_peer_that_is_no_redis_is_told(spoken, told):
    def answer(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(spoken)

    with serve(answer) as listening:
        server = Server("127.0.0.1", listening.getsockname()[1])
        with pytest.raises(ServerUnreachable, match=told), Link(server) as link:
            link.ask("PING")


def test_a_database_that_is_not_there_is_never_taken_for_another(redis_target_url):
    with Link(Server.from_url(redis_target_url), 9_999) as link:
        for _ in range(2):
            with pytest.raises(ServerRefused, match="out of range"):
                link.ask("DBSIZE")
