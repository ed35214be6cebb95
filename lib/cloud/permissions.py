"""The permissions that a run needs, and the role that gives each."""

from typing import Any

_PERMISSIONS: tuple[str, ...] = (
    "resourcemanager.projects.get",
    "resourcemanager.projects.update",
    "resourcemanager.projects.getIamPolicy",
    "resourcemanager.projects.setIamPolicy",
    "serviceusage.services.get",
    "serviceusage.services.enable",
    "compute.networks.get",
    "compute.networks.create",
    "compute.subnetworks.get",
    "compute.subnetworks.create",
    "compute.globalAddresses.get",
    "compute.globalAddresses.create",
    "servicenetworking.services.get",
    "servicenetworking.services.addPeering",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.update",
    "iam.serviceAccounts.actAs",
    "secretmanager.secrets.get",
    "secretmanager.secrets.create",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.setIamPolicy",
    "secretmanager.versions.add",
    "secretmanager.versions.list",
    "secretmanager.versions.access",
    "alloydb.clusters.get",
    "alloydb.clusters.create",
    "alloydb.clusters.update",
    "alloydb.instances.get",
    "alloydb.instances.create",
    "alloydb.instances.update",
    "alloydb.operations.get",
    "alloydb.locations.list",
    "redis.instances.get",
    "redis.instances.create",
    "redis.instances.update",
    "redis.instances.getAuthString",
    "redis.operations.get",
    "redis.locations.list",
    "workstations.workstationClusters.get",
    "workstations.workstationClusters.create",
    "workstations.workstationClusters.update",
    "workstations.workstationConfigs.get",
    "workstations.workstationConfigs.create",
    "workstations.workstationConfigs.update",
    "workstations.workstations.get",
    "workstations.workstations.create",
    "workstations.workstations.update",
    "workstations.workstations.start",
    "workstations.workstations.stop",
    "workstations.operations.get",
    "run.services.get",
    "run.services.create",
    "run.services.update",
    "run.services.getIamPolicy",
    "run.services.setIamPolicy",
    "run.operations.get",
)

_FOR_USERS = ("alloydb.users.get", "alloydb.users.create", "alloydb.users.update")
_FOR_BACKUPS = ("alloydb.backups.get", "alloydb.backups.create")
_BY_CONNECTOR = ("alloydb.clusters.generateClientCertificate", "alloydb.instances.connect")
_BY_ENDPOINT: tuple[str, ...] = (
    "compute.addresses.get",
    "compute.addresses.create",
    "compute.addresses.createInternal",
    "compute.addresses.use",
    "compute.forwardingRules.get",
    "compute.forwardingRules.create",
    "compute.forwardingRules.pscCreate",
    "compute.networks.use",
    "compute.subnetworks.use",
)
_VERTEX: tuple[str, ...] = (
    "aiplatform.locations.list",
    "aiplatform.indexes.get",
    "aiplatform.indexes.list",
    "aiplatform.indexes.create",
    "aiplatform.indexes.update",
    "aiplatform.indexes.delete",
    "aiplatform.indexEndpoints.get",
    "aiplatform.indexEndpoints.list",
    "aiplatform.indexEndpoints.create",
    "aiplatform.indexEndpoints.update",
    "aiplatform.indexEndpoints.delete",
    "aiplatform.indexEndpoints.deploy",
    "aiplatform.indexEndpoints.undeploy",
    "aiplatform.indexEndpoints.queryVectors",
)
"""Needed besides where Vertex AI searches."""

CREATE_PROJECT = "resourcemanager.projects.create"
"""Asked of the organization where the project does not exist yet; its creator owns it."""

_ROLES: tuple[tuple[str, str], ...] = (
    ("resourcemanager.projects.create", "roles/resourcemanager.projectCreator"),
    ("resourcemanager.projects.move", "roles/resourcemanager.projectMover"),
    ("resourcemanager.projects.setIamPolicy", "roles/resourcemanager.projectIamAdmin"),
    ("resourcemanager.projects.getIamPolicy", "roles/resourcemanager.projectIamAdmin"),
    ("resourcemanager.projects.delete", "roles/resourcemanager.projectDeleter"),
    ("resourcemanager.", "roles/editor"),
    ("serviceusage.services.use", "roles/serviceusage.serviceUsageConsumer"),
    ("serviceusage.", "roles/serviceusage.serviceUsageAdmin"),
    ("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
    ("iam.", "roles/iam.serviceAccountAdmin"),
    ("secretmanager.", "roles/secretmanager.admin"),
    ("alloydb.", "roles/alloydb.admin"),
    ("redis.", "roles/redis.admin"),
    ("workstations.", "roles/workstations.admin"),
    ("run.", "roles/run.admin"),
    ("aiplatform.", "roles/aiplatform.admin"),
    ("compute.", "roles/compute.networkAdmin"),
    ("servicenetworking.", "roles/compute.networkAdmin"),
)
_ON_ORGANIZATION = frozenset(
    {"roles/resourcemanager.projectCreator", "roles/resourcemanager.projectMover"}
)


def required_permissions(alloydb: Any = None, *, vertex: bool = False) -> tuple[str, ...]:
    """What a whole run asks for on its project.

    ``alloydb`` settings may ask for more; ``vertex`` where Vertex AI searches.
    """
    found = _PERMISSIONS
    if alloydb is not None:
        found += _BY_CONNECTOR if alloydb.connection == "connector" else ()
        found += _BY_ENDPOINT if alloydb.ip_type == "PSC" else ()
        found += _FOR_USERS if alloydb.iam_users else ()
        found += _FOR_BACKUPS if alloydb.backup else ()
    return found + _VERTEX if vertex else found


def role_for(permission: str) -> str:
    """A predefined role that holds ``permission``, or an empty string where we know none."""
    return next((role for prefix, role in _ROLES if permission.startswith(prefix)), "")


def grant_command(permission: str, project: str, member: str = "user:YOU@EXAMPLE.COM") -> str:
    """The command by which an administrator grants ``permission``."""
    role = role_for(permission)
    if not role:
        return f"ask an administrator for a role that holds {permission}"
    if role in _ON_ORGANIZATION:
        scope = "organizations add-iam-policy-binding ORGANIZATION_ID"
    else:
        scope = f"projects add-iam-policy-binding {project or 'PROJECT_ID'}"
    return f"gcloud {scope} --member={member} --role={role}"
