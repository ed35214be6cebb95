"""Revisions of the real API on the embedded Cloud Run: who serves, and who serves again."""

import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import httpx
import pytest

from lib.api.probe import check_endpoints as probed
from lib.cloud.cloud import Cloud
from lib.cloud.errors import CloudError
from lib.cloud.run import FALLBACK, serving_revision
from lib.cloud.target import Target
from lib.engine.run import Run
from lib.engine.step import Step
from lib.engine.store import Store
from lib.errors import VerificationError
from lib.orchestra.api import check_endpoints, proven
from lib.settings import ApiSettings, ProjectSettings
from tests.api.api_process import TOKEN, environment

SETTINGS = SimpleNamespace(
    project=ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}"), api=ApiSettings()
)


@pytest.fixture(scope="module")
def cloud(localcloud) -> Iterator[Cloud]:
    """The embedded cloud with a project that may use Cloud Run."""
    about = (localcloud.endpoint, localcloud.ca, localcloud.token)
    cloud = Cloud(Target.embedded(*about, project=SETTINGS.project.id))
    yield cloud
    cloud.close()


@pytest.fixture
def step(tmp_path) -> Iterator[Callable[[], Step]]:
    """Makes steps of the real engine, each of a run of its own."""
    store = Store(tmp_path / "rollout.db")

    def make() -> Step:
        return Step("api-endpoints", Run(store, settings=SETTINGS))

    yield make
    store.close()


@pytest.fixture
def deploy(cloud: Cloud, step, platform_url: str) -> Callable[..., object]:
    """Deploys a revision of the API with these variables."""

    def make(**more: str) -> object:
        variables = environment(platform_url, None, **more)
        for name in ("PATH", "PYTHONPATH", "HOST", "PORT", "REDIS_HOST", "REDIS_PORT"):
            del variables[name]
        service = cloud.run_service(SETTINGS.project, SETTINGS.api, variables, {}, "sa@x")
        container = service.body["template"]["containers"][0]
        assert container["startup_probe"]["http_get"]["path"] == "/health/ready"
        if "DATABASE_NAME" in more:  # known to fail: a minute of patience would be wasted
            container["startup_probe"].update(period_seconds=1, failure_threshold=2)
        return step().make(service)

    return make


def test_a_revision_serves_only_while_it_is_healthy_and_answers_rightly(
    cloud: Cloud, step, deploy
) -> None:
    for action in (cloud.project(SETTINGS.project), cloud.services(SETTINGS.project)):
        step().make(action)

    def examined(made: Step) -> int:
        def probe() -> int:
            return check_endpoints(uri, TOKEN)

        count = proven(made, SETTINGS, cloud, "API endpoints", probe, writes=True)
        made.make(cloud.run_acceptance(SETTINGS.project, SETTINGS.api))
        return count

    def now() -> object:
        return cloud.run_service(SETTINGS.project, SETTINGS.api, {}, {}, "").observe()

    first = deploy()
    uri = first.uri
    assert examined(step()) > 10
    good = serving_revision(now())

    # Its health check fails: the traffic never moves.
    with pytest.raises(CloudError):
        deploy(DATABASE_NAME="no_such_database")
    assert serving_revision(now()) == good
    assert all(each.passed for each in probed(uri, TOKEN))

    # It is healthy, but answers wrongly: the traffic moves and comes back.
    deploy(API_TOKEN="another-token")
    bad = now().latest_ready_revision.rpartition("/")[2]
    assert serving_revision(now()) == bad != good
    for attempt in (step(), step()):  # a later run tries the newest again, and goes back again
        with pytest.raises(VerificationError, match="answered wrongly"):
            examined(attempt)
        assert attempt.notes == [f"revision {good} serves"]
        assert serving_revision(now()) == good
        assert all(each.passed for each in probed(uri, TOKEN))

    # A mended one waits for its health check behind the good one, and is then the one to keep.
    with pytest.raises(CloudError):
        deploy(DATABASE_NAME="no_such_database")
    assert serving_revision(now()) == good
    deploy(LOG_LEVEL="WARNING")
    assert (serving_revision(now()), now().annotations[FALLBACK]) == (good, good)
    assert examined(step()) > 10
    mended = serving_revision(now())
    assert mended == now().latest_created_revision.rpartition("/")[2]
    assert now().annotations[FALLBACK] == mended
    assert httpx.get(f"{uri}/health/ready").status_code == 200

    # What was accepted is not given up for an older one when the database is in trouble later.
    def trouble() -> int:
        raise VerificationError("The database is in trouble.")

    with pytest.raises(VerificationError):
        proven(step(), SETTINGS, cloud, "API endpoints", trouble)
    assert serving_revision(now()) == mended
