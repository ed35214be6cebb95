"""Phase 4, Vector Search: indexes, their tuning to a recall target, and the breaker."""

import pytest

pytestmark = pytest.mark.vector_search


@pytest.mark.component("vector-index-creation")
@pytest.mark.dependency(name="vector-indexes", depends=["rows-verified"], scope="session")
def test_every_vector_column_has_an_index(step, settings, vectors):
    """Every vector column has an index, made for the number of rows that it holds."""
    for design in vectors.designs(settings.vectors):
        step.make(vectors.index(design))


@pytest.mark.component("vector-index-creation")
@pytest.mark.dependency(name="vertex-indexes", depends=["vector-indexes"], scope="session")
def test_vertex_has_an_index_for_every_collection(step, settings, cloud, vertex):
    """Where Vertex AI searches, it has an index for every collection, and an endpoint."""
    if vertex is None:
        return step.note("searches stay in AlloyDB")
    for reason in vertex.left_out():
        step.note(reason)
    for what in vertex.collections():
        step.make(cloud.vector_index(settings.project, vertex.spec(what)))
    step.make(cloud.index_endpoint(settings.project, settings.vertex.endpoint))


@pytest.mark.component("vector-index-creation")
@pytest.mark.dependency(name="vertex-deployed", depends=["vertex-indexes"], scope="session")
def test_vertex_serves_every_index(step, settings, cloud, vertex):
    """Where Vertex AI searches, every index is deployed at the endpoint."""
    if vertex is None:
        return step.note("searches stay in AlloyDB")
    from lib.orchestra.vertex import where

    for what in vertex.collections():
        state = step.make(
            cloud.deployed_index(
                settings.project,
                vertex.name(what),
                vertex.spec(what),
                settings.vertex.endpoint,
                vertex.machines,
            )
        )
        step.publish(**{what.label: where(state)})


@pytest.mark.component("vector-index-creation")
@pytest.mark.dependency(
    name="vertex-datapoints", depends=["vertex-deployed", "application-role"], scope="session"
)
def test_vertex_has_every_vector(step, cloud, vertex):
    """Where Vertex AI searches, it has every vector, and each later change is noted."""
    if vertex is None:
        return step.note("searches stay in AlloyDB")
    for what in vertex.collections():
        step.make(vertex.noted(what))
        step.make(vertex.loaded(what, vertex.points(cloud, step, what)))


@pytest.mark.component("vector-optimization")
@pytest.mark.dependency(name="vector-search-tuned", depends=["vector-indexes"], scope="session")
def test_searches_reach_the_recall_target(step, settings, vectors):
    """Every vector index is searched with the cheapest parameters that reach the recall target."""
    from lib.orchestra.vectors import told

    for design in vectors.designs(settings.vectors):
        step.note(told(design, step.make(vectors.tuning(design, settings.vectors))))


@pytest.mark.component("vector-optimization")
@pytest.mark.dependency(name="vertex-tuned", depends=["vertex-datapoints"], scope="session")
def test_vertex_searches_reach_the_recall_target(step, cloud, vertex):
    """Where Vertex AI searches, it does so with the least effort that reaches the recall target."""
    if vertex is None:
        return step.note("searches stay in AlloyDB")
    from lib.orchestra.vertex import told

    for what in vertex.collections():
        tuned = step.make(vertex.tuned(what, vertex.points(cloud, step, what)))
        step.note(told(what, tuned))


@pytest.mark.component("circuit-breaker-setup")
@pytest.mark.dependency(
    name="search-breaker", depends=["vector-search-tuned", "vertex-tuned"], scope="session"
)
def test_the_breaker_guards_the_search(step, settings, platform, cloud, vertex):
    """The search path's breaker trips on a broken target, fails fast, and recovers."""
    from lib.orchestra import breaker

    target, wanted = platform.database(step), breaker.config(settings.breaker)
    proof = step.check(
        "search breaker", lambda: breaker.prove_database(target, wanted), writes=True
    )
    step.note(proof.describe())
    paths = vertex.paths(cloud, step) if vertex is not None else None
    if paths is not None:
        proof = step.check(
            "Vertex AI search breaker", lambda: breaker.prove(*paths, wanted), writes=True
        )
        step.note(proof.describe())
    step.publish(environment=breaker.environment(settings.breaker))
