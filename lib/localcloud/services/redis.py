"""Memorystore for Redis v1: an instance is a real Valkey on an address of its own.

With in-transit encryption TLS is ended before it by a process of the instance's own; its server is
then on an address that nobody is told.  Read replicas are refused.
"""

import re
import uuid
from typing import Any, Final

from google.cloud import redis_v1 as api
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.locations import is_zone_of
from lib.localcloud.resource import States
from lib.localcloud.service import Service
from lib.localcloud.services.private_access import is_connected, require_network
from lib.localcloud.services.redis_encryption import PORT as TLS_PORT
from lib.localcloud.services.redis_encryption import Encryption

PORT: Final = 6379
VERSIONS: Final = ("REDIS_7_2", "REDIS_7_0", "REDIS_6_X")
POLICIES: Final = (
    "noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random",
    "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
)  # fmt: skip
CONFIGS: Final = {
    "maxmemory-policy": re.compile("|".join(POLICIES)),
    "maxmemory-gb": re.compile(r"\d+(\.\d+)?"),
    "notify-keyspace-events": re.compile(r"[KEg$lshzxeAtmdn]*"),
    "activedefrag": re.compile("yes|no"),
    "lfu-decay-time": re.compile(r"\d+"),
    "lfu-log-factor": re.compile(r"\d+"),
    "timeout": re.compile(r"\d+"),
    "stream-node-max-bytes": re.compile(r"\d+"),
    "stream-node-max-entries": re.compile(r"\d+"),
}
State = api.Instance.State
ENCRYPTED = api.Instance.TransitEncryptionMode.SERVER_AUTHENTICATION


class Instances(Kind):
    """An instance."""

    name = "Instance"
    message = api.Instance
    backed = True
    immutable = (
        "tier", "location_id", "authorized_network", "connect_mode", "transit_encryption_mode",
        "redis_version", "reserved_ip_range",
    )  # fmt: skip
    id_pattern = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
    states = States(int(State.CREATING), int(State.READY), int(State.UPDATING), int(State.DELETING))

    def defaults(self, _call: Call, pb: Any) -> None:
        _, project, _, region = pb.name.split("/")[:4]
        pb.redis_version = pb.redis_version or "REDIS_7_2"
        pb.location_id = pb.location_id or f"{region}-a"
        pb.current_location_id = pb.location_id
        pb.authorized_network = (
            pb.authorized_network or f"projects/{project}/global/networks/default"
        )
        pb.connect_mode = pb.connect_mode or int(api.Instance.ConnectMode.DIRECT_PEERING)
        pb.transit_encryption_mode = pb.transit_encryption_mode or int(
            api.Instance.TransitEncryptionMode.DISABLED
        )
        pb.read_replicas_mode = pb.read_replicas_mode or int(
            api.Instance.ReadReplicasMode.READ_REPLICAS_DISABLED
        )
        if pb.tier == api.Instance.Tier.STANDARD_HA and not pb.replica_count:
            pb.replica_count = 1

    def check(self, pb: Any) -> None:
        wrong = [*self._wrong_size(pb), *self._wrong_configs(pb)]
        if pb.redis_version not in VERSIONS:
            wrong.append(("instance.redis_version", f"one of {', '.join(VERSIONS)}"))
        if not is_zone_of(pb.location_id, pb.name.split("/")[3]):
            wrong.append(("instance.location_id", f"'{pb.location_id}' is no zone of the region"))
        if pb.read_replicas_mode != api.Instance.ReadReplicasMode.READ_REPLICAS_DISABLED:
            wrong.append(("instance.read_replicas_mode", "the embedded cloud has no read replicas"))
        if wrong:
            raise errors.invalid_fields(wrong)

    def admit(self, parent: str, pb: Any) -> None:
        network, private = pb.authorized_network, api.Instance.ConnectMode.PRIVATE_SERVICE_ACCESS
        host = self.core.canonical(network).split("/")[:2]
        if pb.connect_mode != private and host != parent.split("/")[:2]:
            raise errors.invalid(
                "instance.authorized_network",
                "authorized_network must exist in the same project as redis instance",
            )
        require_network(self.core, network)
        if pb.connect_mode == private and not is_connected(self.core, network):
            raise errors.failed_precondition(
                network,
                "Google private service access is not enabled. Enable private service access and "
                "try again.",
            )

    @staticmethod
    def _wrong_size(pb: Any) -> list[tuple[str, str]]:
        if not 1 <= pb.memory_size_gb <= 300:
            return [("instance.memory_size_gb", "memory_size_gb must be 1 to 300")]
        return []

    @staticmethod
    def _wrong_configs(pb: Any) -> list[tuple[str, str]]:
        return [
            (f"instance.redis_configs[{name}]", f"'{value}' is not supported")
            for name, value in pb.redis_configs.items()
            if name not in CONFIGS or not CONFIGS[name].fullmatch(value)
        ]

    def build(self, pb: Any) -> None:
        self._settle_password(pb)
        if not self._is_encrypted(pb):
            pb.host, pb.port = self.core.addresses.of(self._key(pb), PORT), PORT
            self._server(pb).start()
            return
        pb.host = self.core.addresses.of(f"{self._key(pb)}#tls", TLS_PORT)
        pb.port = TLS_PORT
        self.core.addresses.of(self._key(pb), PORT)
        front = self._front(pb)
        front.begin()
        self._server(pb).start()
        front.await_ready()
        pb.ClearField("server_ca_certs")
        pb.server_ca_certs.append(front.told())

    def change(self, old: Any, new: Any) -> None:
        if old.auth_enabled != new.auth_enabled:
            self._settle_password(new)
        seen = ("auth_enabled", "memory_size_gb", "redis_configs")
        if any(getattr(old, field) != getattr(new, field) for field in seen):
            self._server(old).stop()
            self._server(new).start()

    def remove(self, pb: Any) -> None:
        if self.core.addresses.known(self._key(pb)):
            if self._is_encrypted(pb):
                self._front(pb).discard()
                self.core.addresses.release(f"{self._key(pb)}#tls")
            self._server(pb).discard()
            self.core.addresses.release(self._key(pb))
        self.store.drop_fact("redis-auth", pb.name)
        self.store.drop_fact("redis-data", pb.name)

    def alive(self, pb: Any) -> bool:
        if pb.state != State.READY:
            return True
        passed_on = not self._is_encrypted(pb) or self._front(pb).running()
        return passed_on and bool(self._server(pb).running())

    def revive(self, pb: Any) -> None:
        if not self._is_encrypted(pb):
            self._server(pb).start()
            return
        front = self._front(pb)
        front.begin()
        self._server(pb).start()
        front.await_ready()

    def halt(self, pb: Any) -> None:
        if self.core.addresses.known(self._key(pb)):
            if self._is_encrypted(pb):
                self._front(pb).stop()
            self._server(pb).stop()

    def where(self, pb: Any) -> str:
        return f"{pb.host}:{pb.port}" if pb.host else ""

    @staticmethod
    def _is_encrypted(pb: Any) -> bool:
        return bool(pb.transit_encryption_mode == ENCRYPTED)

    def _front(self, pb: Any) -> Encryption:
        folder = self.core.state / "redis" / f"{self._folder(pb)}.tls"
        known = self.core.addresses
        host = known.known(f"{self._key(pb)}#tls")
        return Encryption(folder, host, (known.require(self._key(pb)), PORT))

    def password(self, name: str) -> str:
        """The AUTH string, or empty text."""
        return (self.store.fact("redis-auth", name) or b"").decode()

    def _settle_password(self, pb: Any) -> None:
        """A new AUTH string each time AUTH is turned on, none while it is off."""
        if not pb.auth_enabled:
            self.store.drop_fact("redis-auth", pb.name)
        elif not self.password(pb.name):
            self.store.put_fact("redis-auth", pb.name, str(uuid.uuid4()).encode())

    @staticmethod
    def _key(pb: Any) -> str:
        return f"redis:{pb.name}"

    def _folder(self, pb: Any) -> str:
        with self.store.transaction():
            known = self.store.fact("redis-data", pb.name)
            if known is None:
                known = uuid.uuid4().hex.encode()
                self.store.put_fact("redis-data", pb.name, known)
        return known.decode()

    def _server(self, pb: Any) -> Any:
        from lib.runtime.valkey import Valkey

        limit = float(pb.redis_configs.get("maxmemory-gb", pb.memory_size_gb))
        arguments = {k: v for k, v in pb.redis_configs.items() if k != "maxmemory-gb"}
        arguments.setdefault("maxmemory-policy", "volatile-lru")
        return Valkey(
            self.core.state / "redis" / self._folder(pb),
            self.core.addresses.require(self._key(pb)),
            PORT,
            password=self.password(pb.name),
            arguments={"maxmemory": str(int(limit * 2**30)), **arguments},
        )


class Redis(Service):
    """google.cloud.redis.v1.CloudRedis."""

    client = ("google.cloud.redis_v1.services.cloud_redis", "CloudRedis")
    title = "redis.googleapis.com"
    kinds = (Instances,)

    def GetInstanceAuthString(self, call: Call, request: Any) -> Message:
        """The AUTH string of an instance that has AUTH enabled."""
        instances: Any = self.of_kind["Instance"]
        name = instances.target(call, request.name, "getAuthString")
        pb = instances.require(name)
        if not pb.auth_enabled:
            raise errors.failed_precondition(name, "AUTH is not enabled for the instance")
        return call.method.response(auth_string=instances.password(name))
