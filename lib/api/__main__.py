"""``python -m lib.api``: serve the API as the environment variables say."""

import os
import signal
import socket
import sys

import uvicorn

from lib.api import logs
from lib.api.application import create
from lib.api.configuration import Configuration
from lib.errors import MigrationError


def main() -> int:
    """Serve until SIGTERM or SIGINT; 2 for a wrong configuration, 1 for an address in use."""
    try:
        configuration = Configuration.from_environment(os.environ)
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        listening = _listen(configuration.host, configuration.port)
    except OSError as error:
        place = f"{configuration.host}:{configuration.port}"
        print(f"{place} cannot be listened on: {error.strerror}.", file=sys.stderr)
        return 1
    logs.begin(configuration.log_level)
    server = uvicorn.Server(
        uvicorn.Config(
            create(configuration),
            loop="uvloop",
            http="httptools",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=configuration.shutdown_seconds,
            timeout_keep_alive=75,
        )
    )
    # uvicorn raises the signal that stopped it once more; a drained shutdown is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listening])
    return 0 if server.started else 1


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


if __name__ == "__main__":
    sys.exit(main())
