"""The Beam pipeline that settings ask for, and how its workers reach both databases."""

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from lib.orchestra.limits import PASSWORD_PLACE
from lib.orchestra.platform import ADMIN_PASSWORD
from lib.postgres.beam import DATAFLOW, Beam
from lib.postgres.database import Database
from lib.postgres.reach import FromEnvironment, FromFile, Password


@dataclass(frozen=True, slots=True)
class FromSecretManager:
    """A password in Secret Manager, read on the worker by the worker's own service account."""

    project: str
    secret: str

    def __call__(self) -> str:
        """The latest version (network); raises kinds of ``CloudError``."""
        return _read(self.project, self.secret)


@lru_cache
def _read(project: str, secret: str) -> str:
    from lib.cloud.cloud import Cloud
    from lib.cloud.target import Target

    cloud = Cloud(Target.google(project))
    try:
        return cloud.read_secret(secret)
    finally:
        cloud.close()


def pipeline(settings: Any) -> Beam | None:
    """The pipeline of ``data_migration.engine = "beam"``; None for "local"."""
    if settings.data_migration.engine != "beam":
        return None
    wanted, project = settings.data_migration.beam, settings.project
    dataflow = {"project": project.id, "region": project.region}
    beam = Beam(
        wanted.runner,
        tuple(sorted(((dataflow if wanted.runner == DATAFLOW else {}) | wanted.options).items())),
        source=_seen(wanted.source_seen_from_workers),
        source_password=_password(wanted.source_password_from),
        target=_seen(wanted.target_seen_from_workers),
        target_password=_password(wanted.target_password_from),
    )
    if beam.local or beam.target_password or settings.target != "google":
        return beam
    return replace(beam, target_password=FromSecretManager(project.id, ADMIN_PASSWORD))


def _seen(url: str) -> Database | None:
    return Database.from_url(url) if url else None


def _password(place: str) -> Password | None:
    """The place that ``limits.check`` accepted."""
    found = PASSWORD_PLACE.fullmatch(place)
    if found is None:
        return None
    if found["variable"]:
        return FromEnvironment(found["variable"])
    if found["file"]:
        return FromFile(found["file"])
    return FromSecretManager(found["project"], found["secret"])


def check_beam(settings: Any) -> str:
    """What will copy the rows; raises ``BeamUnavailable`` where it could not."""
    beam = pipeline(settings)
    if beam is None:
        return "rows are copied by this process"
    beam.pipeline(settings.data_migration.workers, dry=True)
    return f"rows are copied by Apache Beam {version('apache-beam')} on its {beam.runner}"
