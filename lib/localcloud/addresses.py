"""Loopback addresses of instances, one for each, kept as long as the instance exists."""

import socket
import threading
from typing import Final

from lib.localcloud import errors
from lib.localcloud.store import Store

PORTS: Final = 50


class Addresses:
    """Gives addresses of the embedded cloud's own subnet (``127.x.y``); .1 is the endpoint."""

    def __init__(self, store: Store, subnet: str) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.subnet = subnet

    def of(self, owner: str, port: int) -> str:
        """The address of ``owner``, given now if it has none.

        ``port`` must be free on it; 0 means that ``port`` will be asked for later.  Raises
        FAILED_PRECONDITION when no address is left.
        """
        with self._lock:
            known = self._store.fact("address", owner)
            if known:
                return known.decode()
            taken = {value.decode() for value in self._store.facts("address").values()}
            for number in range(2, 255):
                host = f"{self.subnet}.{number}"
                if host not in taken and _bindable(host, port):
                    self._store.put_fact("address", owner, host.encode())
                    return host
        raise errors.failed_precondition(
            owner,
            f"port {port} is not free on any address of {self.subnet}.0/24; another program "
            "probably listens there on all addresses",
        )

    def port(self, owner: str, preferred: int) -> int:
        """The port of ``owner`` on its address: ``preferred``, or the next one that is free."""
        host = self.require(owner)
        with self._lock:
            known = self._store.fact("port", owner)
            if known:
                return int(known)
            for port in range(preferred, preferred + PORTS):
                if _bindable(host, port):
                    self._store.put_fact("port", owner, b"%d" % port)
                    return port
        raise errors.failed_precondition(
            owner, f"none of the ports {preferred} to {preferred + PORTS - 1} is free on {host}"
        )

    def require(self, owner: str) -> str:
        """The address of ``owner``; FAILED_PRECONDITION where it has none."""
        host = self.known(owner)
        if not host:
            raise errors.failed_precondition(owner, f"{owner} has no address")
        return host

    def known(self, owner: str) -> str:
        """The address of ``owner``, or empty text."""
        return (self._store.fact("address", owner) or b"").decode()

    def release(self, owner: str) -> None:
        """Give the address back."""
        self._store.drop_fact("address", owner)
        self._store.drop_fact("port", owner)


def _bindable(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
