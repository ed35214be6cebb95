"""Cloud Workstations v1: a started workstation is a local process with a persistent home.

The container image is kept in the configuration and not pulled; machine and GPUs are checked,
not provided.  Idle and running timeouts are kept and not enforced.
"""

import secrets
import shutil
import time
from pathlib import Path
from typing import Any, Final

from google.cloud import workstations_v1 as api
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.certificates import write_private
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.locations import is_zone_of
from lib.localcloud.names import parent_of
from lib.localcloud.operations import Finish
from lib.localcloud.probes import await_ready, http_answers
from lib.localcloud.process import LocalProcess
from lib.localcloud.resource import States
from lib.localcloud.service import Service
from lib.localcloud.services.machines import default_zones, wrong_gpu, wrong_machine
from lib.localcloud.services.private_access import require_network, require_subnetwork
from lib.localcloud.store import OperationRow
from lib.localcloud.workstation_server import sign

PORT: Final = 8080
START_SECONDS: Final = 60.0
TOKEN_SECONDS: Final = 3600
DISK_SIZES: Final = (10, 50, 100, 200, 500, 1000)
IMAGE: Final = "us-central1-docker.pkg.dev/cloud-workstations-images/predefined/code-oss:latest"
State = api.Workstation.State
NETWORK: Final = "projects/{project}/global/networks/{network}"
SUBNETWORK: Final = "projects/{project}/regions/{region}/subnetworks/{subnetwork}"


class Clusters(Kind):
    """A workstation cluster."""

    name = "WorkstationCluster"
    message = api.WorkstationCluster
    required = ("network", "subnetwork")

    def check(self, pb: Any) -> None:
        parts = pb.network.split("/")
        if len(parts) != 5 or parts[0::2] != ["projects", "global", parts[4]]:
            raise errors.invalid("workstation_cluster.network", f"does not match '{NETWORK}'")
        parts = pb.subnetwork.split("/")
        if len(parts) != 6 or parts[0::2] != ["projects", "regions", "subnetworks"]:
            raise errors.invalid("workstation_cluster.subnetwork", f"not '{SUBNETWORK}'")
        region = pb.name.split("/")[3]
        if parts[3] != region:
            raise errors.invalid("workstation_cluster.subnetwork", f"is not in {region}")

    def admit(self, _parent: str, pb: Any) -> None:
        require_network(self.core, pb.network)
        require_subnetwork(self.core, pb.subnetwork, pb.network)

    def build(self, pb: Any) -> None:
        pb.control_plane_ip = self.core.addresses.subnet + ".1"


class Configs(Kind):
    """A configuration: machine, GPUs, home disk, environment."""

    name = "WorkstationConfig"
    message = api.WorkstationConfig
    parent_kind = "WorkstationCluster"
    immutable = ("replica_zones",)

    def defaults(self, _call: Call, pb: Any) -> None:
        machine = pb.host.gce_instance
        machine.machine_type = machine.machine_type or "e2-standard-4"
        machine.boot_disk_size_gb = machine.boot_disk_size_gb or 50
        for boost in machine.boost_configs:
            boost.machine_type = boost.machine_type or "e2-standard-4"
            boost.boot_disk_size_gb = boost.boot_disk_size_gb or 50
        if not pb.persistent_directories:
            directory = pb.persistent_directories.add(mount_path="/home")
            directory.gce_pd.size_gb = 200
            directory.gce_pd.fs_type = "ext4"
        pb.container.image = pb.container.image or IMAGE
        if not pb.HasField("idle_timeout"):
            pb.idle_timeout.FromSeconds(1200)
        if not pb.HasField("running_timeout"):
            pb.running_timeout.FromSeconds(43200)
        if not pb.replica_zones:
            gpus = [gpu.type_ for gpu in machine.accelerators]
            pb.replica_zones.extend(default_zones(pb.name.split("/")[3], gpus))

    def check(self, pb: Any) -> None:
        wrong = [*self._wrong_machine(pb), *self._wrong_disks(pb)]
        region = pb.name.split("/")[3]
        if len(set(pb.replica_zones)) != 2 or not all(
            is_zone_of(zone, region) for zone in pb.replica_zones
        ):
            wrong.append(("workstation_config.replica_zones", f"give two zones of {region}"))
        if pb.container.command or pb.container.args:
            wrong.append(("workstation_config.container", "command and args are not supported"))
        if wrong:
            raise errors.invalid_fields(wrong)

    @staticmethod
    def _wrong_machine(pb: Any) -> list[tuple[str, str]]:
        machine = pb.host.gce_instance
        field = "workstation_config.host.gce_instance"
        wrong = _wrong_host(field, machine, pb.replica_zones)
        ids = [boost.id for boost in machine.boost_configs]
        for index, boost in enumerate(machine.boost_configs):
            place = f"{field}.boost_configs[{index}]"
            if not boost.id or ids.count(boost.id) > 1:
                wrong.append((f"{place}.id", "give an id that no other boost configuration has"))
            wrong += _wrong_host(place, boost, pb.replica_zones)
        return wrong

    @staticmethod
    def _wrong_disks(pb: Any) -> list[tuple[str, str]]:
        return [
            (f"workstation_config.persistent_directories[{index}]", f"size: one of {DISK_SIZES}")
            for index, directory in enumerate(pb.persistent_directories)
            if directory.gce_pd.size_gb and directory.gce_pd.size_gb not in DISK_SIZES
        ]


def _wrong_host(field: str, host: Any, zones: Any) -> list[tuple[str, str]]:
    """What is wrong with a machine, its GPUs and its boot disk."""
    complaint = wrong_machine(host.machine_type)
    wrong = [(f"{field}.machine_type", complaint)] if complaint else []
    for index, gpu in enumerate(host.accelerators):
        complaint = wrong_gpu(gpu.type_, gpu.count, host.machine_type, zones)
        if complaint:
            wrong.append((f"{field}.accelerators[{index}]", complaint))
    if not 30 <= host.boot_disk_size_gb <= 2000:
        wrong.append((f"{field}.boot_disk_size_gb", "must be 30 to 2000"))
    return wrong


class Workstations(Kind):
    """A workstation."""

    name = "Workstation"
    message = api.Workstation
    parent_kind = "WorkstationConfig"
    backed = True
    states = States(int(State.STATE_STOPPED), 0, 0, 0)

    def build(self, pb: Any) -> None:
        self._home(pb).mkdir(parents=True, exist_ok=True)
        host = self.core.addresses.of(pb.name, 0)
        pb.host = f"{host}:{self.core.addresses.port(pb.name, PORT)}"

    def remove(self, pb: Any) -> None:
        self._process(pb).stop()
        self.core.addresses.release(pb.name)
        shutil.rmtree(self._folder(pb), ignore_errors=True)

    def alive(self, pb: Any) -> bool:
        return bool(pb.state != State.STATE_RUNNING or self._process(pb).running())

    def revive(self, pb: Any) -> None:
        self._start(pb)

    def halt(self, pb: Any) -> None:
        self._process(pb).stop()

    def where(self, pb: Any) -> str:
        return f"http://{pb.host}" if pb.state == State.STATE_RUNNING else ""

    def work(self, row: OperationRow) -> Finish:
        """Start and stop besides the standard ones."""
        pb = self.plain.FromString(row.payload)
        if row.rpc == "StartWorkstation":
            self._start(pb)
            pb.start_time.GetCurrentTime()
            pb.state = State.STATE_RUNNING
        elif row.rpc == "StopWorkstation":
            self._process(pb).stop()
            pb.state = State.STATE_STOPPED
        else:
            return super().work(row)
        return lambda: self.settle(row.target, pb)

    def failed(self, row: OperationRow, error: errors.RpcError) -> None:
        """A workstation that did not start is stopped; one that was not made is not there."""
        if row.rpc == "CreateWorkstation":
            super().failed(row, error)
            return
        pb = self.find(row.target)
        if pb is not None:
            if row.rpc in ("StartWorkstation", "StopWorkstation"):
                pb.state = State.STATE_STOPPED
            pb.reconciling = False
            self.save(row.target, pb)

    def access_token(self, pb: Any, expires: int, port: int) -> str:
        """A token that the workstation's server accepts."""
        return sign(self._key(pb).read_bytes(), expires, port)

    def _start(self, pb: Any) -> None:
        process = self._process(pb)
        key = self._key(pb)
        self._home(pb).mkdir(parents=True, exist_ok=True)
        if not key.exists():
            write_private(key, secrets.token_bytes(32))
        host = self.core.addresses.require(pb.name)
        port = self.core.addresses.port(pb.name, PORT)
        config = self.service.of_kind["WorkstationConfig"].require(parent_of(pb.name))
        variables = {
            **config.container.env, **pb.env,
            "HOME": str(self._home(pb)), "WORKSTATION": pb.name,
        }  # fmt: skip
        module = "lib.localcloud.workstation_server"
        process.start(module, [host, str(port), str(key)], variables)
        checks = [check.path for check in config.readiness_checks] or ["/healthz"]
        ready = await_ready(
            lambda: all(http_answers(host, port, path) for path in checks),
            process.running,
            START_SECONDS,
        )
        if not ready:
            words = process.last_words()
            process.stop()
            raise errors.internal(f"the workstation did not get ready: {words}")

    def _folder(self, pb: Any) -> Path:
        return self.core.state / "workstations" / str(pb.uid)

    def _home(self, pb: Any) -> Path:
        return self._folder(pb) / "home"

    def _key(self, pb: Any) -> Path:
        return self._folder(pb) / "token.key"

    def _process(self, pb: Any) -> LocalProcess:
        return LocalProcess(self._folder(pb))


class WorkstationsService(Service):
    """google.cloud.workstations.v1.Workstations."""

    client = ("google.cloud.workstations_v1.services.workstations", "Workstations")
    title = "workstations.googleapis.com"
    kinds = (Clusters, Configs, Workstations)

    def StartWorkstation(self, call: Call, request: Any) -> Message:
        """Start a stopped workstation, on a machine of its configuration's boosts if asked to."""
        return self._switch(call, request, "start", State.STATE_STOPPED, State.STATE_STARTING)

    def StopWorkstation(self, call: Call, request: Any) -> Message:
        """Stop a running workstation; its home stays."""
        return self._switch(call, request, "stop", State.STATE_RUNNING, State.STATE_STOPPING)

    def _switch(self, call: Call, request: Any, verb: str, before: Any, during: Any) -> Message:
        kind = self.of_kind["Workstation"]
        name = kind.target(call, request.name, verb)
        with self.core.store.transaction():
            pb = kind.require(name)
            kind.require_etag(pb, request)
            kind.require_idle(name)
            if pb.state != before:
                raise errors.failed_precondition(
                    name, f"cannot {verb} a workstation in {kind.state_name(pb)}"
                )
            self._require_boost(name, getattr(request, "boost_config", ""))
            if request.validate_only:
                return kind.validated(call, parent_of(name), pb)
            pb.state = during
            pb.reconciling = True
            kind.save(name, pb)
            return kind.answer(call, request, name, pb)

    def _require_boost(self, name: str, wanted: str) -> None:
        config = self.of_kind["WorkstationConfig"].require(parent_of(name))
        known = [boost.id for boost in config.host.gce_instance.boost_configs]
        if wanted and wanted not in known:
            raise errors.invalid("boost_config", f"the configuration has no boost '{wanted}'")

    def GenerateAccessToken(self, call: Call, request: Any) -> Message:
        """A bearer token for the running workstation, an hour good unless asked otherwise."""
        kind: Any = self.of_kind["Workstation"]
        name = kind.target(call, request.workstation, "use", "workstation")
        pb = kind.require(name)
        if pb.state != State.STATE_RUNNING:
            raise errors.failed_precondition(name, "the workstation is not running")
        expires = int(time.time()) + TOKEN_SECONDS
        if request.HasField("expire_time"):
            expires = request.expire_time.seconds
        elif request.HasField("ttl"):
            expires = int(time.time()) + request.ttl.seconds
        if not 0 < expires - time.time() <= 24 * 3600:
            raise errors.invalid("expire_time", "must be within the next 24 hours")
        response: Any = call.method.response()
        response.access_token = kind.access_token(pb, expires, request.port)
        response.expire_time.FromSeconds(expires)
        return response
