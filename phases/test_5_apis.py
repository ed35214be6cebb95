"""Phase 5, APIs: the agent API on Cloud Run, its settings, and whether every endpoint answers."""

import pytest

pytestmark = pytest.mark.apis


@pytest.mark.component("data-migration")
@pytest.mark.dependency(name="cutover", depends=["rows-verified"], scope="session")
def test_the_target_takes_over(step, relational):
    """Writes on the source stop, the last change arrives, all rows agree, the target opens."""
    if relational is None:
        return step.note("no PostgreSQL source: no writes to take over")
    if not relational.is_online:
        return step.note("offline: writers were stopped before the copy")
    state = step.make(relational.cutover())
    if state.seconds is not None:
        step.note(f"nobody could write for {state.seconds:.2f} s")
    step.publish(seconds_without_writes=state.seconds)


@pytest.mark.component("vector-index-creation")
@pytest.mark.dependency(name="vertex-in-step", depends=["cutover", "vertex-tuned"], scope="session")
def test_vertex_is_in_step_with_the_target(step, cloud, vertex):
    """Where Vertex AI searches, it has every change up to the cutover."""
    if vertex is None:
        return step.note("searches stay in AlloyDB")
    for what in vertex.collections():
        step.make(vertex.loaded(what, vertex.points(cloud, step, what)))


@pytest.mark.component("data-migration")
@pytest.mark.dependency(name="keys-cutover", depends=["keys", "cutover"], scope="session")
def test_the_target_takes_over_the_keys(step, keyspace):
    """Redis writes on the source stop, the last change arrives, and all keys agree."""
    if keyspace is None:
        return step.note("no Redis source: no writes to take over")
    if not keyspace.is_online:
        return step.note("offline: writers were stopped before the copy")
    step.make(keyspace.cut_over())


@pytest.mark.component("api-deployment")
@pytest.mark.dependency(name="api-schema", depends=["application-role"], scope="session")
def test_the_api_has_its_tables(step, settings, platform):
    """The API's own tables exist, and the application's role may use them."""
    from lib.orchestra.api import schema

    step.make(schema(platform.database(step), settings.alloydb.application_role))


@pytest.mark.component("api-deployment")
@pytest.mark.dependency(
    name="agent-api",
    depends=[
        "api-schema",
        "secret-access",
        "vector-search-tuned",
        "search-breaker",
        "vertex-in-step",
        "keys-cutover",
    ],
    scope="session",
)
def test_the_api_is_deployed(step, settings, cloud, platform):
    """Cloud Run service agent-api serves its newest revision, with its settings and secrets."""
    from lib.orchestra.api import SECRETS, variables

    service = step.make(
        cloud.run_service(
            settings.project,
            settings.api,
            variables(step, settings, platform.redis_authorities),
            SECRETS,
            step.output("service-account", "email"),
            settings.network if settings.target == "google" else None,
            background=settings.vectors.backend == "vertex",
        )
    )
    step.publish(uri=service.uri)


@pytest.mark.component("api-configuration")
@pytest.mark.dependency(name="api-invoker", depends=["agent-api"], scope="session")
def test_the_right_callers_may_invoke_the_api(step, settings, cloud):
    """The members that the settings name may call the service."""
    step.make(cloud.run_invoker(settings.project, settings.api))


@pytest.mark.component("api-configuration")
@pytest.mark.dependency(name="api-ready", depends=["api-invoker"], scope="session")
def test_the_api_reaches_its_stores(step, settings, cloud):
    """The newest revision serves and is ready: it reaches its database and its cache."""
    from lib.orchestra.api import proven, readiness

    uri = step.output("agent-api", "uri")
    step.note(proven(step, settings, cloud, "API readiness", lambda: readiness(uri)))


@pytest.mark.component("api-testing")
@pytest.mark.dependency(name="api-endpoints", depends=["api-ready"], scope="session")
def test_every_endpoint_answers_rightly(step, settings, cloud, platform):
    """Every endpoint answers rightly; else the revision that served before serves again."""
    from lib.orchestra.api import check_endpoints, proven
    from lib.orchestra.platform import API_TOKEN

    uri = step.output("agent-api", "uri")
    checked = proven(
        step,
        settings,
        cloud,
        "API endpoints",
        lambda: check_endpoints(uri, platform.secret(API_TOKEN)),
        writes=True,
    )
    step.make(cloud.run_acceptance(settings.project, settings.api))
    step.note(f"{checked} requests were answered rightly")
