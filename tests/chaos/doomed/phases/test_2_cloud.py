"""Resources of the embedded cloud: a project with its services, a secret, a Redis instance."""

import pytest

from lib.settings import NetworkSettings, RedisSettings


@pytest.mark.component("cloud")
@pytest.mark.dependency(name="project", depends=[], scope="session")
def test_project(step, cloud, project):
    """The project and its services are there."""
    step.make(cloud.project(project))
    step.make(cloud.services(project))


@pytest.mark.component("cloud")
@pytest.mark.dependency(name="key", depends=["project", "notes"], scope="session")
def test_key(step, cloud):
    """A key is kept as a secret."""
    step.make(cloud.secret("key", lambda: "made once"))
    step.publish(secret="key")


@pytest.mark.component("cloud")
@pytest.mark.dependency(name="memory", depends=["key"], scope="session")
def test_memory(step, cloud, project, settings):
    """A Redis instance serves."""
    redis = RedisSettings(instance="memory", memory_gb=settings.memory_gb, tier="BASIC")
    instance = step.make(cloud.redis_instance(project, NetworkSettings(), redis))
    step.publish(port=instance.port, key=step.output("key", "secret"))
