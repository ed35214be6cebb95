"""What must be closed is closed: every door is tried without the right to enter."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import redis

from lib.errors import VerificationError
from lib.orchestra.platform import Platform
from lib.postgres.database import connect
from lib.postgres.errors import AuthenticationFailed


def try_every_door(platform: Platform, step: Any) -> list[str]:
    """What was refused, a sentence each; raises ``VerificationError`` for a door that is open."""
    doors: list[Callable[[Platform, Any], str]] = [
        database_refuses_a_wrong_password,
        application_role_changes_no_schema,
        redis_refuses_without_password,
        api_refuses_without_token,
    ]
    return [door(platform, step) for door in doors]


def database_refuses_a_wrong_password(platform: Platform, step: Any) -> str:
    """The application's role does not get in with another password."""
    database = replace(platform.application_database(step), password="not-the-password")
    try:
        connect(database).close()
    except AuthenticationFailed:
        return "the database refuses a wrong password"
    raise VerificationError(
        f"The database lets {database.user} in with a wrong password.",
        remedy="look at the instance's authentication settings",
    )


def application_role_changes_no_schema(platform: Platform, step: Any) -> str:
    """The application's role may create no table; what it tries is rolled back in any case."""
    with connect(platform.application_database(step), autocommit=False) as connection:
        try:
            connection.execute("CREATE TABLE public.migration_probe ()")
        except psycopg.errors.InsufficientPrivilege:
            return "the application's role may create no table"
        finally:
            connection.rollback()
    raise VerificationError(
        "The application's role may create tables in schema public.",
        remedy="REVOKE CREATE ON SCHEMA public FROM PUBLIC on the target",
    )


def redis_refuses_without_password(platform: Platform, step: Any) -> str:
    """Redis answers nobody who does not authenticate."""
    access = platform.redis(step)
    url = access.url
    try:
        with access.client(anonymous=True) as client:
            client.ping()
    except redis.AuthenticationError:
        return "Redis refuses who has no password"
    except redis.RedisError as error:
        raise VerificationError(
            f"Redis at {url} does not answer: {str(error).rstrip('.')}."
        ) from error
    raise VerificationError(f"Redis at {url} answers without a password.")


def api_refuses_without_token(platform: Platform, step: Any) -> str:
    """The API answers 401 without a token, and with a wrong one."""
    del platform
    uri = step.output("agent-api", "uri")
    for headers in ({}, {"Authorization": "Bearer not-the-token"}):
        try:
            answer = httpx.get(f"{uri}/v1/agents", headers=headers, timeout=10)
        except httpx.HTTPError as error:
            raise VerificationError(f"The API at {uri} does not answer: {error}.") from error
        if answer.status_code != 401:
            raise VerificationError(
                f"The API answers {answer.status_code} to a caller without its token.",
                expected="401",
            )
    return "the API refuses who has no token"
