"""Asking a process whether it is ready."""

import http.client
import socket
import time
from collections.abc import Callable
from typing import Final

POLL_SECONDS: Final = 0.03


def http_answers(host: str, port: int, path: str, timeout: float = 1.0) -> bool:
    """Whether a GET is answered with a status from 200 to 399."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tcp_answers(host: str, port: int, timeout: float = 1.0) -> bool:
    """Whether a connection is accepted."""
    try:
        socket.create_connection((host, port), timeout=timeout).close()
    except OSError:
        return False
    return True


def await_ready(ready: Callable[[], bool], alive: Callable[[], bool], seconds: float) -> bool:
    """True once ready; False when the process ended or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return True
        if not alive():
            return False
        time.sleep(POLL_SECONDS)
    return False
