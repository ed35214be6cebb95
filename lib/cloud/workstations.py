"""Cloud Workstations: cluster, configuration with GPUs, workstation, and starting it."""

import contextlib
import time
from dataclasses import dataclass
from typing import Any

from lib.cloud import locations, machines
from lib.cloud.clients import Clients
from lib.cloud.errors import NotFound, OperationFailed, Situation, told
from lib.cloud.kind import Condition, Kind, by_state
from lib.cloud.operations import patiently, pauses, wait
from lib.cloud.resource import Resource
from lib.engine.actions import Journal

_CONSOLE = "https://console.cloud.google.com/workstations/overview"


def _reconciled(message: Any) -> Condition:
    if message.reconciling:
        return Condition.PENDING
    return Condition.FAILED if message.degraded else Condition.READY


CLUSTER = Kind(
    noun="workstation cluster",
    service="workstations",
    thing="workstation_cluster",
    collection="workstationClusters",
    condition=_reconciled,
    immutable=("network", "subnetwork"),
    console=_CONSOLE,
)
CONFIG = Kind(
    noun="workstation configuration",
    service="workstations",
    thing="workstation_config",
    collection="workstationConfigs",
    condition=_reconciled,
    # The directory may be left out of a wish, but never changed under workstations that use it.
    immutable=("replica_zones", "persistent_directories"),
    console=_CONSOLE,
)
WORKSTATION = Kind(
    noun="workstation",
    service="workstations",
    thing="workstation",
    collection="workstations",
    condition=by_state(["STATE_RUNNING", "STATE_STOPPED", "STATE_STARTING", "STATE_STOPPING"]),
    console=_CONSOLE,
)


@dataclass(frozen=True, slots=True)
class Started:
    """A workstation that runs: seconds from the call until STATE_RUNNING, and its host.

    ``cold`` is False where it ran already and nothing was started.
    """

    seconds: float
    host: str
    cold: bool


def cluster(
    clients: Clients, project: Any, network: Any, workstations: Any, protected: bool
) -> Resource[Any]:
    """The workstation cluster in its subnetwork."""
    return Resource(
        clients,
        CLUSTER,
        locations.region(project),
        workstations.cluster,
        {
            "network": locations.network(project, network),
            "subnetwork": locations.subnetwork(project, network),
            "labels": dict(project.labels),
        },
        project=project.id,
        protected=protected,
    )


def config(clients: Clients, project: Any, workstations: Any, protected: bool) -> Resource[Any]:
    """The configuration: machine, accelerators, boosts, and a persistent home directory."""
    kind, count = workstations.accelerator, workstations.accelerator_count
    machine = _machine(workstations.machine_type, kind, count)
    boosts = [
        {"id": each, **_machine(*chosen)}
        for each, text in sorted(workstations.boosts.items())
        if (chosen := machines.parse(text))
    ]
    if boosts:
        machine["boost_configs"] = boosts
    size = workstations.disk_gb
    disk = {"size_gb": size, "disk_type": "pd-standard" if size >= 200 else "pd-balanced"}
    return Resource(
        clients,
        CONFIG,
        f"{locations.region(project)}/workstationClusters/{workstations.cluster}",
        workstations.config,
        {
            "host": {"gce_instance": machine},
            "persistent_directories": [{"mount_path": "/home", "gce_pd": disk}],
            "labels": dict(project.labels),
        },
        project=project.id,
        protected=protected,
    )


def _machine(machine: str, gpu: str, count: int) -> dict[str, Any]:
    accelerators = {"accelerators": [{"type_": gpu, "count": count}]} if gpu and count else {}
    return {"machine_type": machine, **accelerators}


def workstation(
    clients: Clients, project: Any, workstations: Any, protected: bool
) -> Resource[Any]:
    """One workstation of the configuration; made stopped."""
    parent = (
        f"{locations.region(project)}/workstationClusters/{workstations.cluster}"
        f"/workstationConfigs/{workstations.config}"
    )
    return Resource(
        clients,
        WORKSTATION,
        parent,
        workstations.workstation,
        {"labels": dict(project.labels)},
        project=project.id,
        protected=protected,
    )


def start(resource: Resource[Any], clients: Clients, journal: Journal | None = None) -> Started:
    """Start a workstation and wait until it runs (network); raises ``CloudError``."""
    way = ("start_workstation", "STATE_STARTING", "STATE_RUNNING")
    return _reach(resource, clients, way, journal)


def stop(resource: Resource[Any], clients: Clients, journal: Journal | None = None) -> float:
    """Stop a workstation and wait until it stands; gives the seconds that it took."""
    way = ("stop_workstation", "STATE_STOPPING", "STATE_STOPPED")
    return _reach(resource, clients, way, journal).seconds


def _reach(
    resource: Resource[Any], clients: Clients, way: tuple[str, str, str], journal: Journal | None
) -> Started:
    """Go a ``way`` (method, state on it, state at its end); what is on it already is awaited."""
    method, during, goal = way
    polling = clients.target.polling
    client = clients.get("workstations")
    project = resource.name.split("/")[1]
    situation = Situation(resource.subject, project, clients.target.kind)

    def state() -> Any:
        with told(situation):
            return client.get_workstation(
                request={"name": resource.name}, retry=patiently(polling), timeout=polling.call
            )

    began = time.monotonic()
    now = state()
    acts = now.state.name not in (during, goal)
    if acts:
        with told(situation):
            answer = getattr(client, method)(
                request={"name": resource.name}, retry=None, timeout=polling.call
            )
        with contextlib.suppress(NotFound):  # too old to be remembered: the state tells
            wait(client, answer.operation.name, situation, polling, journal)
    for _ in pauses(polling, resource.subject, journal):
        now = state()
        if now.state.name == goal:
            break
        if now.state.name != during:
            raise OperationFailed(
                f"{resource.subject} is in {now.state.name} after {method}.",
                expected=goal,
                remedy="run again; somebody else may switch it at the same time",
            )
    return Started(time.monotonic() - began, now.host, acts)
