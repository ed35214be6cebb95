"""Cloud Run v2: a service is a Python module of this installation, run as a local process.

The image is ``embedded://MODULE``.  A frontend of the service's own listens at its address and
passes connections to the revision that serves; it changes over only when the new revision has
answered its startup probe.  Earlier revisions are kept, stopped, and run again when the traffic
is directed to them.  The address is plain http, because it is loopback.  Scaling, traffic splits,
volumes and invoker checks are not implemented.
"""

import importlib.util
import re
import shutil
import socket
from pathlib import Path
from typing import Any, Final

from google.cloud import run_v2 as api
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.contract import plain
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.names import camel
from lib.localcloud.probes import await_ready, http_answers, tcp_answers
from lib.localcloud.process import LocalProcess
from lib.localcloud.resource import States
from lib.localcloud.service import Service
from lib.localcloud.store import OperationRow

PORT: Final = 8080
IMAGE: Final = re.compile(r"embedded://([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
DEFAULT_PROBE_SECONDS: Final = 240.0
SECRETS: Final = "google.cloud.secretmanager.v1.SecretManagerService"
RESERVED: Final = ("PORT", "HOST", "K_SERVICE", "K_REVISION", "K_CONFIGURATION")
UNSUPPORTED: Final = ("command", "volume_mounts", "depends_on", "liveness_probe")
LATEST = api.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
NAMED = api.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
Condition = api.Condition


class Services(Kind):
    """A service with its revisions."""

    name = "Service"
    message = api.Service
    backed = True
    id_pattern = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?")
    states = States(0, 0, 0, 0)
    documented_only = ("template",)

    def state_name(self, pb: Any) -> str:
        """The terminal condition's state."""
        return str(Condition.State(pb.terminal_condition.state).name)

    # checks

    def defaults(self, call: Call, pb: Any) -> None:
        pb.creator = pb.last_modifier = call.principal.partition(":")[2]
        pb.ingress = pb.ingress or int(api.IngressTraffic.INGRESS_TRAFFIC_ALL)
        pb.launch_stage = pb.launch_stage or 4  # GA
        if not pb.traffic:
            pb.traffic.add(type_=int(LATEST), percent=100)
        if not pb.template.max_instance_request_concurrency:
            pb.template.max_instance_request_concurrency = 80

    def check(self, pb: Any) -> None:
        wrong = []
        if len(pb.template.containers) != 1:
            raise errors.invalid("service.template.containers", "give exactly one container")
        container = pb.template.containers[0]
        field = "service.template.containers[0]"
        image = IMAGE.fullmatch(container.image)
        if image is None:
            wrong.append(
                (f"{field}.image",
                 f"'{container.image}': the embedded cloud runs embedded://MODULE only, a Python "
                 "module such as embedded://lib.api")
            )  # fmt: skip
        elif not _runnable(image[1]):
            wrong.append((f"{field}.image", f"there is no module {image[1]} that can be run"))
        wrong += [
            (f"{field}.{camel(descriptor.name)}", "not supported by the embedded cloud")
            for descriptor, _ in container.ListFields()
            if descriptor.name in UNSUPPORTED
        ]
        wrong += [
            (f"{field}.env[{index}].name", f"'{variable.name}' is empty or reserved")
            for index, variable in enumerate(container.env)
            if not variable.name or variable.name in RESERVED
        ]
        if len(pb.traffic) != 1 or pb.traffic[0].percent != 100:
            wrong.append(("service.traffic", "the embedded cloud sends 100 % to one revision"))
        elif pb.traffic[0].type_ not in (LATEST, NAMED) or pb.traffic[0].tag:
            wrong.append(("service.traffic[0]", "give the latest or a named revision, no tag"))
        elif pb.traffic[0].type_ == NAMED and self._template(_directed(pb)) is None:
            missing = f"there is no ready revision '{pb.traffic[0].revision}'"
            wrong.append(("service.traffic[0].revision", missing))
        if pb.template.volumes:
            wrong.append(("service.template.volumes", "not supported by the embedded cloud"))
        if wrong:
            raise errors.invalid_fields(wrong)

    def answer(self, call: Call, request: Any, name: str, pb: Any) -> Message:
        """Count the generation; another template is another revision."""
        if call.method.name != "DeleteService":
            old: Any = self.find(name)
            first = call.method.name == "CreateService"
            pb.generation = 1 if first else old.generation + 1
            pb.last_modifier = call.principal.partition(":")[2]
            if first or self._differs(old, pb):
                own = pb.template.revision or f"{name.rpartition('/')[2]}-{pb.generation:05d}"
                pb.latest_created_revision = f"{name}/revisions/{own}"
                if self._template(pb.latest_created_revision) is not None:
                    raise errors.already_exists(pb.latest_created_revision, "Revision")
        return super().answer(call, request, name, pb)

    @staticmethod
    def _differs(old: Any, new: Any) -> bool:
        return bool(old.template != new.template or not old.latest_ready_revision)

    # work

    def build(self, pb: Any) -> None:
        self.core.addresses.of(pb.name, 0)
        self._roll(pb)

    def change(self, old: Any, new: Any) -> None:
        self.core.addresses.of(new.name, 0)  # a creation that failed early has none yet
        if new.latest_created_revision != old.latest_ready_revision:
            self._roll(new)
        else:
            self._direct(new)
            self._conclude(new)

    def _roll(self, pb: Any) -> None:
        """Start the created revision and, once it is ready, send the traffic where it belongs."""
        revision = pb.latest_created_revision
        self._start_revision(pb, revision, pb.template)
        self.store.put_fact("run-revision", revision, pb.template.SerializeToString())
        pb.latest_ready_revision = revision
        self._direct(pb)
        self._conclude(pb)

    def _direct(self, pb: Any) -> None:
        """Run the revision that the traffic is meant for, send it there, stop the others."""
        serving = _directed(pb)
        self._start_revision(pb, serving, self._template(serving))
        self._point(pb, serving)
        self._start_frontend(pb)
        for folder in (self._folder(pb) / "revisions").glob("*"):
            if folder.name != serving.rpartition("/")[2]:
                LocalProcess(folder).stop()

    def _conclude(self, pb: Any) -> None:
        pb.observed_generation = pb.generation
        port = self.core.addresses.port(pb.name, PORT)
        pb.uri = f"http://{self.core.addresses.require(pb.name)}:{port}"
        pb.ClearField("urls")
        pb.urls.append(pb.uri)
        pb.ClearField("traffic_statuses")
        target = pb.traffic[0]
        pb.traffic_statuses.add(type_=target.type_, revision=target.revision, percent=100)
        self._condition(pb, Condition.State.CONDITION_SUCCEEDED, "")

    @staticmethod
    def _condition(pb: Any, state: Any, message: str, reason: int = 0) -> None:
        condition = pb.terminal_condition
        condition.Clear()
        condition.type_ = "Ready"
        condition.state = int(state)
        condition.message = message
        if reason:
            condition.reason = reason
        condition.last_transition_time.GetCurrentTime()

    def failed(self, row: OperationRow, error: errors.RpcError) -> None:
        """The new template is kept, the old revision serves, the condition says why."""
        pb = self.find(row.target)
        if pb is None:
            return
        if row.rpc != "DeleteService":
            serving = pb.latest_ready_revision
            pb = self.plain.FromString(row.payload)
            pb.latest_ready_revision = serving
            pb.observed_generation = pb.generation
            reason = int(Condition.CommonReason.REVISION_FAILED)
            self._condition(pb, Condition.State.CONDITION_FAILED, error.message, reason)
        pb.reconciling = False
        self.save(row.target, pb)

    def remove(self, pb: Any) -> None:
        self.halt(pb)
        for revision in self.store.facts("run-revision"):
            if revision.startswith(f"{pb.name}/"):
                self.store.drop_fact("run-revision", revision)
        self.core.addresses.release(pb.name)
        shutil.rmtree(self._folder(pb), ignore_errors=True)

    # what runs

    def alive(self, pb: Any) -> bool:
        revision = _directed(pb)
        if not revision:
            return True
        return self._revision(pb, revision).running() and self._frontend(pb).running()

    def revive(self, pb: Any) -> None:
        revision = _directed(pb)
        template = self._template(revision)
        if template is not None:
            self._start_revision(pb, revision, template)
            self._point(pb, revision)
            self._start_frontend(pb)

    def halt(self, pb: Any) -> None:
        self._frontend(pb).stop()
        if self._folder(pb).exists():
            for folder in (self._folder(pb) / "revisions").glob("*"):
                LocalProcess(folder).stop()

    def where(self, pb: Any) -> str:
        return str(pb.uri)

    def _start_revision(self, pb: Any, revision: str, template: Any) -> None:
        """Run a revision on a port of its own and wait for its startup probe."""
        process = self._revision(pb, revision)
        container = template.containers[0]
        host = self.core.addresses.require(pb.name)
        if not process.running():
            port = _free_port(host)
            process.folder.mkdir(parents=True, exist_ok=True)
            (process.folder / "port").write_text(str(port))
            match = IMAGE.fullmatch(container.image)
            assert match is not None
            process.start(
                match[1], list(container.args), self._variables(pb, revision, template, port)
            )
        port = self._port(pb, revision)
        probe = container.startup_probe
        seconds = DEFAULT_PROBE_SECONDS
        if any(True for _ in probe.ListFields()):
            seconds = probe.initial_delay_seconds + (probe.period_seconds or 10) * (
                probe.failure_threshold or 3
            )
        path = probe.http_get.path or "/" if probe.HasField("http_get") else ""
        ready = await_ready(
            lambda: http_answers(host, port, path) if path else tcp_answers(host, port),
            process.running,
            seconds,
        )
        if not ready:
            ended = not process.running()
            process.stop()
            words = process.last_words(600)
            raise errors.failed_precondition(
                pb.name,
                f"Revision '{revision.rpartition('/')[2]}' is not ready and cannot serve traffic. "
                "The user-provided container failed to start and listen on the port defined by "
                f"the PORT={port} environment variable"
                + (" (the process ended)." if ended else f" within {seconds:.0f} s.")
                + (f" Log: {words}" if words else ""),
            )

    def _variables(self, pb: Any, revision: str, template: Any, port: int) -> dict[str, str]:
        """What the process is told; its identity too, as no metadata server would tell it."""
        service = pb.name.rpartition("/")[2]
        project = pb.name.split("/")[1]
        account = template.service_account or f"{self.core.project_number(project)}-compute@"
        account += "developer.gserviceaccount.com" if account.endswith("@") else ""
        found = {
            "PORT": str(port), "HOST": self.core.addresses.require(pb.name), "K_SERVICE": service,
            "K_CONFIGURATION": service, "K_REVISION": revision.rpartition("/")[2],
            "EMBEDDED_CLOUD_ENDPOINT": self.core.endpoint,
            "EMBEDDED_CLOUD_CA": str(self.core.state / "ca.pem"),
            "EMBEDDED_CLOUD_TOKEN": self.core.identities.token(f"serviceAccount:{account}"),
        }  # fmt: skip
        for variable in template.containers[0].env:
            if variable.HasField("value_source"):
                found[variable.name] = self._secret(pb, variable.value_source.secret_key_ref)
            else:
                found[variable.name] = variable.value
        return found

    def _secret(self, pb: Any, reference: Any) -> str:
        name = reference.secret
        if not name.startswith("projects/"):
            name = f"projects/{pb.name.split('/')[1]}/secrets/{name}"
        name = f"{self.core.canonical(name)}/versions/{reference.version or 'latest'}"
        secrets: Any = self.core.service(SECRETS)
        try:
            version, found = secrets.resolve(name)
        except errors.RpcError as error:
            raise errors.failed_precondition(
                pb.name, f"Secret {name} was not found: {error.message}"
            ) from error
        if self.core.store.fact("secret-payload", version) is None or found.state != 1:
            raise errors.failed_precondition(pb.name, f"Secret {name} is not enabled.")
        return (self.core.store.fact("secret-payload", version) or b"").decode()

    def _point(self, pb: Any, revision: str) -> None:
        """Tell the frontend which port serves."""
        target = self._folder(pb) / "target"
        temporary = target.with_suffix(".new")
        temporary.write_text(str(self._port(pb, revision)))
        temporary.replace(target)

    def _start_frontend(self, pb: Any) -> None:
        host = self.core.addresses.require(pb.name)
        frontend = self._frontend(pb)
        port = self.core.addresses.port(pb.name, PORT)
        arguments = [host, str(port), str(self._folder(pb) / "target")]
        frontend.start("lib.localcloud.frontend", arguments)
        frontend.await_listening(host, port)

    def _template(self, revision: str) -> Any | None:
        known = self.store.fact("run-revision", revision)
        return plain(api.RevisionTemplate).FromString(known) if known is not None else None

    def _folder(self, pb: Any) -> Path:
        return self.core.state / "run" / str(pb.uid)

    def _frontend(self, pb: Any) -> LocalProcess:
        return LocalProcess(self._folder(pb) / "frontend")

    def _revision(self, pb: Any, revision: str) -> LocalProcess:
        return LocalProcess(self._folder(pb) / "revisions" / revision.rpartition("/")[2])

    def _port(self, pb: Any, revision: str) -> int:
        return int((self._revision(pb, revision).folder / "port").read_text())


class Run(Service):
    """google.cloud.run.v2.Services."""

    client = ("google.cloud.run_v2.services.services", "Services")
    title = "run.googleapis.com"
    kinds = (Services,)

    def metadata(self, row: OperationRow) -> Message | None:
        """Run's operations carry the service itself."""
        service: Message | None = self.of_kind["Service"].find(row.target)
        return service or self.of_kind["Service"].plain.FromString(row.payload)


def _directed(pb: Any) -> str:
    """The name of the revision that the traffic is meant for, empty before the first is ready."""
    if pb.traffic and pb.traffic[0].type_ == NAMED:
        return f"{pb.name}/revisions/{pb.traffic[0].revision}"
    return str(pb.latest_ready_revision)


def _runnable(module: str) -> bool:
    """Whether ``python -m module`` would find something."""
    try:
        found = importlib.util.find_spec(module)
        if found is not None and found.submodule_search_locations is not None:
            found = importlib.util.find_spec(f"{module}.__main__")
    except (ImportError, ValueError):
        return False
    return found is not None


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
