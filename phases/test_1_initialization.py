"""Phase 1, Initialization: where the migration runs, who runs it, and what it needs."""

import pytest

pytestmark = pytest.mark.initialization


@pytest.mark.component("environment-detection")
@pytest.mark.dependency(name="environment", depends=[], scope="session")
def test_the_environment_is_known(step, settings, platform, cloud):
    """It is known where the migration runs and which target follows from that; it answers."""
    step.note(f"runs on {platform.where}")
    step.note(f"target at {cloud.target.endpoint or 'googleapis.com'}")
    step.note(f"target: {settings.target}, project {settings.project.id}")
    step.publish(where=str(platform.where.kind), target=settings.target)


@pytest.mark.component("auth-validation")
@pytest.mark.dependency(name="credentials", depends=["environment"], scope="session")
def test_credentials_are_accepted(step, platform):
    """There are credentials, and the target accepts them."""
    if platform.credentials is None:
        step.note("the embedded cloud's own token is used")
    else:
        step.check("credentials", platform.credentials.check)
        step.note(f"{platform.credentials.principal} ({platform.credentials.source})")


@pytest.mark.component("auth-validation")
@pytest.mark.dependency(name="permissions", depends=["credentials"], scope="session")
def test_no_permission_is_missing(step, settings, cloud):
    """The caller has every permission that the run will need."""
    from lib.orchestra.permissions import check_permissions

    granted = step.check("permissions", lambda: check_permissions(cloud, settings))
    step.note(granted)


@pytest.mark.component("dependency-check")
@pytest.mark.dependency(name="packages", depends=["environment"], scope="session")
def test_packages_are_as_asked_for(step, settings):
    """Every package is installed in a version that the project asks for."""
    from lib.orchestra.beam import check_beam
    from lib.orchestra.checks import check_packages

    step.note(f"{len(step.check('packages', check_packages))} packages are as asked for")
    if settings.data_migration.engine == "beam":
        step.note(step.check("Apache Beam", lambda: check_beam(settings)))


@pytest.mark.component("dependency-check")
@pytest.mark.dependency(name="source-postgresql", depends=["packages"], scope="session")
def test_the_source_postgresql_answers(step, platform):
    """The source's PostgreSQL answers, and pg_dump can read it."""
    from lib.orchestra.checks import check_pg_dump
    from lib.orchestra.source import postgresql_facts
    from lib.runtime.binaries import pg_dump_path

    source = platform.source_database
    if source is None:
        return step.note("no PostgreSQL source: no rows to move")
    facts = step.check("source PostgreSQL", lambda: postgresql_facts(source))
    dump = step.check("pg_dump", lambda: check_pg_dump(pg_dump_path(), int(facts.version)))
    step.note(f"PostgreSQL {facts.version}, {facts.size / 1e6:,.0f} MB; pg_dump {dump}")
    step.publish(bytes=facts.size)


@pytest.mark.component("dependency-check")
@pytest.mark.dependency(name="source-redis", depends=["packages"], scope="session")
def test_the_source_redis_answers(step, platform):
    """The source's Redis answers."""
    from lib.orchestra.source import redis_keys

    if platform.source_redis is None:
        return step.note("no Redis source: no keys to move")
    keys = step.check("source Redis", lambda: redis_keys(platform.source_redis))
    step.note(f"{keys:,} keys")


@pytest.mark.component("dependency-check")
@pytest.mark.dependency(name="disk", depends=["source-postgresql"], scope="session")
def test_there_is_room_on_the_disk(step, settings, platform):
    """The disk has room for what an embedded target will hold."""
    from lib.orchestra.checks import check_disk

    if settings.target == "google" or platform.source_database is None:
        return step.note("nothing is kept on this machine")
    needed = 4 * step.output("source-postgresql", "bytes") + 500_000_000
    free = step.check("disk", lambda: check_disk(platform.state, needed))
    step.note(f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed")
