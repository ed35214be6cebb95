"""Phase 6, Validation: what was built is reachable, fast enough, and closed to others."""

import pytest

pytestmark = pytest.mark.validation


@pytest.mark.component("connectivity-check")
@pytest.mark.dependency(name="connectivity", depends=["api-endpoints"], scope="session")
def test_every_service_reaches_what_it_must(step, platform):
    """Database, Redis and API answer those who may ask them."""
    from lib.orchestra.connectivity import reach_everything

    for told in step.check("connectivity", lambda: reach_everything(platform, step), writes=True):
        step.note(told)


@pytest.mark.component("security-validation")
@pytest.mark.dependency(name="closed-doors", depends=["connectivity"], scope="session")
def test_what_must_be_closed_is_closed(step, platform):
    """Nobody gets in without a password or a token, and the application can change no schema."""
    from lib.orchestra.security import try_every_door

    for told in step.check("closed doors", lambda: try_every_door(platform, step), writes=True):
        step.note(told)


@pytest.mark.component("performance-validation")
@pytest.mark.dependency(
    name="criteria", depends=["connectivity", "closed-doors", "workstation-starts"], scope="session"
)
def test_the_seven_criteria_hold(step, evidence):
    """All seven criteria hold."""
    from lib.orchestra.criteria import require_all
    from lib.orchestra.stopwatch import PlainStopwatch

    rows = step.check("criteria", lambda: require_all(evidence.rows(PlainStopwatch())), writes=True)
    step.publish(rows=[row.to_json() for row in rows])
