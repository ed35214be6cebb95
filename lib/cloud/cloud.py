"""The door to the target for phases and validation: settings in, actions and answers out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib.cloud import alloydb as alloydb_kinds
from lib.cloud import endpoints, iam, inventory, locations, networks, secrets, services
from lib.cloud import projects as project_kinds
from lib.cloud import redis as redis_kinds
from lib.cloud import run as run_kinds
from lib.cloud import vertex as vertex_kinds
from lib.cloud import workstations as workstation_kinds
from lib.cloud.clients import Clients
from lib.cloud.credentials import Credentials
from lib.cloud.errors import Situation
from lib.cloud.resource import Resource
from lib.cloud.target import Target
from lib.cloud.tunnel import Tunnel
from lib.cloud.vertex_points import Datapoints
from lib.cloud.workstations import Started
from lib.engine.actions import Journal


class Cloud:
    """Makes actions from settings sections (``lib.settings`` or anything with their attributes).

    Methods give actions and touch nothing, unless they say *network*; those raise ``CloudError``.
    Where no project settings are given, the target's ``project`` is meant.
    ``protected`` keeps ``undo`` from deleting or taking back anything that holds data.
    """

    def __init__(
        self,
        target: Target,
        *,
        protected: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        self.target = target
        self.protected = protected
        self.clients = Clients(target, credentials)

    def close(self) -> None:
        """Close the connections."""
        self.clients.close()

    @property
    def _project(self) -> str:
        if not self.target.project:
            raise ValueError("the target names no project")
        return self.target.project

    # -- project -------------------------------------------------------------------------------

    def project(self, project: Any) -> project_kinds.Project:
        """The project stands under its organization and has its labels."""
        return project_kinds.Project(self.clients, project, self.protected)

    def services(self, project: Any) -> services.EnabledServices:
        """The project's APIs are enabled."""
        return services.EnabledServices(self.clients, project, self.protected)

    def service_account(self, project: Any) -> iam.ServiceAccount:
        """The project's service account; its state exposes ``email``."""
        return iam.ServiceAccount(self.clients, project, self.protected)

    def project_roles(self, member: str, roles: Sequence[str]) -> iam.Grant:
        """``member`` (``user:...``, ``serviceAccount:...``) holds ``roles`` on the project."""
        name, shown = f"projects/{self._project}", f"project {self._project}"
        return iam.Grant(self.clients, "projects", name, shown, member, roles, self._project)

    def missing_permissions(
        self, project: Any, permissions: Sequence[str]
    ) -> project_kinds.MissingPermissions:
        """Those of ``permissions`` that the caller lacks (network).

        Where the project does not exist yet, only the right to create it can be asked for;
        ``unknown`` of the answer then says so.
        """
        situation = Situation(f"permissions on project {project.id}", project.id, self.target.kind)
        return project_kinds.missing_permissions(self.clients, project, permissions, situation)

    # -- network -------------------------------------------------------------------------------

    def network(self, project: Any, network: Any) -> networks.Part:
        """The VPC network."""
        return networks.network(self.clients, project, network, self.protected)

    def subnetwork(self, project: Any, network: Any) -> networks.Part:
        """The subnetwork in the project's region."""
        return networks.subnetwork(self.clients, project, network, self.protected)

    def services_range(self, project: Any, network: Any) -> networks.Part:
        """The range of addresses for Google's services in the network."""
        return networks.services_range(self.clients, project, network, self.protected)

    def private_connection(self, project: Any, network: Any) -> networks.Connection:
        """The network is connected to Google's services, as AlloyDB needs it."""
        return networks.connection(self.clients, project, network, self.protected)

    def require_region(self, project: Any, product: str, service: str) -> None:
        """The project's region has the product, as its ``service`` tells (network)."""
        locations.require_region(self.clients, project, product, service)

    # -- secrets -------------------------------------------------------------------------------

    def secret(self, secret_id: str, make_value: Callable[[], str]) -> secrets.Secret:
        """The secret has a value; ``make_value`` is called only where it has none."""
        return secrets.Secret(self.clients, self._project, secret_id, make_value, self.protected)

    def read_secret(self, secret_id: str) -> str:
        """The newest value (network)."""
        return secrets.read_secret(self.clients, self._project, secret_id)

    def secret_access(self, secret_id: str, member: str) -> iam.Grant:
        """``member`` may read the secret."""
        name = f"projects/{self._project}/secrets/{secret_id}"
        roles = ("roles/secretmanager.secretAccessor",)
        shown = f"secret {secret_id}"
        return iam.Grant(self.clients, "secrets", name, shown, member, roles, self._project)

    # -- AlloyDB and Redis -----------------------------------------------------------------------

    def alloydb_cluster(
        self,
        project: Any,
        network: Any,
        alloydb: Any,
        password: Callable[[], str],
        protected: bool | None = None,
    ) -> Resource[Any]:
        """The cluster; ``password`` is called only when it is created, for ``postgres``."""
        guard = self.protected if protected is None else protected
        return alloydb_kinds.cluster(self.clients, project, network, alloydb, password, guard)

    def alloydb_instance(self, project: Any, alloydb: Any) -> Resource[Any]:
        """The primary instance; its state exposes ``ip_address`` and ``database_flags``."""
        return alloydb_kinds.instance(self.clients, project, alloydb, self.protected)

    def alloydb_read_pool(self, project: Any, alloydb: Any) -> Resource[Any]:
        """The read pool; its state exposes ``ip_address``."""
        return alloydb_kinds.read_pool(self.clients, project, alloydb, self.protected)

    def alloydb_endpoint_address(self, project: Any, network: Any, id: str) -> networks.Part:
        """The address of an endpoint, in Private Service Connect, of the instance ``id``."""
        return endpoints.endpoint_address(self.clients, project, network, id, self.protected)

    def alloydb_endpoint(
        self, project: Any, network: Any, id: str, instance: Any, address: Any
    ) -> endpoints.Endpoint:
        """That endpoint, connected; ``instance`` and ``address`` are what was made of both."""
        return endpoints.Endpoint(
            self.clients, project, network, id, instance, address, self.protected
        )

    def alloydb_iam_user(
        self, project: Any, alloydb: Any, address: str, roles: Sequence[str]
    ) -> Resource[Any]:
        """The principal ``address`` may log in to the cluster, and has database ``roles`` there."""
        guard = self.protected
        return alloydb_kinds.iam_user(self.clients, project, alloydb, address, roles, guard)

    def alloydb_built_in_user(
        self,
        project: Any,
        alloydb: Any,
        name: str,
        password: Callable[[], str],
        roles: Sequence[str],
    ) -> Resource[Any]:
        """A user with a password and database ``roles``; ``password`` is called at its creation."""
        return alloydb_kinds.built_in_user(
            self.clients, project, alloydb, name, password, roles, self.protected
        )

    def alloydb_backup(self, project: Any, alloydb: Any) -> Resource[Any]:
        """A backup of the cluster stands under the name ``alloydb.backup``."""
        return alloydb_kinds.backup(self.clients, project, alloydb, self.protected)

    def alloydb_tunnel(self, project: Any, alloydb: Any, endpoint: str = "") -> Tunnel:
        """A way to the primary by Google's connector, not open yet.

        ``endpoint`` is the address of its endpoint in Private Service Connect, where it has one.
        """
        instance = alloydb_kinds.instance(self.clients, project, alloydb, self.protected)
        return Tunnel(self.clients, project.id, instance.name, alloydb.ip_type, endpoint)

    def redis_instance(self, project: Any, network: Any, redis: Any) -> Resource[Any]:
        """The Memorystore instance; its state exposes ``host`` and ``port``."""
        return redis_kinds.instance(self.clients, project, network, redis, self.protected)

    def redis_auth(self, project: Any, redis: Any) -> Resource[Any]:
        """AUTH is on for the Memorystore instance."""
        return redis_kinds.auth(self.clients, project, redis, self.protected)

    def redis_authorities(self, project: Any, network: Any, redis: Any) -> str:
        """Certificates (PEM) that sign the instance's own (network); empty without encryption."""
        return redis_kinds.authorities(self.clients, project, network, redis)

    def redis_auth_string(self, project: Any, redis: Any) -> str:
        """The AUTH string (network)."""
        return redis_kinds.auth_string(self.clients, project, redis)

    # -- Vertex AI vector search ---------------------------------------------------------------

    def vector_index(self, project: Any, wanted: vertex_kinds.IndexSpec) -> vertex_kinds.Index:
        """An index with streamed datapoints; its state exposes ``name``, which Google chooses."""
        return vertex_kinds.index(self.clients, project, wanted, self.protected)

    def index_endpoint(self, project: Any, name: str) -> vertex_kinds.Endpoint:
        """A public index endpoint; its state exposes ``public_endpoint_domain_name``."""
        return vertex_kinds.endpoint(self.clients, project, name, self.protected)

    def deployed_index(
        self,
        project: Any,
        id: str,
        wanted: vertex_kinds.IndexSpec,
        endpoint: str,
        machines: vertex_kinds.Machines = vertex_kinds.ANY_MACHINES,
    ) -> vertex_kinds.Deployed:
        """The index is deployed at the endpoint called ``endpoint`` under ``id``."""
        return vertex_kinds.deployed(
            self.clients, project, id, wanted, endpoint, self.protected, machines
        )

    def datapoints(self, index: str, endpoint: str, id: str, address: str) -> Datapoints:
        """The datapoints of an index (its name) deployed as ``id`` at an endpoint (its name)."""
        return Datapoints(self.clients, index, endpoint, id, address)

    # -- workstations --------------------------------------------------------------------------

    def workstation_cluster(self, project: Any, network: Any, workstations: Any) -> Resource[Any]:
        """The workstation cluster."""
        return workstation_kinds.cluster(
            self.clients, project, network, workstations, self.protected
        )

    def workstation_config(self, project: Any, workstations: Any) -> Resource[Any]:
        """The configuration with its machine and GPUs."""
        return workstation_kinds.config(self.clients, project, workstations, self.protected)

    def workstation(self, project: Any, workstations: Any) -> Resource[Any]:
        """One workstation."""
        return workstation_kinds.workstation(self.clients, project, workstations, self.protected)

    def start_workstation(
        self, project: Any, workstations: Any, journal: Journal | None = None
    ) -> Started:
        """Start the workstation and measure until it runs (network)."""
        resource = self.workstation(project, workstations)
        return workstation_kinds.start(resource, self.clients, journal)

    def stop_workstation(
        self, project: Any, workstations: Any, journal: Journal | None = None
    ) -> float:
        """Stop the workstation; gives the seconds until it stood (network)."""
        resource = self.workstation(project, workstations)
        return workstation_kinds.stop(resource, self.clients, journal)

    # -- Cloud Run -----------------------------------------------------------------------------

    def run_service(
        self,
        project: Any,
        api: Any,
        env: Mapping[str, str],
        secrets: Mapping[str, str],
        service_account: str,
        network: Any = None,
        *,
        background: bool = False,
    ) -> run_kinds.RunService:
        """The service; ``secrets`` maps variables to secret ids; its state exposes ``uri``.

        ``background`` keeps its CPU between requests.
        """
        return run_kinds.service(
            self.clients,
            project,
            api,
            env,
            secrets,
            service_account,
            network,
            self.protected,
            background,
        )

    def run_traffic_to_newest(self, project: Any, api: Any) -> run_kinds.ServiceAspect:
        """The newest revision of the service serves."""
        return run_kinds.traffic_to_newest(self.clients, project, api)

    def run_traffic_to_fallback(self, project: Any, api: Any) -> run_kinds.ServiceAspect:
        """The revision that served before the newest one serves again, where there is one."""
        return run_kinds.traffic_to_fallback(self.clients, project, api)

    def run_acceptance(self, project: Any, api: Any) -> run_kinds.ServiceAspect:
        """The newest revision is the one to go back to from now on."""
        return run_kinds.acceptance(self.clients, project, api)

    def run_invoker(self, project: Any, api: Any) -> iam.Grant:
        """``api.invoker`` may call the service."""
        name = f"projects/{project.id}/locations/{project.region}/services/{api.service}"
        shown = f"Cloud Run service {api.service}"
        return iam.Grant(
            self.clients, "run", name, shown, api.invoker, ("roles/run.invoker",), project.id
        )

    # -- inventory -----------------------------------------------------------------------------

    def describe(
        self, project: Any, network: Any, alloydb: Any, redis: Any, workstations: Any, api: Any
    ) -> tuple[inventory.Item, ...]:
        """Everything that the migration makes, as it stands now (network)."""
        resources: tuple[Resource[Any], ...] = (
            self.project(project),
            self.alloydb_cluster(project, network, alloydb, lambda: ""),
            self.alloydb_instance(project, alloydb),
            *([self.alloydb_read_pool(project, alloydb)] if alloydb.read_pool_nodes else []),
            *([self.alloydb_backup(project, alloydb)] if alloydb.backup else []),
            self.redis_instance(project, network, redis),
            self.workstation_cluster(project, network, workstations),
            self.workstation_config(project, workstations),
            self.workstation(project, workstations),
            self.run_service(project, api, {}, {}, ""),
        )
        return inventory.rows(resources, alloydb.database)
