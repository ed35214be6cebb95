"""Who calls, what roles permit, and the policies that bind the two."""

import fnmatch
import hashlib
import re
import secrets
from collections.abc import Iterable
from typing import Final

from google.iam.v1 import policy_pb2

from lib.localcloud import errors
from lib.localcloud.faults import Faults
from lib.localcloud.names import parent_of
from lib.localcloud.store import Store

OWNER: Final = "user:owner@embedded-cloud.localhost"
RESOURCE_MANAGER: Final = "google.cloud.resourcemanager.v3.Projects"
MEMBER: Final = re.compile(
    r"(user|serviceAccount|group):[^@\s]+@[^@\s]+|domain:\S+|principal(Set)?://\S+"
    r"|project(Owner|Editor|Viewer):\S+|deleted:\S+|allUsers|allAuthenticatedUsers"
)
ROLE: Final = re.compile(r"(roles|projects/[^/]+/roles|organizations/\d+/roles)/[\w.]+")

READ: Final = ("*.get", "*.list", "*.search")
ROLES: Final[dict[str, tuple[str, ...]]] = {
    "roles/owner": ("*",),
    "roles/editor": (
        "alloydb.*", "redis.*", "workstations.*", "run.*", "aiplatform.*", "serviceusage.*",
        "secretmanager.secrets.*", "secretmanager.versions.[!a]*", "iam.serviceAccounts.[!s]*",
        "resourcemanager.projects.get", "resourcemanager.projects.update", "compute.*", *READ,
    ),
    "roles/viewer": READ,
    "roles/browser": ("resourcemanager.*.get", "resourcemanager.*.list",
                      "resourcemanager.*.getIamPolicy"),
    "roles/alloydb.admin": ("alloydb.*", "resourcemanager.projects.get"),
    "roles/alloydb.viewer": ("alloydb.*.get", "alloydb.*.list"),
    "roles/alloydb.client": ("alloydb.clusters.get", "alloydb.clusters.generateClientCertificate",
                             "alloydb.instances.get", "alloydb.instances.connect"),
    "roles/alloydb.databaseUser": ("alloydb.users.login",),
    "roles/redis.admin": ("redis.*", "resourcemanager.projects.get"),
    "roles/redis.editor": ("redis.instances.[!cd]*", "redis.operations.*"),
    "roles/redis.viewer": ("redis.*.get", "redis.*.list"),
    "roles/workstations.admin": ("workstations.*", "resourcemanager.projects.get"),
    "roles/workstations.user": ("workstations.operations.get", "workstations.workstations.use",
                                "workstations.workstations.start",
                                "workstations.workstations.stop", "workstations.workstations.get"),
    "roles/run.admin": ("run.*", "resourcemanager.projects.get"),
    "roles/run.developer": ("run.services.[!s]*", "run.operations.*"),
    "roles/run.invoker": ("run.routes.invoke",),
    "roles/run.viewer": ("run.*.get", "run.*.list", "run.*.getIamPolicy"),
    "roles/secretmanager.admin": ("secretmanager.*",),
    "roles/secretmanager.secretAccessor": ("secretmanager.versions.access",),
    "roles/secretmanager.secretVersionAdder": ("secretmanager.versions.add",),
    "roles/secretmanager.viewer": ("secretmanager.*.get", "secretmanager.*.list"),
    "roles/aiplatform.admin": ("aiplatform.*",),
    "roles/aiplatform.user": ("aiplatform.*",),
    "roles/aiplatform.viewer": ("aiplatform.*.get", "aiplatform.*.list"),
    "roles/iam.serviceAccountAdmin": ("iam.serviceAccounts.*",),
    "roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs", "iam.serviceAccounts.get"),
    "roles/iam.securityAdmin": ("*.getIamPolicy", "*.setIamPolicy"),
    "roles/serviceusage.serviceUsageAdmin": ("serviceusage.*",),
    "roles/serviceusage.serviceUsageConsumer": ("serviceusage.services.get",
                                                "serviceusage.services.list",
                                                "serviceusage.services.use"),
    "roles/resourcemanager.organizationAdmin": ("resourcemanager.organizations.*",
                                                "resourcemanager.projects.getIamPolicy",
                                                "resourcemanager.projects.setIamPolicy"),
    "roles/resourcemanager.projectCreator": ("resourcemanager.projects.create",),
    "roles/resourcemanager.projectDeleter": ("resourcemanager.projects.delete",),
    "roles/resourcemanager.projectMover": ("resourcemanager.projects.get",
                                           "resourcemanager.projects.move",
                                           "resourcemanager.projects.update"),
    "roles/resourcemanager.projectIamAdmin": ("resourcemanager.projects.getIamPolicy",
                                              "resourcemanager.projects.setIamPolicy"),
    "roles/compute.networkAdmin": ("compute.networks.*", "compute.subnetworks.*",
                                   "compute.globalAddresses.*", "compute.addresses.*",
                                   "compute.forwardingRules.*", "servicenetworking.*"),
    "roles/compute.networkUser": ("compute.networks.use", "compute.subnetworks.use"),
    "roles/logging.logWriter": ("logging.logEntries.create",),
    "roles/logging.viewer": ("logging.*.get", "logging.*.list"),
    "roles/monitoring.metricWriter": ("monitoring.timeSeries.create",),
    "roles/monitoring.viewer": ("monitoring.*.get", "monitoring.*.list"),
    "roles/cloudtrace.agent": ("cloudtrace.traces.patch",),
}  # fmt: skip


class Identities:
    """Bearer tokens and the principals they stand for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def token(self, principal: str) -> str:
        """The principal's token, made when there is none.  Raises ValueError for a bad name."""
        if not MEMBER.fullmatch(principal) or ":" not in principal:
            raise ValueError(f"{principal!r} is not a principal, as user:NAME@DOMAIN")
        with self._store.transaction():
            known = self._store.fact("token-of", principal)
            if known:
                return known.decode()
            token = secrets.token_urlsafe(32)
            self._store.put_fact("token-of", principal, token.encode())
            self._store.put_fact("token", _digest(token), principal.encode())
        return token

    def principal(self, authorization: str) -> str:
        """Who an ``authorization`` header stands for; raises UNAUTHENTICATED."""
        scheme, _, token = authorization.partition(" ")
        known = self._store.fact("token", _digest(token)) if scheme.lower() == "bearer" else None
        if not known:
            raise errors.unauthenticated()
        return known.decode()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _grants(role: str, permission: str) -> bool:
    return any(fnmatch.fnmatchcase(permission, pattern) for pattern in ROLES.get(role, ()))


def _binds(members: Iterable[str], principal: str) -> bool:
    domain = "domain:" + principal.rpartition("@")[2]
    return bool({principal, "allUsers", "allAuthenticatedUsers", domain} & set(members))


class Policies:
    """Allow policies by resource; a resource inherits those of everything above it.

    Conditions are kept and returned, but a conditional binding grants nothing here: the embedded
    cloud does not evaluate them.
    """

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def get(self, service: str, resource: str) -> policy_pb2.Policy:
        """The policy set on the resource itself, with its etag."""
        policy = policy_pb2.Policy()
        policy.ParseFromString(self._store.fact("policy", f"{service}//{resource}") or b"")
        policy.etag = hashlib.sha256(policy.SerializeToString(deterministic=True)).digest()[:8]
        return policy

    def set(self, service: str, resource: str, policy: policy_pb2.Policy) -> policy_pb2.Policy:
        """Replace the policy; ABORTED when its etag is not the present one."""
        self._check(policy)
        with self._store.transaction():
            if policy.etag and policy.etag != self.get(service, resource).etag:
                raise errors.aborted(
                    "There were concurrent policy changes. Please retry the whole "
                    "read-modify-write with exponential backoff."
                )
            kept = policy_pb2.Policy()
            kept.CopyFrom(policy)
            kept.ClearField("etag")
            kept.version = 3 if any(b.HasField("condition") for b in kept.bindings) else 1
            self._store.put_fact("policy", f"{service}//{resource}", kept.SerializeToString())
        return self.get(service, resource)

    def drop(self, service: str, resource: str) -> None:
        """Forget the policy of a deleted resource."""
        self._store.drop_fact("policy", f"{service}//{resource}")

    def bind(self, service: str, resource: str, role: str, member: str) -> None:
        """Add one binding."""
        policy = self.get(service, resource)
        policy.bindings.add(role=role, members=[member])
        self.set(service, resource, policy)

    def allowed(self, principal: str, permission: str, service: str, resource: str) -> bool:
        """Whether the principal has the permission on the resource or on something above it."""
        if self._faults.withdrawn(permission, resource, count=False):
            return False
        return self._granted(principal, permission, service, resource)

    def _granted(self, principal: str, permission: str, service: str, resource: str) -> bool:
        if principal == OWNER:
            return True
        for owner, name in self._line(service, resource):
            for binding in self.get(owner, name).bindings:
                if binding.HasField("condition"):
                    continue
                if _grants(binding.role, permission) and _binds(binding.members, principal):
                    return True
        return False

    def require(self, principal: str, permission: str, service: str, resource: str) -> None:
        """PERMISSION_DENIED unless allowed."""
        withdrawn = self._faults.withdrawn(permission, resource, count=True)
        if withdrawn or not self._granted(principal, permission, service, resource):
            raise errors.denied(permission, f"//{service}/{resource}")

    def _line(self, service: str, resource: str) -> list[tuple[str, str]]:
        """The resource and everything above it, to its organization."""
        line = []
        name = resource
        while name.count("/") > 1:
            line.append((service, name))
            name = parent_of(name)
            if name.count("/") == 3 and "/locations/" in name:
                name = parent_of(name)
        line.append((RESOURCE_MANAGER, name))
        parent = self._store.fact("project-parent", name.partition("/")[2])
        if parent:
            line.append((RESOURCE_MANAGER, parent.decode()))
        return line

    @staticmethod
    def _check(policy: policy_pb2.Policy) -> None:
        for binding in policy.bindings:
            known = binding.role in ROLES or not binding.role.startswith("roles/")
            if not ROLE.fullmatch(binding.role) or not known:
                raise errors.invalid(
                    "policy.bindings.role",
                    f"Role {binding.role} is not supported for this resource.",
                )
            for member in binding.members:
                if not MEMBER.fullmatch(member):
                    raise errors.invalid(
                        "policy.bindings.members",
                        f"The member {member} is of an unknown type.",
                    )
