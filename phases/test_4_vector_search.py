"""Phase 4, Vector Search: indexes, their tuning to a recall target, and the breaker."""

import pytest

pytestmark = pytest.mark.vector_search


@pytest.mark.component("vector-index-creation")
@pytest.mark.dependency(name="vector-indexes", depends=["rows-verified"], scope="session")
def test_every_vector_column_has_an_index(step, settings, vectors):
    """Every vector column has an index, made for the number of rows that it holds."""
    for design in vectors.designs(settings.vectors):
        step.make(vectors.index(design))


@pytest.mark.component("vector-optimization")
@pytest.mark.dependency(name="vector-search-tuned", depends=["vector-indexes"], scope="session")
def test_searches_reach_the_recall_target(step, settings, vectors):
    """Every vector index is searched with the cheapest parameters that reach the recall target."""
    from lib.orchestra.vectors import told

    for design in vectors.designs(settings.vectors):
        step.note(told(design, step.make(vectors.tuning(design, settings.vectors))))


@pytest.mark.component("circuit-breaker-setup")
@pytest.mark.dependency(name="search-breaker", depends=["vector-search-tuned"], scope="session")
def test_the_breaker_guards_the_search(step, settings, platform):
    """The search path's breaker trips on a broken target, fails fast, and recovers."""
    from lib.orchestra import breaker

    target = platform.database(step)
    proof = step.check(
        "search breaker",
        lambda: breaker.prove(target, breaker.config(settings.breaker)),
        writes=True,
    )
    step.note(proof.describe())
    step.publish(environment=breaker.environment(settings.breaker))
