"""Google's own AlloyDB connectors at work; a process of its own, for gRPC reads its roots once.

``python -m tests.localcloud.connector_scenario INSTANCE`` with JSON on standard input:
``endpoint``, ``tokens`` by name, ``attempts``.  Prints one line of JSON: what each attempt gave,
or its error.
"""

import asyncio
import datetime
import json
import sys
from typing import Any

from google.cloud.alloydbconnector import AsyncConnector, Connector
from google.oauth2.credentials import Credentials


def credentials(token: str) -> Credentials:
    """A bearer token as Google's library wants it; the connector asks for an expiry."""
    expiry = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(hours=1)
    return Credentials(token, expiry=expiry)


def ask_sync(about: dict[str, Any], instance: str, attempt: dict[str, Any]) -> str:
    """Who the synchronous connector is, by psycopg."""
    tokens = about["tokens"]
    database = tokens[attempt.get("database_token", attempt["token"])]
    with Connector(
        credentials(tokens[attempt["token"]]),
        credentials(database),
        alloydb_api_endpoint=about["endpoint"],
        refresh_strategy="lazy",
    ) as connector:
        connection = connector.connect(instance, "psycopg", db="postgres", **attempt["connect"])
        with connection:
            return str(connection.execute("SELECT current_user::text").fetchone()[0])


async def ask_async(about: dict[str, Any], instance: str, attempt: dict[str, Any]) -> str:
    """Who the asynchronous connector is, by asyncpg."""
    async with AsyncConnector(
        credentials(about["tokens"][attempt["token"]]),
        alloydb_api_endpoint=about["endpoint"],
        refresh_strategy="lazy",
    ) as connector:
        connection = await connector.connect(
            instance, "asyncpg", db="postgres", **attempt["connect"]
        )
        try:
            return str(await connection.fetchval("SELECT current_user::text"))
        finally:
            await connection.close()


def main() -> None:
    """Make the attempts, one after the other."""
    about, instance, results = json.load(sys.stdin), sys.argv[1], {}
    for name, attempt in about["attempts"].items():
        try:
            if attempt["driver"] == "asyncpg":
                results[name] = asyncio.run(ask_async(about, instance, attempt))
            else:
                results[name] = ask_sync(about, instance, attempt)
        except Exception as error:
            results[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
