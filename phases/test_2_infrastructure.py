"""Phase 2, Infrastructure: project, Redis instance, workstations, and who may do what."""

import pytest

pytestmark = pytest.mark.infrastructure


@pytest.mark.component("core-infrastructure")
@pytest.mark.dependency(name="project", depends=["permissions", "packages"], scope="session")
def test_the_project_stands_under_its_organization(step, settings, cloud):
    """The project exists under its organization and has its labels."""
    project = step.make(cloud.project(settings.project))
    step.publish(name=project.name)


@pytest.mark.component("core-infrastructure")
@pytest.mark.dependency(name="services", depends=["project"], scope="session")
def test_the_services_are_enabled(step, settings, cloud):
    """Every API that the platform uses is enabled in the project, and its region has them."""
    from lib.orchestra.reach import check_region

    check_region(step, cloud, settings, step.make(cloud.services(settings.project)))


@pytest.mark.component("core-infrastructure")
@pytest.mark.dependency(name="network", depends=["services"], scope="session")
def test_the_network_reaches_googles_services(step, settings, cloud):
    """The network, its subnetwork, and a private connection where a service needs it exist."""
    from lib.orchestra.reach import needs_private_access

    step.make(cloud.network(settings.project, settings.network))
    step.make(cloud.subnetwork(settings.project, settings.network))
    if not needs_private_access(settings):
        return step.note("no private connection is needed (alloydb.ip_type)")
    step.make(cloud.services_range(settings.project, settings.network))
    step.make(cloud.private_connection(settings.project, settings.network))


@pytest.mark.component("core-infrastructure")
@pytest.mark.dependency(name="agent-memory", depends=["network"], scope="session")
def test_agent_memory_exists(step, settings, cloud):
    """Redis instance agent-memory exists."""
    instance = step.make(cloud.redis_instance(settings.project, settings.network, settings.redis))
    step.publish(host=instance.host, port=instance.port)


@pytest.mark.component("workstation-setup")
@pytest.mark.dependency(name="ai-development", depends=["network"], scope="session")
def test_the_workstation_cluster_exists(step, settings, cloud):
    """Workstation cluster ai-development exists."""
    step.make(cloud.workstation_cluster(settings.project, settings.network, settings.workstations))


@pytest.mark.component("workstation-setup")
@pytest.mark.dependency(name="gpu-config", depends=["ai-development"], scope="session")
def test_the_configuration_has_gpus(step, settings, cloud):
    """The workstations' configuration has a machine type with GPUs that go with it."""
    step.make(cloud.workstation_config(settings.project, settings.workstations))


@pytest.mark.component("workstation-setup")
@pytest.mark.dependency(name="first-workstation", depends=["gpu-config"], scope="session")
def test_a_workstation_exists(step, settings, cloud):
    """A workstation exists."""
    step.make(cloud.workstation(settings.project, settings.workstations))


@pytest.mark.component("workstation-setup")
@pytest.mark.dependency(name="workstation-starts", depends=["first-workstation"], scope="session")
def test_the_workstation_starts(step, settings, cloud):
    """The workstation starts and answers; afterwards it is stopped, as it costs while it runs."""
    from lib.orchestra.workstations import start_and_stop

    started = step.check(
        "workstation start",
        lambda: start_and_stop(cloud, settings.project, settings.workstations),
        writes=True,
    )
    step.publish(seconds=started.seconds)


@pytest.mark.component("security-configuration")
@pytest.mark.dependency(name="service-account", depends=["services"], scope="session")
def test_the_service_account_has_the_least_it_needs(step, settings, cloud):
    """The agents' service account exists and holds the roles that it needs."""
    from lib.orchestra.permissions import service_account_roles

    account = step.make(cloud.service_account(settings.project))
    roles = service_account_roles(settings.vectors)
    step.make(cloud.project_roles(f"serviceAccount:{account.email}", roles))
    step.publish(email=account.email)


@pytest.mark.component("security-configuration")
@pytest.mark.dependency(name="agent-memory-auth", depends=["agent-memory"], scope="session")
def test_agent_memory_asks_for_a_password(step, settings, cloud, platform):
    """Redis instance agent-memory has AUTH on; its string is in Secret Manager."""
    from lib.orchestra.platform import REDIS_AUTH

    step.make(cloud.redis_auth(settings.project, settings.redis))
    step.make(cloud.secret(REDIS_AUTH, platform.redis_auth))


@pytest.mark.component("security-configuration")
@pytest.mark.dependency(
    name="application-role",
    depends=["indexes-and-constraints", "rows-verified", "service-account"],
    scope="session",
)
def test_the_application_has_a_role_of_its_own(step, settings, cloud, platform):
    """The application has a database role that reads and writes rows and changes no schema."""
    from lib.orchestra.platform import APPLICATION_PASSWORD, new_secret
    from lib.orchestra.relational import application_role

    step.make(cloud.secret(APPLICATION_PASSWORD, new_secret))
    step.make(
        application_role(
            platform.database(step), settings, lambda: platform.secret(APPLICATION_PASSWORD)
        )
    )


@pytest.mark.component("security-configuration")
@pytest.mark.dependency(name="iam-users", depends=["application-role"], scope="session")
def test_iam_users_hold_the_applications_role(step, settings, cloud):
    """The principals that the settings name log in by IAM and hold the application's role."""
    if not settings.alloydb.iam_users:
        return step.note("no IAM users are wanted (alloydb.iam_users)")
    from lib.orchestra.permissions import IAM_USER_ROLES, member

    roles = [settings.alloydb.application_role]
    for each in settings.alloydb.iam_users:
        step.make(cloud.project_roles(member(each), IAM_USER_ROLES))
        step.make(cloud.alloydb_iam_user(settings.project, settings.alloydb, each, roles))


@pytest.mark.component("security-configuration")
@pytest.mark.dependency(
    name="secret-access",
    depends=["application-role", "agent-memory-auth", "service-account"],
    scope="session",
)
def test_only_the_service_account_reads_its_secrets(step, cloud):
    """The service account may read the three secrets of its own, one by one."""
    from lib.orchestra.platform import API_TOKEN, APPLICATION_PASSWORD, REDIS_AUTH, new_secret

    member = f"serviceAccount:{step.output('service-account', 'email')}"
    step.make(cloud.secret(API_TOKEN, new_secret))
    for secret in (APPLICATION_PASSWORD, REDIS_AUTH, API_TOKEN):
        step.make(cloud.secret_access(secret, member))
