"""AlloyDB Admin v1: a primary instance is a real PostgreSQL on an address of its own.

Before it stands its proxy, which Google's own connectors reach on port 5433; IAM users get in by
that alone.  A read pool is a standby that follows the primary: one, however many nodes it is said
to have.  A backup is a base backup of the primary; a cluster can be restored from it, but not to a
point in time.  Secondary clusters and automated backups are refused.  A user with the role
``alloydbsuperuser`` is a superuser here.
"""

import re
from typing import Any, Final

from google.cloud import alloydb_v1 as api
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.alloydb_admission import Identity
from lib.localcloud.contract import plain
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.resource import States
from lib.localcloud.service import Service
from lib.localcloud.services.alloydb_backups import Backups, discard, restored
from lib.localcloud.services.alloydb_database import Database
from lib.localcloud.services.alloydb_flags import FLAGS
from lib.localcloud.services.alloydb_instances import REPLICA, Instances
from lib.localcloud.services.alloydb_proxies import LONGEST, Authority
from lib.localcloud.services.alloydb_users import Users
from lib.localcloud.services.private_access import is_connected, require_network
from lib.localcloud.versions import AnotherVersion

SOURCE: Final = "alloydb-source"
NETWORK: Final = re.compile(r"projects/[^/]+/global/networks/[a-z]([a-z0-9-]*[a-z0-9])?")


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

    def admit(self, _parent: str, pb: Any) -> None:
        network = pb.network_config.network
        if network:
            require_network(self.core, network)
            if not is_connected(self.core, network):
                raise errors.failed_precondition(
                    network,
                    f"The network {network} has no private services access connection; create "
                    "one, or enable Private Service Connect for the cluster",
                )

    def change(self, old: Any, new: Any) -> None:
        if old.initial_user.password != new.initial_user.password:
            database = self.database(new.name, old.initial_user.password)
            database.set_password("postgres", new.initial_user.password)

    def build(self, pb: Any) -> None:
        backup = self.store.fact(SOURCE, pb.name)
        if backup is not None:
            backups: Any = self.service.of_kind["Backup"]
            backups.restore(backup.decode(), pb)

    def remove(self, pb: Any) -> None:
        Authority(self.core.state, pb.uid).discard()
        discard(restored(self.core.state, pb.uid))
        self.store.drop_fact(SOURCE, pb.name)
        self.store.drop_fact(REPLICA, pb.name)

    def present(self, _name: str, pb: Any) -> Any:
        """The initial user is input only."""
        shown = self.plain()
        shown.CopyFrom(pb)
        shown.ClearField("initial_user")
        return shown

    def primary(self, cluster: str) -> Any | None:
        """The cluster's primary instance, or None."""
        instances: Any = self.service.of_kind["Instance"]
        return instances.primary(cluster)

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


class AlloyDB(Service):
    """google.cloud.alloydb.v1.AlloyDBAdmin."""

    client = ("google.cloud.alloydb_v1.services.alloy_db_admin", "AlloyDBAdmin")
    title = "alloydb.googleapis.com"
    kinds = (Clusters, Instances, Users, Backups)

    def GetConnectionInfo(self, call: Call, request: Any) -> Message:
        """Where the instance listens."""
        instances = self.of_kind["Instance"]
        name = instances.target(call, request.parent, "connect", "parent")
        pb = instances.present(name, instances.require(name))
        info: Any = call.method.response()
        info.name = f"{name}/connectionInfo"
        info.ip_address = pb.ip_address
        info.public_ip_address = pb.public_ip_address
        info.instance_uid = pb.uid
        return info

    def GenerateClientCertificate(self, call: Call, request: Any) -> Message:
        """A certificate for the proxies of the cluster, signed by the cluster's authority."""
        clusters = self.of_kind["Cluster"]
        name = clusters.target(call, request.parent, "generateClientCertificate", "parent")
        authority = Authority(self.core.state, clusters.require(name).uid)
        identity = Identity(call.principal, request.use_metadata_exchange)
        seconds = request.cert_duration.seconds if request.HasField("cert_duration") else LONGEST
        chain, root = authority.certify(request.public_key, identity, seconds)
        return call.method.response(pem_certificate_chain=chain, ca_cert=root)

    def RestoreCluster(self, call: Call, request: Any) -> Message:
        """A new cluster with the data and the users of a backup."""
        if not request.HasField("backup_source"):
            raise errors.unimplemented("the embedded cloud restores backups, and no points in time")
        clusters, backups = self.of_kind["Cluster"], self.of_kind["Backup"]
        field = "backup_source.backup_name"
        source = backups.canonical(request.backup_source.backup_name, backups.pattern, field)
        call.require(f"{backups.permission}.get", self.name, source)
        backup: Any = backups.require(source)
        if backup.state != api.Backup.State.READY:
            raise errors.failed_precondition(source, "the backup is not READY")
        found: Any = backups
        request.cluster.initial_user.password = found.password(source)
        with self.core.store.transaction():
            target = f"{self.core.canonical(request.parent)}/clusters/{request.cluster_id}"
            if clusters.find(target) is None and not request.validate_only:
                self.core.store.put_fact(SOURCE, target, source.encode())
            return clusters.create(call, request)

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


class AlloyDBBeta(AnotherVersion):
    """google.cloud.alloydb.v1beta.AlloyDBAdmin, which Google's connectors call."""

    client = ("google.cloud.alloydb_v1beta.services.alloy_db_admin", "AlloyDBAdmin")
    title = "alloydb.googleapis.com"
    stable = "google.cloud.alloydb.v1.AlloyDBAdmin"

    def handle(self, call: Call, request: Any) -> Message:
        """What v1 answers; connection information has a name here that v1 does not tell."""
        answer: Any = super().handle(call, request)
        if call.method.name == "GetConnectionInfo":
            stable: Any = self.core.service(self.stable)
            instances, name = stable.of_kind["Instance"], self.core.canonical(request.parent)
            instance = instances.present(name, instances.require(name))
            answer.psc_dns_name = instance.psc_instance_config.psc_dns_name
        return answer
