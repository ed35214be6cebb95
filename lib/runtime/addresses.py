"""Loopback addresses: a range for each state folder, and who listens where."""

import errno
import hashlib
import ipaddress
import os
import platform
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from lib.runtime.errors import AddressInUse, AddressMissing

LEAVING_SECONDS = 1.0  # the system needs a moment to bury a killed server
_LISTEN = "0A"
_DELETED = " (deleted)"
_SERVERS = ("postgres", "valkey-server")


def subnet(state: Path, purpose: str = "") -> str:
    """The first three numbers of a /24 of 127.64.0.0/10 that belongs to a state folder.

    The same folder and purpose always give the same range, e.g. ``"127.77.13"``.
    """
    digest = hashlib.sha256(f"{state.absolute().resolve()}\0{purpose}".encode()).digest()
    return f"127.{64 + digest[0] % 64}.{digest[1]}"


def free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def require_loopback(host: str, purpose: str) -> None:
    """Raise ``AddressMissing`` where nothing on this machine may listen on ``host``.

    Linux has all of 127.0.0.0/8 on its loopback interface, other systems 127.0.0.1 alone.
    """
    range_ = f"{host.rpartition('.')[0]}.0/24"
    remedy = f"sudo ip address add {range_} dev lo"
    if platform.system() != "Linux":
        remedy = "run the checkout in a Linux container: see macOS in docs/embedded-cloud.md"
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
            return
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                return  # whoever listens will tell what is wrong
            cause = error
    raise AddressMissing(
        f"{purpose} has to listen on {host}, which this machine's loopback interface "
        "does not have.",
        expected=f"the addresses {range_}, as Linux has them",
        remedy=remedy,
    ) from cause


def require_free(host: str, port: int, purpose: str) -> None:
    """Raise ``AddressInUse``, naming the process that listens there and doesn't go away.

    ``AddressMissing`` where the machine does not have the address.  A server whose data folder was
    deleted under it serves nobody any more and is ended.
    """
    require_loopback(host, purpose)
    deadline = time.monotonic() + LEAVING_SECONDS
    while not free(host, port):
        _end_orphan(host, port)
        if time.monotonic() < deadline:
            time.sleep(0.01)
            continue
        raise AddressInUse(
            f"{purpose} has to listen on {host}:{port}, but {holder(host, port)} does already.",
            expected="a free address",
            remedy="stop that process, or use another state folder (ORCHESTRA_STATE), "
            "which has addresses of its own",
        )


def holder(host: str, port: int) -> str:
    """Who listens there, e.g. ``"redis-server (process 4711)"``, as far as this user may see."""
    process = _process(host, port)
    if process is None:
        return "a process of another user"
    try:
        return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    except OSError:
        return "a process that has just ended"


def _process(host: str, port: int) -> Path | None:
    """The folder below /proc of whoever listens there, as far as this user may see."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(host, port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.path.join(process, "fd", name) for name in os.listdir(process / "fd")]
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
        if any(_target(link) in sockets for link in links):
            return process
    return None


def _end_orphan(host: str, port: int) -> None:
    process = _process(host, port)
    if process is None or not _target(str(process / "cwd")).endswith(_DELETED):
        return
    if Path(_target(str(process / "exe"))).name.removesuffix(_DELETED) in _SERVERS:
        with suppress(OSError):
            os.kill(int(process.name), signal.SIGKILL)


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # closed meanwhile


def _listening_inodes(host: str, port: int) -> set[str]:
    """Inodes of the sockets that keep an IPv4 address busy; the kernel writes it reversed."""
    packed = ipaddress.IPv4Address(host).packed[::-1].hex().upper()
    wanted = {f"{address}:{port:04X}" for address in (packed, "00000000")}
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    rows = (line.split() for line in lines)
    return {row[9] for row in rows if row[1] in wanted and row[3] == _LISTEN}
