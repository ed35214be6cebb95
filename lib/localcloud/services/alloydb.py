"""AlloyDB Admin v1: a primary instance is a real PostgreSQL on an address of its own.

Read pools, secondary clusters and backups are refused.  IAM users too: there is no Google behind
the login.  A user with the role ``alloydbsuperuser`` is a superuser here.
"""

import re
from typing import Any, Final

from google.cloud import alloydb_v1 as api
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.contract import plain
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.locations import is_zone_of
from lib.localcloud.names import parent_of
from lib.localcloud.resource import States
from lib.localcloud.service import Service
from lib.localcloud.services.alloydb_database import Database
from lib.localcloud.services.alloydb_flags import FLAGS, settings, violations

CPU_COUNTS: Final = (1, 2, 4, 8, 16, 32, 48, 64, 72, 80, 96, 128)
NETWORK: Final = re.compile(r"projects/[^/]+/global/networks/[a-z]([a-z0-9-]*[a-z0-9])?")
PRIMARY = api.Instance.InstanceType.PRIMARY


class Clusters(Kind):
    """A cluster; holds the password of the first user."""

    name = "Cluster"
    message = api.Cluster
    documented_only = ("network",)  # required by its documentation, but deprecated
    immutable = ("network", "network_config", "psc_config", "database_version")
    states = States(
        int(api.Cluster.State.CREATING), int(api.Cluster.State.READY), 0,
        int(api.Cluster.State.DELETING), int(api.Cluster.State.FAILED),
    )  # fmt: skip

    def defaults(self, _call: Call, pb: Any) -> None:
        pb.database_version = pb.database_version or int(api.DatabaseVersion.POSTGRES_18)
        pb.cluster_type = int(api.Cluster.ClusterType.PRIMARY)
        if not pb.initial_user.user:
            pb.initial_user.user = "postgres"
        if pb.network and not pb.network_config.network:
            pb.network_config.network = pb.network

    def check(self, pb: Any) -> None:
        network, private = pb.network_config.network, pb.psc_config.psc_enabled
        if bool(network) == bool(private):
            raise errors.invalid(
                "cluster.network_config",
                "give either network_config.network or psc_config.psc_enabled",
            )
        if network and not NETWORK.fullmatch(network):
            raise errors.invalid(
                "cluster.network_config.network",
                f"'{network}' does not match 'projects/{{project}}/global/networks/{{network}}'",
            )
        if pb.database_version != api.DatabaseVersion.POSTGRES_18:
            raise errors.invalid(
                "cluster.database_version",
                "the embedded cloud runs POSTGRES_18 only; leave it out or give that",
            )
        if not pb.initial_user.password:
            raise errors.invalid("cluster.initial_user.password", "a password is required")
        if pb.initial_user.user != "postgres":
            raise errors.invalid("cluster.initial_user.user", "the initial user is 'postgres'")

    def change(self, old: Any, new: Any) -> None:
        if old.initial_user.password != new.initial_user.password:
            database = self.database(new.name, old.initial_user.password)
            database.set_password("postgres", new.initial_user.password)

    def present(self, _name: str, pb: Any) -> Any:
        """The initial user is input only."""
        shown = self.plain()
        shown.CopyFrom(pb)
        shown.ClearField("initial_user")
        return shown

    def primary(self, cluster: str) -> Any | None:
        """The cluster's primary instance, or None."""
        instances = self.service.of_kind["Instance"]
        for row in self.store.children(self.service.name, "Instance", cluster):
            return instances.plain.FromString(row.body)
        return None

    def database(self, cluster: str, password: str = "") -> Database:
        """The way in as superuser; FAILED_PRECONDITION without a primary that is ready."""
        primary = self.primary(cluster)
        if primary is None or primary.state != api.Instance.State.READY:
            raise errors.failed_precondition(cluster, "the cluster has no primary that is READY")
        known = password or self.require(cluster).initial_user.password
        return Database(primary.ip_address, known)

    def settle(self, name: str, pb: Any) -> Message:
        """With the cluster comes its user ``postgres``."""
        users = self.service.of_kind["User"]
        user = f"{name}/users/postgres"
        if users.find(user) is None:
            built_in = int(api.User.UserType.ALLOYDB_BUILT_IN)
            roles = ["alloydbsuperuser"]
            users.save(user, users.plain(name=user, user_type=built_in, database_roles=roles))
        return super().settle(name, pb)


class Instances(Kind):
    """An instance; only PRIMARY, one in a cluster."""

    name = "Instance"
    message = api.Instance
    parent_kind = "Cluster"
    immutable = ("instance_type",)
    backed = True
    states = States(
        int(api.Instance.State.CREATING), int(api.Instance.State.READY),
        int(api.Instance.State.MAINTENANCE), int(api.Instance.State.DELETING),
        int(api.Instance.State.FAILED),
    )  # fmt: skip

    def defaults(self, _call: Call, pb: Any) -> None:
        if not pb.machine_config.cpu_count:
            pb.machine_config.cpu_count = 2
        pb.availability_type = pb.availability_type or int(api.Instance.AvailabilityType.REGIONAL)

    def check(self, pb: Any) -> None:
        if pb.instance_type != PRIMARY:
            raise errors.invalid(
                "instance.instance_type", "the embedded cloud runs PRIMARY instances only"
            )
        if pb.machine_config.cpu_count not in CPU_COUNTS:
            raise errors.invalid(
                "instance.machine_config.cpu_count", f"cpu_count must be one of {CPU_COUNTS}"
            )
        zonal = pb.availability_type == api.Instance.AvailabilityType.ZONAL
        region = pb.name.split("/")[3]
        if pb.gce_zone and not (zonal and is_zone_of(pb.gce_zone, region)):
            raise errors.invalid(
                "instance.gce_zone", f"only for ZONAL instances, and a zone of {region}"
            )
        wrong = violations(pb.database_flags)
        if wrong:
            raise errors.invalid_fields(wrong)

    def admit(self, parent: str) -> None:
        rows = self.store.children(self.service.name, "Instance", parent)
        if rows:
            raise errors.failed_precondition(parent, f"the primary exists: {rows[0].name}")

    def build(self, pb: Any) -> None:
        self.core.addresses.of(pb.name, 5432)
        server = self._server(pb)
        server.start()
        pb.ip_address = server.host
        cluster = self.service.of_kind["Cluster"].require(parent_of(pb.name))
        Database(server.host, cluster.initial_user.password).prepare()

    def change(self, old: Any, new: Any) -> None:
        if dict(old.database_flags) != dict(new.database_flags):
            self._server(old).stop()
            self._server(new).start()

    def remove(self, pb: Any) -> None:
        if self.core.addresses.known(pb.name):
            self._server(pb).discard()
            self.core.addresses.release(pb.name)

    def alive(self, pb: Any) -> bool:
        return not self._ready(pb) or bool(self._server(pb).running())

    def revive(self, pb: Any) -> None:
        self._server(pb).start()

    def halt(self, pb: Any) -> None:
        if self.core.addresses.known(pb.name):
            self._server(pb).stop()

    def where(self, pb: Any) -> str:
        return f"{pb.ip_address}:5432" if pb.ip_address else ""

    @staticmethod
    def _ready(pb: Any) -> bool:
        return bool(pb.state == api.Instance.State.READY)

    def _server(self, pb: Any) -> Any:
        from lib.runtime.postgresql import PostgreSQL

        cluster = self.service.of_kind["Cluster"].find(parent_of(pb.name))
        return PostgreSQL(
            self.core.state / "alloydb" / pb.uid,
            self.core.addresses.require(pb.name),
            password=cluster.initial_user.password if cluster else "",
            settings=settings(pb.database_flags),
        )


class Users(Kind):
    """A database user; a role of the primary's PostgreSQL."""

    name = "User"
    message = api.User
    parent_kind = "Cluster"
    holds_parent = False
    id_pattern = re.compile(r"[a-zA-Z_][a-zA-Z0-9_$-]{0,62}")

    def defaults(self, _call: Call, pb: Any) -> None:
        pb.user_type = pb.user_type or int(api.User.UserType.ALLOYDB_BUILT_IN)

    def check(self, pb: Any) -> None:
        if pb.user_type != api.User.UserType.ALLOYDB_BUILT_IN:
            raise errors.invalid("user.user_type", "the embedded cloud has ALLOYDB_BUILT_IN only")

    def create(self, call: Call, request: Any) -> Message:
        """A new role of the database."""
        if not request.user.password:
            raise errors.invalid("user.password", "password is required for a built-in user")
        return super().create(call, request)

    def build(self, pb: Any) -> None:
        self._database(pb).make_user(self._role(pb), pb.password, list(pb.database_roles))
        pb.ClearField("password")

    def change(self, _old: Any, new: Any) -> None:
        self._database(new).make_user(self._role(new), new.password, list(new.database_roles))
        if self._role(new) == "postgres" and new.password:
            self._keep_password(parent_of(new.name), new.password)
        new.ClearField("password")

    def remove(self, pb: Any) -> None:
        clusters: Any = self.service.of_kind["Cluster"]
        if self._role(pb) != "postgres" and clusters.primary(parent_of(pb.name)):
            self._database(pb).drop_user(self._role(pb))

    def remove_with_parent(self, pb: Any) -> None:
        """The roles go with the instance."""

    def _keep_password(self, cluster: str, password: str) -> None:
        clusters = self.service.of_kind["Cluster"]
        pb = clusters.require(cluster)
        pb.initial_user.password = password
        clusters.save(cluster, pb)

    def _database(self, pb: Any) -> Database:
        clusters: Any = self.service.of_kind["Cluster"]
        database: Database = clusters.database(parent_of(pb.name))
        return database

    @staticmethod
    def _role(pb: Any) -> str:
        return str(pb.name.rpartition("/")[2])


class AlloyDB(Service):
    """google.cloud.alloydb.v1.AlloyDBAdmin."""

    client = ("google.cloud.alloydb_v1.services.alloy_db_admin", "AlloyDBAdmin")
    title = "alloydb.googleapis.com"
    kinds = (Clusters, Instances, Users)

    def GetConnectionInfo(self, call: Call, request: Any) -> Message:
        """Where the instance listens."""
        instances = self.of_kind["Instance"]
        name = instances.target(call, request.parent, "connect", "parent")
        pb = instances.require(name)
        info: Any = call.method.response()
        info.name = f"{name}/connectionInfo"
        info.ip_address = pb.ip_address
        info.instance_uid = pb.uid
        return info

    def ListDatabases(self, call: Call, request: Any) -> Message:
        """The databases of the cluster, all on one page."""
        clusters: Any = self.of_kind["Cluster"]
        name = clusters.target(call, request.parent, "get", "parent")
        clusters.require(name)
        response: Any = call.method.response()
        for database, charset, collation in clusters.database(name).databases():
            response.databases.add(
                name=f"{name}/databases/{database}", charset=charset, collation=collation
            )
        return response

    def ListSupportedDatabaseFlags(self, call: Call, request: Any) -> Message:
        """The flags that an instance takes here."""
        response: Any = call.method.response()
        for flag in FLAGS.values():
            pb: Any = plain(api.SupportedDatabaseFlag)(
                name=f"{request.parent}/flags/{flag.name}", flag_name=flag.name,
                value_type=int(getattr(api.SupportedDatabaseFlag.ValueType, flag.type)),
                requires_db_restart=flag.restart,
                supported_db_versions=[int(api.DatabaseVersion.POSTGRES_18)],
            )  # fmt: skip
            if flag.type == "INTEGER":
                pb.integer_restrictions.min_value.CopyFrom(wrappers_pb2.Int64Value(value=flag.low))
                pb.integer_restrictions.max_value.CopyFrom(wrappers_pb2.Int64Value(value=flag.high))
            elif flag.values:
                pb.string_restrictions.allowed_values.extend(flag.values)
            response.supported_database_flags.append(pb)
        return response
