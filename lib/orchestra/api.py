"""The agent API as a migration deploys it: its tables, its variables, and whether it answers."""

from collections.abc import Callable
from typing import Any, TypeVar

from lib.errors import MigrationError, VerificationError
from lib.orchestra.platform import API_TOKEN, APPLICATION_PASSWORD, REDIS_AUTH
from lib.postgres.database import Database

T = TypeVar("T")

SECRETS = {
    "DATABASE_PASSWORD": APPLICATION_PASSWORD,
    "REDIS_PASSWORD": REDIS_AUTH,
    "API_TOKEN": API_TOKEN,
}
"""Environment variables that Cloud Run fills from Secret Manager."""


def schema(database: Database, role: str) -> Any:
    """The action that makes the API's own tables, as the database's administrator."""
    from lib.api.schema import AdminConnection, ApiSchema

    admin = AdminConnection(
        host=database.host,
        port=database.port,
        name=database.name,
        user=database.user,
        password=database.password,
        sslmode=database.sslmode,
    )
    return ApiSchema(admin, role)


def variables(step: Any, settings: Any, authorities: Callable[[], str]) -> dict[str, str]:
    """The service's environment, secrets apart; ``authorities`` gives those of an encrypted Redis.

    They are asked for only where it is one.
    """
    encrypted = settings.redis.transit_encryption != "DISABLED"
    return {
        "DATABASE_HOST": step.output("agent-storage-primary", "address"),
        "DATABASE_NAME": settings.alloydb.database,
        "DATABASE_USER": settings.alloydb.application_role,
        "DATABASE_SSLMODE": "require" if settings.target == "google" else "prefer",
        "REDIS_HOST": step.output("agent-memory", "host"),
        "REDIS_PORT": str(step.output("agent-memory", "port")),
        **({"REDIS_TLS": "true", "REDIS_CA": authorities()} if encrypted else {}),
        **step.output("search-breaker", "environment"),
        **_vertex(settings),
    }


def _vertex(settings: Any) -> dict[str, str]:
    if settings.vectors.backend == "alloydb":
        return {}
    project = settings.project
    return {
        "SEARCH_BACKEND": "vertex",
        "VERTEX_PROJECT": project.id,
        "VERTEX_REGION": project.region,
    }


def proven(
    step: Any,
    settings: Any,
    cloud: Any,
    subject: str,
    probe: Callable[[], T],
    *,
    writes: bool = False,
) -> T:
    """What ``probe`` says of the newest revision, which serves from here on.

    Where the probe fails the traffic goes back to the revision that served before, and the
    probe's failure is raised.
    """
    step.make(cloud.run_traffic_to_newest(settings.project, settings.api))
    try:
        return step.check(subject, probe, writes=writes)  # type: ignore[no-any-return]
    except MigrationError:
        if not step.dry_run:
            _go_back(step, settings, cloud)
        raise


def _go_back(step: Any, settings: Any, cloud: Any) -> None:
    from lib.cloud.run import serving_revision

    try:
        service = step.make(cloud.run_traffic_to_fallback(settings.project, settings.api))
    except MigrationError as error:
        step.note(f"the traffic could not go back to the revision before: {error}")
    else:
        step.note(f"revision {serving_revision(service)} serves")


def readiness(uri: str) -> str:
    """What ``/health/ready`` says (network); raises ``VerificationError`` unless all is well."""
    import httpx

    try:
        answer = httpx.get(f"{uri}/health/ready", timeout=10)
    except httpx.HTTPError as error:
        raise VerificationError(f"The API at {uri} does not answer: {error}.") from error
    if answer.status_code != 200:
        raise VerificationError(
            f"The API at {uri} is not ready: {answer.status_code} {answer.text[:300]}",
            expected="200, database and Redis reached",
            remedy="read the revision's log; python -m lib.localcloud status tells where it is",
        )
    return f"ready: {answer.text[:200]}"


def check_endpoints(uri: str, token: str) -> int:
    """How many requests were answered rightly (network); else raises ``VerificationError``."""
    from lib.api import probe

    results = probe.check_endpoints(uri, token)
    wrong = [each for each in results if not each.passed]
    if wrong:
        raise VerificationError(
            f"{len(wrong)} of {len(results)} requests were answered wrongly: "
            + "; ".join(
                f"{each.endpoint} answered {each.status}: {each.detail}" for each in wrong[:5]
            ),
            expected="every endpoint answers as docs/api.md says",
        )
    return len(results)
