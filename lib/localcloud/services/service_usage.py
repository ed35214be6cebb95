"""Service Usage v1: which APIs a project may call."""

from typing import Any, Final

from google.cloud import service_usage_v1 as api
from google.protobuf.message import Message

from lib.localcloud import errors, filters
from lib.localcloud.contract import plain
from lib.localcloud.core import Call
from lib.localcloud.names import parse
from lib.localcloud.operations import Finish, new_name
from lib.localcloud.paging import read_token, write_token
from lib.localcloud.service import Service
from lib.localcloud.store import OperationRow

APIS: Final = {
    "aiplatform.googleapis.com": "Vertex AI API",
    "alloydb.googleapis.com": "AlloyDB API",
    "artifactregistry.googleapis.com": "Artifact Registry API",
    "cloudbilling.googleapis.com": "Cloud Billing API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "cloudtrace.googleapis.com": "Cloud Trace API",
    "compute.googleapis.com": "Compute Engine API",
    "dns.googleapis.com": "Cloud DNS API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "iamcredentials.googleapis.com": "IAM Service Account Credentials API",
    "logging.googleapis.com": "Cloud Logging API",
    "monitoring.googleapis.com": "Cloud Monitoring API",
    "networkconnectivity.googleapis.com": "Network Connectivity API",
    "redis.googleapis.com": "Google Cloud Memorystore for Redis API",
    "run.googleapis.com": "Cloud Run Admin API",
    "secretmanager.googleapis.com": "Secret Manager API",
    "servicenetworking.googleapis.com": "Service Networking API",
    "serviceusage.googleapis.com": "Service Usage API",
    "storage.googleapis.com": "Cloud Storage API",
    "sts.googleapis.com": "Security Token Service API",
    "vpcaccess.googleapis.com": "Serverless VPC Access API",
    "workstations.googleapis.com": "Cloud Workstations API",
}
LARGEST_BATCH: Final = 20
NAME: Final = "projects/{project}/services/{service}"
PARENT: Final = "projects/{project}"


class ServiceUsage(Service):
    """google.api.serviceusage.v1.ServiceUsage; it always may be called."""

    client = ("google.cloud.service_usage_v1.services.service_usage", "ServiceUsage")

    def GetService(self, call: Call, request: Any) -> Message:
        """One API as the project has it."""
        project, name = self._target(call, request.name, "get")
        return self._service(project, name)

    def BatchGetServices(self, call: Call, request: Any) -> Message:
        """Several APIs of one project."""
        project = self._project(call, request.parent, "get")
        response: Any = call.method.response()
        for text in request.names:
            response.services.append(self._service(project, self._target(call, text, "get")[1]))
        return response

    def ListServices(self, call: Call, request: Any) -> Message:
        """All known APIs, or those of ``state:ENABLED`` or ``state:DISABLED``."""
        project = self._project(call, request.parent, "list")
        wanted = filters.parse(request.filter.replace("state:ENABLED", "state=ENABLED"))
        after = read_token(request.page_token)
        found = [self._service(project, name) for name in APIS if name > after]
        found = [service for service in found if wanted(service)]
        size = min(request.page_size or 50, 200)
        response: Any = call.method.response()
        response.services.extend(found[:size])
        if len(found) > size:
            response.next_page_token = write_token(found[size - 1].config.name)
        return response

    def EnableService(self, call: Call, request: Any) -> Message:
        """Enable one API; one that is enabled stays so."""
        project, _ = self._target(call, request.name, "enable")
        return self._begin(call, project, request)

    def BatchEnableServices(self, call: Call, request: Any) -> Message:
        """Enable up to 20 APIs, all or none."""
        project = self._project(call, request.parent, "enable")
        if not 1 <= len(request.service_ids) <= LARGEST_BATCH:
            raise errors.invalid("service_ids", f"give 1 to {LARGEST_BATCH} services")
        for name in request.service_ids:
            _require_known(name, project)
        return self._begin(call, project, request)

    def DisableService(self, call: Call, request: Any) -> Message:
        """Disable an API that is enabled."""
        project, name = self._target(call, request.name, "disable")
        if not self.core.enabled(project, name):
            raise errors.failed_precondition(request.name, f"{name} is not enabled")
        return self._begin(call, project, request)

    def _begin(self, call: Call, project: str, request: Any) -> Message:
        with self.core.store.transaction():
            row = self.core.operations.accept(
                name=new_name(""), service=self.name, rpc=call.method.name, kind="Service",
                target=f"projects/{project}", payload=request.SerializeToString(),
            )  # fmt: skip
        self.core.operations.begin(row)
        return self.core.operations.message(row)

    def work(self, row: OperationRow) -> Finish:
        """Enabling and disabling are one write."""
        request: Any = self.api.methods[row.rpc].request.FromString(row.payload)
        project = row.target.partition("/")[2]
        names = (
            list(request.service_ids)
            if row.rpc == "BatchEnableServices"
            else [request.name.rpartition("/")[2]]
        )

        def finish() -> Message:
            for name in names:
                if row.rpc == "DisableService":
                    self.core.store.drop_fact(f"enabled:{project}", name)
                else:
                    self._enable(project, name)
            result = self.api.methods[row.rpc].result
            assert result is not None
            services = [self._service(project, name) for name in names]
            return (
                result(services=services)
                if row.rpc == "BatchEnableServices"
                else result(service=services[0])
            )

        return finish

    def _enable(self, project: str, name: str) -> None:
        self.core.store.put_fact(f"enabled:{project}", name, b"1")
        if name == "compute.googleapis.com":
            networks: Any = self.core.service("google.cloud.compute.v1.Networks")
            networks.make_default(project)

    def failed(self, row: OperationRow, error: errors.RpcError) -> None:
        """Nothing was written."""

    def metadata(self, row: OperationRow) -> Message | None:
        """The names of what is enabled or disabled."""
        kind = self.api.methods[row.rpc].metadata
        return kind(resource_names=[row.target]) if kind else None

    def _service(self, project: str, name: str) -> Any:
        number = self.core.project_number(project)
        enabled = self.core.enabled(project, name)
        state = api.State.ENABLED if enabled else api.State.DISABLED
        return plain(api.Service)(
            name=f"projects/{number}/services/{name}",
            parent=f"projects/{number}",
            config=plain(api.ServiceConfig)(name=name, title=APIS[name]),
            state=int(state),
        )

    def _project(self, call: Call, text: str, verb: str) -> str:
        found = parse(PARENT, text)
        if found is None:
            raise errors.invalid("parent", f"'{text}' does not match '{PARENT}'")
        project = self.core.project_id(found["project"])
        permission = f"serviceusage.services.{verb}"
        if project is None:
            raise errors.denied(permission, text)
        call.require(permission, self.name, f"projects/{project}")
        return project

    def _target(self, call: Call, text: str, verb: str) -> tuple[str, str]:
        found = parse(NAME, text)
        if found is None:
            raise errors.invalid("name", f"'{text}' does not match '{NAME}'")
        project = self._project(call, f"projects/{found['project']}", verb)
        _require_known(found["service"], project)
        return project, found["service"]


def _require_known(name: str, project: str) -> None:
    if name not in APIS:
        raise errors.not_found(f"projects/{project}/services/{name}", "Service")
