"""Who needs what on the target: the caller of a run, and the agents' service account."""

from typing import TYPE_CHECKING, Any

from lib.errors import MigrationError

if TYPE_CHECKING:
    from lib.cloud.cloud import Cloud

SERVICE_ACCOUNT_ROLES = ("roles/alloydb.client", "roles/serviceusage.serviceUsageConsumer")
"""What the API needs on the project; its secrets are granted one by one instead."""

VERTEX_ROLES = ("roles/aiplatform.user",)
"""What the API needs besides where Vertex AI searches."""


IAM_USER_ROLES = (
    "roles/alloydb.client",
    "roles/alloydb.databaseUser",
    "roles/serviceusage.serviceUsageConsumer",
)
"""What a principal needs on the project to log in to AlloyDB by IAM."""


def member(address: str) -> str:
    """A principal's address as policies name it."""
    kind = "serviceAccount" if address.endswith(".gserviceaccount.com") else "user"
    return f"{kind}:{address}"


class PermissionsMissing(MigrationError):
    """The caller lacks permissions that the run will need."""


def service_account_roles(vectors: Any) -> tuple[str, ...]:
    """The roles of the agents' service account, by where vectors are searched."""
    return SERVICE_ACCOUNT_ROLES + (VERTEX_ROLES if vectors.backend == "vertex" else ())


def check_permissions(cloud: "Cloud", settings: Any) -> str:
    """Say in a sentence what the caller may do; raises ``PermissionsMissing`` naming the rest."""
    from lib.cloud.permissions import required_permissions, role_for

    project, vertex = settings.project, settings.vectors.backend == "vertex"
    wanted = required_permissions(settings.alloydb, vertex=vertex)
    missing = cloud.missing_permissions(project, wanted)
    if missing:
        roles = sorted({role_for(each) for each in missing})
        raise PermissionsMissing(
            f"{len(missing)} permissions on project {project.id} are missing: "
            + ", ".join(missing)
            + ".",
            expected="all that lib/cloud/permissions.py lists",
            remedy="grant the caller " + ", ".join(roles),
        )
    return missing.unknown or f"all {len(wanted)} permissions are granted"
