"""AlloyDB instances: a primary is a real PostgreSQL on an address of its own, with its proxy."""

from typing import Any, Final

from google.cloud import alloydb_v1 as api

from lib.localcloud import errors
from lib.localcloud.alloydb_admission import IAM
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.locations import is_zone_of
from lib.localcloud.names import parent_of
from lib.localcloud.resource import States
from lib.localcloud.services.alloydb_database import Database
from lib.localcloud.services.alloydb_flags import settings, violations
from lib.localcloud.services.alloydb_proxies import PORT, InstanceProxy

CPU_COUNTS: Final = (1, 2, 4, 8, 16, 32, 48, 64, 72, 80, 96, 128)
PRIMARY = api.Instance.InstanceType.PRIMARY


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
        pb.ip_address = self.core.addresses.of(pb.name, 5432)
        self._expose(pb)
        proxy = self._proxy(pb)
        proxy.begin()  # it starts while the database does
        self._server(pb).start()
        cluster = self.service.of_kind["Cluster"].require(parent_of(pb.name))
        Database(pb.ip_address, cluster.initial_user.password).prepare()
        proxy.await_ready()

    def change(self, old: Any, new: Any) -> None:
        self._expose(new)
        if dict(old.database_flags) != dict(new.database_flags):
            self._server(old).stop()
            self._server(new).start()
        if old.public_ip_address != new.public_ip_address:
            self._proxy(old).stop()
        self._proxy(new).begin()
        self._proxy(new).await_ready()

    def _expose(self, pb: Any) -> None:
        """Give or take the public address and the name in PSC, and admit IAM logins or not."""
        public = f"{pb.name}#public"
        if pb.network_config.enable_public_ip:
            pb.public_ip_address = self.core.addresses.of(public, PORT)
        else:
            pb.public_ip_address = ""
            self.core.addresses.release(public)
        cluster = self.service.of_kind["Cluster"].require(parent_of(pb.name))
        if cluster.psc_config.psc_enabled:
            # Names of this machine alone can't be resolved everywhere; an address always can.
            pb.psc_instance_config.psc_dns_name = f"{pb.ip_address}."
        if pb.database_flags.get("alloydb.iam_authentication") == "on":
            self.store.put_fact(IAM, pb.name, b"on")
        else:
            self.store.drop_fact(IAM, pb.name)

    def remove(self, pb: Any) -> None:
        self._proxy(pb).discard()
        if self.core.addresses.known(pb.name):
            self._server(pb).discard()
            self.core.addresses.release(pb.name)
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

    def _server(self, pb: Any) -> Any:
        from lib.runtime.postgresql import PostgreSQL

        cluster = self.service.of_kind["Cluster"].find(parent_of(pb.name))
        return PostgreSQL(
            self.core.state / "alloydb" / pb.uid,
            self.core.addresses.require(pb.name),
            password=cluster.initial_user.password if cluster else "",
            settings=settings(pb.database_flags),
        )
