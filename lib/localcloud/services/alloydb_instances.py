"""AlloyDB instances: each is a real PostgreSQL on an address of its own, with its proxy.

A read pool is a standby that follows the primary by PostgreSQL's own replication: one, however
many nodes it is said to have.
"""

import contextlib
import secrets
from typing import Any, Final

import psycopg
from google.cloud import alloydb_v1 as api

from lib.localcloud import errors
from lib.localcloud.alloydb_admission import IAM
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.locations import is_zone_of
from lib.localcloud.names import parent_of
from lib.localcloud.resource import States
from lib.localcloud.services import alloydb_attachments as attachments
from lib.localcloud.services.alloydb_backups import restored
from lib.localcloud.services.alloydb_database import REPLICA_ROLE, Database
from lib.localcloud.services.alloydb_flags import allowing, settings, violations
from lib.localcloud.services.alloydb_proxies import PORT, InstanceProxy
from lib.localcloud.store import Row

CPU_COUNTS: Final = (1, 2, 4, 8, 16, 32, 48, 64, 72, 80, 96, 128)
PRIMARY = api.Instance.InstanceType.PRIMARY
READ_POOL = api.Instance.InstanceType.READ_POOL
NODES: Final = 20
REPLICA: Final = "alloydb-replica"


class Instances(Kind):
    """An instance; one PRIMARY in a cluster, and READ_POOLs beside it."""

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
        if pb.instance_type not in (PRIMARY, READ_POOL):
            raise errors.invalid(
                "instance.instance_type", "the embedded cloud runs PRIMARY and READ_POOL instances"
            )
        nodes = pb.read_pool_config.node_count
        if (pb.instance_type == READ_POOL) != (nodes != 0) or nodes not in range(NODES + 1):
            raise errors.invalid(
                "instance.read_pool_config.node_count", f"1 to {NODES}, for a READ_POOL alone"
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

    def admit(self, parent: str, pb: Any) -> None:
        cluster = self.service.of_kind["Cluster"].require(parent)
        allowed = pb.psc_instance_config.allowed_consumer_projects
        if allowed and not cluster.psc_config.psc_enabled:
            raise errors.invalid(
                "instance.psc_instance_config", "the cluster has no Private Service Connect"
            )
        primary = self.primary(parent)
        if pb.instance_type == PRIMARY and primary is not None:
            raise errors.failed_precondition(parent, f"the primary exists: {primary.name}")
        if pb.instance_type == READ_POOL and (primary is None or not self._ready(primary)):
            raise errors.failed_precondition(parent, "the cluster has no primary that is READY")

    def present(self, _name: str, pb: Any) -> Any:
        """In Private Service Connect an instance has no address but those of its endpoints."""
        if not pb.psc_instance_config.service_attachment_link:
            return pb
        shown = self.plain()
        shown.CopyFrom(pb)
        shown.ClearField("ip_address")
        shown.psc_instance_config.psc_dns_name = attachments.dns_name(self.core, pb)
        return shown

    def primary(self, cluster: str) -> Any | None:
        """The cluster's primary, or None."""
        return next((each for each in self._of(cluster) if each.instance_type == PRIMARY), None)

    def _of(self, cluster: str) -> list[Any]:
        rows = self.store.children(self.service.name, "Instance", cluster)
        return [self.plain.FromString(row.body) for row in rows]

    def _pools(self, primary: Any) -> list[Any]:
        if primary.instance_type != PRIMARY:
            return []
        return [each for each in self._of(parent_of(primary.name)) if each.name != primary.name]

    def children(self, name: str) -> list[Row]:
        """A primary stays as long as something follows it."""
        followers = {each.name for each in self._pools(self.require(name))}
        rows = self.store.children(self.service.name, "Instance", parent_of(name))
        return [row for row in rows if row.name in followers]

    def build(self, pb: Any) -> None:
        pb.ip_address = self.core.addresses.of(pb.name, 5432)
        self._expose(pb)
        proxy = self._proxy(pb)
        proxy.begin()  # it starts while the database does
        if pb.instance_type == READ_POOL:
            self._primary_of(pb).admit_replica(*self._replica(pb))
        self._server(pb).start()
        if pb.instance_type == PRIMARY:
            self._database(pb).prepare()
        proxy.await_ready()

    def change(self, old: Any, new: Any) -> None:
        self._expose(new)
        if dict(old.database_flags) != dict(new.database_flags):
            self._server(old).stop()
            self._server(new).start()
            self._restart_pools(new)
        if old.public_ip_address != new.public_ip_address:
            self._proxy(old).stop()
        self._proxy(new).begin()
        self._proxy(new).await_ready()

    def _restart_pools(self, primary: Any) -> None:
        """A standby stands still while its primary allows more than it does."""
        for pool in self._pools(primary):
            with self.core.guard(pool.name):
                if self._ready(pool):
                    self._server(pool).stop()
                    self._server(pool, primary).start()

    def _expose(self, pb: Any) -> None:
        """Give or take the public address and the attachment, and admit IAM logins or not."""
        public = f"{pb.name}#public"
        if pb.network_config.enable_public_ip:
            pb.public_ip_address = self.core.addresses.of(public, PORT)
        else:
            pb.public_ip_address = ""
            self.core.addresses.release(public)
        cluster = self.service.of_kind["Cluster"].require(parent_of(pb.name))
        if cluster.psc_config.psc_enabled:
            pb.psc_instance_config.service_attachment_link = attachments.link(pb)
        if pb.database_flags.get("alloydb.iam_authentication") == "on":
            self.store.put_fact(IAM, pb.name, b"on")
        else:
            self.store.drop_fact(IAM, pb.name)

    def remove(self, pb: Any) -> None:
        self._proxy(pb).discard()
        if self.core.addresses.known(pb.name):
            self._server(pb).discard()
            self.core.addresses.release(pb.name)
        if pb.instance_type == READ_POOL:  # the primary may be gone, and the slot with it
            with contextlib.suppress(errors.RpcError, psycopg.Error):
                self._primary_of(pb).dismiss_replica(self._slot(pb))
        self.core.addresses.release(f"{pb.name}#public")
        self.store.drop_fact(IAM, pb.name)

    def alive(self, pb: Any) -> bool:
        if not self._ready(pb):
            return True
        return self._proxy(pb).running() and bool(self._server(pb).running())

    def revive(self, pb: Any) -> None:
        proxy = self._proxy(pb)
        proxy.begin()
        self._server(pb).start()
        proxy.await_ready()

    def halt(self, pb: Any) -> None:
        self._proxy(pb).stop()
        if self.core.addresses.known(pb.name):
            self._server(pb).stop()

    def where(self, pb: Any) -> str:
        return f"{pb.ip_address}:5432" if pb.ip_address else ""

    @staticmethod
    def _ready(pb: Any) -> bool:
        return bool(pb.state == api.Instance.State.READY)

    def _proxy(self, pb: Any) -> InstanceProxy:
        cluster = self.service.of_kind["Cluster"].find(parent_of(pb.name))
        return InstanceProxy(self.core, pb, cluster.uid if cluster else "")

    def _database(self, pb: Any) -> Database:
        cluster = self.service.of_kind["Cluster"].require(parent_of(pb.name))
        return Database(pb.ip_address, cluster.initial_user.password)

    def _primary_of(self, pool: Any) -> Database:
        """The way into the primary that a pool follows; FAILED_PRECONDITION where there is none."""
        clusters: Any = self.service.of_kind["Cluster"]
        database: Database = clusters.database(parent_of(pool.name))
        return database

    def _replica(self, pool: Any) -> tuple[str, str]:
        """The password of the cluster's replication role, made once, and the pool's slot."""
        cluster = parent_of(pool.name)
        with self.store.transaction():
            known = self.store.fact(REPLICA, cluster)
            if known is None:
                known = secrets.token_urlsafe(24).encode()
                self.store.put_fact(REPLICA, cluster, known)
        return known.decode(), self._slot(pool)

    @staticmethod
    def _slot(pool: Any) -> str:
        return "pool_" + str(pool.uid).replace("-", "_")

    def _server(self, pb: Any, primary: Any | None = None) -> Any:
        """The server behind an instance; a pool's by what ``primary`` is, or is about to be."""
        from lib.runtime.base_backup import Upstream, copied
        from lib.runtime.cluster import Fill
        from lib.runtime.postgresql import PostgreSQL

        cluster = self.service.of_kind["Cluster"].find(parent_of(pb.name))
        wanted = settings(pb.database_flags)
        origin: Fill | None = None
        primary = primary or self.primary(parent_of(pb.name))
        if pb.instance_type == READ_POOL and primary is not None:
            password, slot = self._replica(pb)
            upstream = Upstream(primary.ip_address, 5432, REPLICA_ROLE, password, slot)
            wanted = {
                **allowing(wanted, settings(primary.database_flags)),
                "primary_conninfo": upstream.conninfo, "primary_slot_name": slot,
            }  # fmt: skip
            origin = upstream.fill_standby
        elif cluster is not None and (backup := restored(self.core.state, cluster.uid)).exists():
            origin = copied(backup)
        return PostgreSQL(
            self.core.state / "alloydb" / pb.uid,
            self.core.addresses.require(pb.name),
            password=cluster.initial_user.password if cluster else "",
            settings=wanted,
            origin=origin,
        )
