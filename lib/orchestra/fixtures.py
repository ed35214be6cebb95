"""AI Orchestra as pytest sees it: settings, the platform, and what the report tells of both."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lib.engine.run import Mode
from lib.environments import environment_file, load_settings
from lib.plugin.session import MigrationSession, of
from lib.report.model import ConnectionRow, CriterionRow
from lib.settings import ROOT, Settings

if TYPE_CHECKING:
    from lib.cloud.cloud import Cloud
    from lib.orchestra.contents import Contents
    from lib.orchestra.criteria import Evidence
    from lib.orchestra.keyspace import Keyspace
    from lib.orchestra.platform import Platform
    from lib.orchestra.relational import Relational
    from lib.orchestra.vectors import Vectors
    from lib.orchestra.vertex import Vertex

_PLATFORM = pytest.StashKey["Platform"]()


def pytest_migration_state(config: pytest.Config) -> Path:
    """``$ORCHESTRA_STATE``, else ``.migration`` in the checkout."""
    return Path(os.environ.get("ORCHESTRA_STATE") or config.rootpath / ".migration").absolute()


def pytest_migration_settings(environment: str) -> Settings:
    """The environment file, with the target that ``auto`` means here."""
    from lib.cloud import limits as google
    from lib.orchestra import limits
    from lib.orchestra.platform import resolved

    path = environment_file(environment, ROOT)
    settings = resolved(load_settings(path))
    google.check(settings)
    limits.check(settings)
    return settings


def pytest_migration_world(config: pytest.Config) -> str:
    """Checkpoints count only for the target that they were made on."""
    return platform_of(config).world


def platform_of(config: pytest.Config) -> "Platform":
    """The platform of this pytest run."""
    from lib.orchestra.platform import Platform

    found = config.stash.get(_PLATFORM, None)
    if found is None:
        session: MigrationSession = of(config)
        assert isinstance(session.settings, Settings)
        # A rollback of a protected environment has been approved as a whole before it undoes.
        guarded = session.settings.protected and session.mode is not Mode.ROLLBACK
        found = Platform(session.settings, session.state, guarded=guarded)
        config.stash[_PLATFORM] = found
        config.add_cleanup(found.close)
    return found


def pytest_migration_facts(config: pytest.Config) -> Mapping[str, str]:
    """Target, project and place."""
    platform = platform_of(config)
    settings = platform.settings
    facts = {
        "target": settings.target,
        "project": settings.project.id,
        "region": settings.project.region,
        "protected": "yes" if settings.protected else "no",
        "source": "the sample platform" if platform.source_is_sample else "as configured",
        "runs on": str(platform.where.kind),
    }
    if platform.endpoint:
        facts["endpoint"] = platform.endpoint
    return facts


def pytest_migration_connections(config: pytest.Config) -> Sequence[ConnectionRow]:
    """The inventory that component documentation-update left."""
    outputs = of(config).run.outputs("inventory-written")
    rows: Any = outputs.get("connections", [])
    return [ConnectionRow(**row) for row in rows]


def pytest_migration_criteria(config: pytest.Config) -> Sequence[CriterionRow]:
    """The criteria that component performance-validation measured."""
    rows: Any = of(config).run.outputs("criteria").get("rows", [])
    return [CriterionRow.from_json(row) for row in rows]


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest) -> "Platform":
    """The source as it stands and the target as it is reached."""
    return platform_of(request.config)


@pytest.fixture
def outputs(request: pytest.FixtureRequest, migration: MigrationSession) -> Any:
    """What finished steps published: through the step, where this test is one."""
    if request.node.nodeid in migration.by_node:
        return request.getfixturevalue("step")
    return migration


@pytest.fixture
def evidence(outputs: Any, settings: Any, platform: "Platform") -> "Evidence":
    """Measures the seven criteria."""
    from lib.orchestra.criteria import Evidence

    return Evidence(platform, outputs, settings)


@pytest.fixture
def contents(migration: MigrationSession, settings: Any, platform: "Platform") -> "Contents":
    """Source and target, to be compared."""
    from lib.orchestra.contents import Contents

    return Contents(platform, migration, settings)


@pytest.fixture
def vectors(step: Any, platform: "Platform") -> "Vectors":
    """The migrated database's vector columns."""
    from lib.orchestra.vectors import Vectors

    return Vectors(platform.database(step))


@pytest.fixture
def vertex(request: pytest.FixtureRequest, settings: Any) -> "Vertex | None":
    """Vertex AI as the backend of vector search; None where AlloyDB is."""
    if settings.vectors.backend == "alloydb":
        return None
    from lib.orchestra.vertex import Vertex

    vectors: Vectors = request.getfixturevalue("vectors")
    return Vertex(vectors.database, settings)


@pytest.fixture
def cloud(platform: "Platform") -> "Cloud":
    """The target."""
    return platform.cloud


@pytest.fixture
def relational(step: Any, settings: Any, platform: "Platform") -> "Relational | None":
    """The move of PostgreSQL; None where there is no such source."""
    from lib.orchestra.relational import Relational

    source = platform.source_database
    if source is None:
        return None
    return Relational(
        source,
        platform.database(step),
        settings,
        seen_from_target=platform.source_seen_from_target,
    )


@pytest.fixture
def keyspace(step: Any, settings: Any, platform: "Platform") -> "Keyspace | None":
    """The move of Redis; None where there is no such source."""
    from lib.orchestra.keyspace import Keyspace

    source = platform.source_redis
    return None if source is None else Keyspace(source, platform.redis(step), settings)
