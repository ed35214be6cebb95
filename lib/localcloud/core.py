"""What all services share: the store, projects, policies, addresses, operations."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.addresses import Addresses
from lib.localcloud.calls import Calls
from lib.localcloud.contract import Method
from lib.localcloud.faults import Faults
from lib.localcloud.iam import RESOURCE_MANAGER, Identities, Policies
from lib.localcloud.operations import Finish, Operations, standard_metadata
from lib.localcloud.rehearsal import Rehearsal
from lib.localcloud.store import OperationRow, Store

if TYPE_CHECKING:
    from lib.localcloud.service import Service

log = logging.getLogger(__name__)

SERVICES: Final[Mapping[str, str]] = {
    RESOURCE_MANAGER: "projects:Projects",
    "google.cloud.resourcemanager.v3.Organizations": "projects:Organizations",
    "google.api.serviceusage.v1.ServiceUsage": "service_usage:ServiceUsage",
    "google.iam.admin.v1.IAM": "service_accounts:ServiceAccounts",
    "google.cloud.secretmanager.v1.SecretManagerService": "secret_manager:SecretManager",
    "google.cloud.alloydb.v1.AlloyDBAdmin": "alloydb:AlloyDB",
    "google.cloud.alloydb.v1beta.AlloyDBAdmin": "alloydb:AlloyDBBeta",
    "google.cloud.redis.v1.CloudRedis": "redis:Redis",
    "google.cloud.workstations.v1.Workstations": "workstations:WorkstationsService",
    "google.cloud.run.v2.Services": "run:Run",
    "google.cloud.aiplatform.v1.IndexService": "vertex:IndexService",
    "google.cloud.aiplatform.v1.IndexEndpointService": "vertex:IndexEndpointService",
    "google.cloud.aiplatform.v1.MatchService": "vertex:Match",
    "google.cloud.aiplatform.v1beta1.MatchService": "vertex:MatchBeta",
    "google.longrunning.Operations": "mixins:OperationsService",
    "google.cloud.location.Locations": "mixins:Locations",
    "google.iam.v1.IAMPolicy": "mixins:IamPolicy",
}
REST_SERVICES: Final[Mapping[str, str]] = {
    "google.cloud.compute.v1.Networks": "compute:Networks",
    "google.cloud.compute.v1.Subnetworks": "compute:Subnetworks",
    "google.cloud.compute.v1.GlobalAddresses": "compute:GlobalAddresses",
    "google.cloud.compute.v1.Addresses": "endpoints:Addresses",
    "google.cloud.compute.v1.ForwardingRules": "endpoints:ForwardingRules",
    "google.cloud.compute.v1.GlobalOperations": "compute_operations:ComputeOperations",
    "google.cloud.servicenetworking.v1.ServicePeeringManager": (
        "service_networking:ServiceNetworking"
    ),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who makes it, by which method."""

    core: "Core"
    principal: str
    method: Method

    def require(self, permission: str, service: str, resource: str) -> None:
        """PERMISSION_DENIED unless the caller has the permission on the resource."""
        self.core.policies.require(self.principal, permission, service, resource)


class Core:
    """The embedded cloud without its server; services are loaded when first needed."""

    def __init__(self, state: Path, subnet: str, operation_seconds: float = 0.05) -> None:
        self.state = state
        self.endpoint = f"{subnet}.1:8443"
        self.store = Store(state / "state.db")
        self.identities = Identities(self.store)
        self.rehearsal = Rehearsal(state)
        self.calls = Calls(self.rehearsal)
        self.faults = Faults(self.rehearsal)
        self.policies = Policies(self.store, self.faults)
        self.addresses = Addresses(self.store, subnet)
        self.operations = Operations(
            self.store, operation_seconds, self._work, self._fail, self._metadata
        )
        self._services: dict[str, Service] = {}
        self._loading = threading.RLock()
        self._guards: dict[str, threading.RLock] = {}

    def close(self) -> None:
        """Take up no more operations and close the files."""
        self.operations.stop()
        self.store.close()
        self.rehearsal.close()

    def service(self, name: str) -> "Service | None":
        """The service of that protobuf name, loaded now if it was not; None if there is none."""
        where = SERVICES.get(name) or REST_SERVICES.get(name)
        if where is None:
            return None
        with self._loading:
            if name not in self._services:
                module, _, kind = where.partition(":")
                loaded = import_module(f"lib.localcloud.services.{module}")
                self._services[name] = getattr(loaded, kind)(self)
            return self._services[name]

    def services_in_use(self) -> list["Service"]:
        """The services that have resources, loaded."""
        names = [name for name in (*SERVICES, *REST_SERVICES) if self.store.uses(name)]
        return [service for name in names if (service := self.service(name))]

    def guard(self, name: str) -> threading.RLock:
        """The lock of what runs behind a resource: operations and the supervisor take turns."""
        with self._loading:
            return self._guards.setdefault(name, threading.RLock())

    # projects

    def project_id(self, name: str) -> str | None:
        """The id of a project given by id or number, or None if there is none."""
        by_number = self.store.fact("project-number", name)
        if by_number:
            return by_number.decode()
        return name if self.store.fact("project-id", name) else None

    def project_number(self, project_id: str) -> str:
        """The number of a project that exists."""
        return (self.store.fact("project-id", project_id) or b"").decode()

    def canonical(self, name: str) -> str:
        """The name with the project's id where it has its number."""
        if name.startswith("projects/"):
            _, project, *rest = name.split("/")
            return "/".join(["projects", self.project_id(project) or project, *rest])
        return name

    def enabled(self, project_id: str, api: str) -> bool:
        """Whether the API is enabled in the project."""
        return self.store.fact(f"enabled:{project_id}", api) is not None

    # operations

    def _work(self, row: OperationRow) -> Finish:
        with self.guard(row.target):
            finish: Finish = self._owner(row).work(row)
        return finish

    def _fail(self, row: OperationRow, error: errors.RpcError) -> None:
        self._owner(row).failed(row, error)

    def _metadata(self, row: OperationRow) -> Message | None:
        owner = self._owner(row)
        own: Message | None = owner.metadata(row)
        cancelled = self.operations.cancelled(row.name)
        kind = owner.api.methods[row.rpc].metadata
        return own or standard_metadata(row, kind, cancelled=cancelled)

    def _owner(self, row: OperationRow) -> Any:
        return self.service(row.service)
