"""Every service reaches what it must: asked for real, over the network."""

from typing import Any
from uuid import uuid4

import redis

from lib.errors import VerificationError
from lib.orchestra.api import readiness
from lib.orchestra.platform import Platform
from lib.postgres.database import connect, version


def reach_everything(platform: Platform, step: Any) -> list[str]:
    """What was reached, a sentence each; raises the error of the first that was not."""
    return [
        query_database(platform, step),
        write_and_read_redis(platform, step),
        "API " + readiness(step.output("agent-api", "uri")),
    ]


def query_database(platform: Platform, step: Any) -> str:
    """Ask the database for its version as the application's role."""
    database = platform.application_database(step)
    with connect(database) as connection:
        return f"PostgreSQL {version(connection)} answers {database.user} at {database.host}"


def write_and_read_redis(platform: Platform, step: Any) -> str:
    """Write a key that expires by itself, read it back, delete it."""
    access = platform.redis(step)
    url = access.url
    key, value = f"migration:probe:{uuid4().hex}", uuid4().hex
    client = access.client(decode_responses=True)
    try:
        with client:
            client.set(key, value, ex=60)
            found = client.get(key)
            client.delete(key)
    except redis.RedisError as error:
        raise VerificationError(
            f"Redis at {url} does not take a write: {str(error).rstrip('.')}.",
            expected="a write that is read back",
            remedy="see whether the instance is READY and AUTH is what Secret Manager holds",
        ) from error
    if found != value:
        raise VerificationError(f"Redis at {url} gave back something else than was written.")
    return f"Redis at {url} gives back what is written to it"
