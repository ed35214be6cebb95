"""An endpoint of Private Service Connect: what connects to its address reaches an AlloyDB instance.

``python -m lib.localcloud.endpoint STATE INSTANCE CA SERVER_PEM SERVER_KEY DATABASE HOST`` passes
connections to HOST's port 5432 on to PostgreSQL at DATABASE, and is a proxy for Google's own
connectors on port 5433.
"""

import asyncio
import ipaddress
import logging
import sys
from pathlib import Path

from lib.localcloud import alloydb_proxy
from lib.localcloud.alloydb_admission import Admission
from lib.localcloud.frontend import Incoming
from lib.localcloud.tls_front import Inner


async def serve(host: str, database: str) -> None:
    """Pass connections until the process is ended."""
    for each in (host, database):
        if not ipaddress.ip_address(each).is_loopback:
            sys.exit(f"{each} is not a loopback address")
    port = alloydb_proxy.DATABASE_PORT
    server = await asyncio.get_running_loop().create_server(
        lambda: Incoming(Inner(database, port), apology=b""), host, port, backlog=512
    )
    await server.serve_forever()


async def serve_both(
    host: str, database: str, proxy: alloydb_proxy.Proxy, files: list[str]
) -> None:
    """Serve PostgreSQL and the connectors."""
    connectors = alloydb_proxy.serve([host], proxy, alloydb_proxy.context(*files))
    await asyncio.gather(serve(host, database), connectors)


def main() -> None:
    """Run with uvloop."""
    import uvloop

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state, instance, *files, database, host = sys.argv[1:]
    proxy = alloydb_proxy.Proxy(Admission(Path(state), instance), database)
    uvloop.run(serve_both(host, database, proxy, files))


if __name__ == "__main__":
    main()
