"""Every call of a run that changes Google Cloud x every fault: what the run does about it.

``python -m tests.cloud.fault_matrix`` runs all of it and writes the table into
``docs/embedded-cloud.md``.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.cloud.cloud import Cloud
from lib.cloud.target import Polling, Target
from lib.engine.changes import ChangeKind
from lib.errors import MigrationError
from lib.localcloud.faults import Fault, Faults
from lib.localcloud.rehearsal import Rehearsal
from lib.localcloud.store import Store
from lib.settings import Settings
from tests.cloud.small_engine import MemoryJournal, converge

COMMAND = [sys.executable, "-m", "lib.localcloud"]
ATTEMPTS = 5
HURRIED = Polling(initial=0.01, maximum=0.1, deadline=15.0, call=20.0, patience=0.3)
MEMBER = "user:ada@example.com"
ELSEWHERE = "100000000001"

FAULTS: Mapping[str, Fault] = {
    "UNAVAILABLE before the effect": Fault("error"),
    "UNAVAILABLE after it": Fault("error", when="after"),
    "DEADLINE_EXCEEDED after it": Fault("error", code="DEADLINE_EXCEEDED", when="after"),
    "RESOURCE_EXHAUSTED": Fault("error", code="RESOURCE_EXHAUSTED"),
    "ABORTED": Fault("error", code="ABORTED"),
    "INTERNAL before it": Fault("error", code="INTERNAL"),
    "INTERNAL after it": Fault("error", code="INTERNAL", when="after"),
    "connection cut after it": Fault("cut", when="after"),
    "permission withdrawn": Fault("deny"),
    "operation fails": Fault("operation-fails", code="INTERNAL"),
    "operation fails, work done": Fault("operation-fails", code="INTERNAL", when="after"),
    "operation lost, work not done": Fault("operation-lost", code="INTERNAL"),
    "operation lost, work done": Fault("operation-lost", when="after"),
    "server killed before it": Fault("kill"),
    "server killed after it": Fault("kill", when="after"),
}


class World:
    """An embedded cloud of the matrix's own, and the facade that a run has on it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.faults = Faults(Rehearsal(state))
        self.settings = dataclasses.replace(Settings(), **_fast())
        self.cloud = self.connect()

    def connect(self) -> Cloud:
        """Start the server where it does not run."""
        done = subprocess.run(
            [*COMMAND, "start", "--json", "--state", str(self.state), "--operation-seconds", "0"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        about = json.loads(done.stdout)
        project = self.settings.project.id
        target = Target.embedded(about["endpoint"], about["ca"], about["token"], project=project)
        return Cloud(dataclasses.replace(target, polling=HURRIED))

    def revive(self) -> None:
        """Start the server again and forget the connections to the one that was killed."""
        self.cloud.close()
        self.cloud = self.connect()

    def close(self) -> None:
        """Remove the server with all that it holds."""
        self.cloud.close()
        reset = [*COMMAND, "reset", "--yes", "--state", str(self.state)]
        subprocess.run(reset, check=True, capture_output=True)

    def successes(self, rpc: str, project: str) -> int:
        """How many operations of an RPC on what this case made did their work."""
        store = Store(self.state / "state.db")
        try:
            rows = store.operations(None, "")
        finally:
            store.close()
        return sum(1 for row in rows if row.rpc == rpc and project in row.target and not row.error)


def _fast() -> dict[str, Any]:
    return {"redis": dataclasses.replace(Settings().redis, tier="BASIC", memory_gb=1)}


@dataclass
class Case:
    """One cell as it runs: settings with ids of its own, and a journal that outlives a run."""

    world: World
    id: str = field(default_factory=lambda: f"c{uuid.uuid4().hex[:8]}")
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    @property
    def cloud(self) -> Cloud:
        """The facade, also after the server was started again."""
        return self.world.cloud

    def settings(self, section: str, **changed: Any) -> Any:
        """A section of the settings with other values."""
        return dataclasses.replace(getattr(self.world.settings, section), **changed)

    @property
    def own_project(self) -> Any:
        """A project of this case alone."""
        return self.settings("project", id=f"orchestra-{self.id}")


Build = Callable[[Case], Any]


@dataclass(frozen=True)
class Mutation:
    """One call that changes something: what must be there first, and the action that calls it.

    An ``idempotent`` one may be made again while the first, unheard, is still under way.
    """

    method: str
    permission: str
    action: Build
    prepare: Callable[[Case], list[Any]] = lambda _case: []
    operation: bool = True
    costly: bool = False
    idempotent: bool = False

    @property
    def rpc(self) -> str:
        """The RPC without its service."""
        return self.method.rpartition("/")[2]


def _project(case: Case) -> list[Any]:
    settings = case.world.settings.project
    return [case.cloud.project(settings), case.cloud.services(settings)]


def _connected(case: Case) -> list[Any]:
    s = case.world.settings
    parts = (case.cloud.services_range, case.cloud.private_connection)
    return [*_project(case), *(part(s.project, s.network) for part in parts)]


def _workstations(case: Case, **own: Any) -> Any:
    return case.settings("workstations", **own)


def _with_cluster(case: Case) -> list[Any]:
    s = case.world.settings
    return [*_project(case), case.cloud.workstation_cluster(s.project, s.network, s.workstations)]


def _config(case: Case, **own: Any) -> Any:
    return case.cloud.workstation_config(case.world.settings.project, _workstations(case, **own))


def _with_config(case: Case) -> list[Any]:
    return [*_with_cluster(case), _config(case)]


def _workstation(case: Case) -> Any:
    own = _workstations(case, workstation=case.id)
    return case.cloud.workstation(case.world.settings.project, own)


def _with_workstation(case: Case) -> list[Any]:
    return [*_with_config(case), _workstation(case)]


def _redis(case: Case) -> Any:
    s = case.world.settings
    return case.cloud.redis_instance(s.project, s.network, case.settings("redis", instance=case.id))


def _alloydb_cluster(case: Case) -> Any:
    s = case.world.settings
    own = case.settings("alloydb", cluster=case.id)
    return case.cloud.alloydb_cluster(s.project, s.network, own, lambda: "password")


def _alloydb_instance(case: Case, **flags: str) -> Any:
    own = case.settings("alloydb", cluster=case.id, flags=flags)
    return case.cloud.alloydb_instance(case.world.settings.project, own)


def _with_alloydb_instance(case: Case) -> list[Any]:
    return [*_connected(case), _alloydb_cluster(case), _alloydb_instance(case)]


def _alloydb_user(case: Case, *roles: str) -> Any:
    own = case.settings("alloydb", cluster=case.id)
    address = f"{case.id}@example.com"
    return case.cloud.alloydb_iam_user(case.world.settings.project, own, address, roles)


def _secret(case: Case) -> Any:
    return case.cloud.secret(case.id, lambda: "value")


def _run(case: Case, **env: str) -> Any:
    api = case.settings("api", service=case.id, image="embedded://tests.localcloud.sample_service")
    return case.cloud.run_service(case.world.settings.project, api, env, {}, "")


class Switched:
    """A workstation that runs or stands, told as an action."""

    def __init__(self, case: Case, *, on: bool) -> None:
        self._case = case
        self._on = on
        self._project = case.world.settings.project
        self._settings = _workstations(case, workstation=case.id)

    def observe(self) -> Any:
        return self._case.cloud.workstation(self._project, self._settings).observe()

    def plan(self, observed: Any) -> Any:
        from lib.engine.changes import Change

        there = observed.state.name == ("STATE_RUNNING" if self._on else "STATE_STOPPED")
        return Change(ChangeKind.NONE if there else ChangeKind.UPDATE, "workstation")

    def apply(self, _change: Any, journal: Any) -> None:
        cloud = self._case.cloud
        switch = cloud.start_workstation if self._on else cloud.stop_workstation
        switch(self._project, self._settings, journal)

    def verify(self) -> Any:
        observed = self.observe()
        assert self.plan(observed).kind is ChangeKind.NONE
        return observed


def _network(case: Case) -> Any:
    return case.settings("network", name=case.id, subnetwork=case.id, services_range=case.id)


def _part(name: str) -> Build:
    return lambda case: getattr(case.cloud, name)(case.world.settings.project, _network(case))


def _parts(*names: str) -> Callable[[Case], list[Any]]:
    return lambda case: [*_project(case), *(_part(name)(case) for name in names)]


def _second_range(case: Case) -> Any:
    return dataclasses.replace(_network(case), services_range=f"{case.id}-b")


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "Projects/CreateProject",
        "resourcemanager.projects.create",
        lambda c: c.cloud.project(c.own_project),
    ),
    Mutation(
        "Projects/MoveProject",
        "resourcemanager.projects.move",
        lambda c: c.cloud.project(c.own_project),
        lambda c: [c.cloud.project(dataclasses.replace(c.own_project, organization=ELSEWHERE))],
    ),
    Mutation(
        "Projects/UpdateProject",
        "resourcemanager.projects.update",
        lambda c: c.cloud.project(dataclasses.replace(c.own_project, labels={"a": "b"})),
        lambda c: [c.cloud.project(c.own_project)],
    ),
    Mutation(
        "serviceusage/BatchEnableServices",
        "serviceusage.services.enable",
        lambda c: c.cloud.services(c.own_project),
        lambda c: [c.cloud.project(c.own_project)],
        idempotent=True,
    ),
    Mutation(
        "Projects/SetIamPolicy",
        "resourcemanager.projects.setIamPolicy",
        lambda c: c.cloud.project_roles(f"user:{c.id}@example.com", ["roles/redis.viewer"]),
        _project,
        operation=False,
    ),
    Mutation(
        "iam/CreateServiceAccount",
        "iam.serviceAccounts.create",
        lambda c: c.cloud.service_account(c.settings("project", service_account=c.id)),
        _project,
        operation=False,
    ),
    Mutation(
        "secretmanager/CreateSecret", "secretmanager.secrets.create", _secret, _project,
        operation=False,
    ),
    Mutation(
        "secretmanager/AddSecretVersion", "secretmanager.versions.add", _secret, _project,
        operation=False,
    ),
    Mutation(
        "secretmanager/SetIamPolicy",
        "secretmanager.secrets.setIamPolicy",
        lambda c: c.cloud.secret_access(c.id, MEMBER),
        lambda c: [*_project(c), _secret(c)],
        operation=False,
    ),
    Mutation("Networks/Insert", "compute.networks.create", _part("network"), _project),
    Mutation(
        "Subnetworks/Insert", "compute.subnetworks.create", _part("subnetwork"), _parts("network")
    ),
    Mutation(
        "GlobalAddresses/Insert",
        "compute.globalAddresses.create",
        _part("services_range"),
        _parts("network"),
    ),
    Mutation(
        "servicenetworking/CreateConnection",
        "servicenetworking.services.addPeering",
        _part("private_connection"),
        _parts("network", "services_range"),
    ),
    Mutation(
        "servicenetworking/UpdateConnection",
        "servicenetworking.services.addPeering",
        lambda c: c.cloud.private_connection(c.world.settings.project, _second_range(c)),
        lambda c: [
            *_parts("network", "services_range", "private_connection")(c),
            c.cloud.services_range(c.world.settings.project, _second_range(c)),
        ],
        idempotent=True,
    ),
    Mutation("redis/CreateInstance", "redis.instances.create", _redis, _project, costly=True),
    Mutation(
        "redis/UpdateInstance",
        "redis.instances.update",
        lambda c: c.cloud.redis_auth(
            c.world.settings.project, c.settings("redis", instance=c.id)
        ),
        lambda c: [*_project(c), _redis(c)],
        costly=True,
    ),
    Mutation(
        "workstations/CreateWorkstationCluster",
        "workstations.workstationClusters.create",
        lambda c: c.cloud.workstation_cluster(
            c.world.settings.project, c.world.settings.network, _workstations(c, cluster=c.id)
        ),
        _project,
    ),
    Mutation(
        "workstations/CreateWorkstationConfig",
        "workstations.workstationConfigs.create",
        lambda c: _config(c, config=c.id),
        _with_cluster,
    ),
    Mutation(
        "workstations/UpdateWorkstationConfig",
        "workstations.workstationConfigs.update",
        lambda c: _config(c, config=c.id, machine_type="n1-standard-8", accelerator_count=1),
        lambda c: [*_with_cluster(c), _config(c, config=c.id)],
    ),
    Mutation(
        "workstations/CreateWorkstation",
        "workstations.workstations.create",
        _workstation,
        _with_config,
    ),
    Mutation(
        "workstations/StartWorkstation",
        "workstations.workstations.start",
        lambda c: Switched(c, on=True),
        _with_workstation,
        costly=True,
    ),
    Mutation(
        "workstations/StopWorkstation",
        "workstations.workstations.stop",
        lambda c: Switched(c, on=False),
        lambda c: [*_with_workstation(c), Switched(c, on=True)],
        costly=True,
    ),
    Mutation("alloydb/CreateCluster", "alloydb.clusters.create", _alloydb_cluster, _connected),
    Mutation(
        "alloydb/CreateInstance",
        "alloydb.instances.create",
        _alloydb_instance,
        lambda c: [*_connected(c), _alloydb_cluster(c)],
        costly=True,
    ),
    Mutation(
        "alloydb/UpdateInstance",
        "alloydb.instances.update",
        lambda c: _alloydb_instance(c, max_connections="77"),
        _with_alloydb_instance,
        costly=True,
    ),
    Mutation(
        "alloydb/CreateUser",
        "alloydb.users.create",
        _alloydb_user,
        _with_alloydb_instance,
        operation=False,
        costly=True,
    ),
    Mutation(
        "alloydb/UpdateUser",
        "alloydb.users.update",
        lambda c: _alloydb_user(c, "alloydbsuperuser"),
        lambda c: [*_with_alloydb_instance(c), _alloydb_user(c)],
        operation=False,
        costly=True,
    ),
    Mutation(
        "alloydb/CreateBackup",
        "alloydb.backups.create",
        lambda c: c.cloud.alloydb_backup(
            c.world.settings.project, c.settings("alloydb", cluster=c.id, backup=c.id)
        ),
        _with_alloydb_instance,
        costly=True,
    ),
    Mutation("run/CreateService", "run.services.create", _run, _project, costly=True),
    Mutation(
        "run/UpdateService",
        "run.services.update",
        lambda c: _run(c, VERSION="2"),
        lambda c: [*_project(c), _run(c)],
        costly=True,
    ),
    Mutation(
        "run/SetIamPolicy",
        "run.services.setIamPolicy",
        lambda c: c.cloud.run_invoker(
            c.world.settings.project, c.settings("api", service=c.id)
        ),
        lambda c: [*_project(c), _run(c)],
        operation=False,
        costly=True,
    ),
)  # fmt: skip


def applies(mutation: Mutation, fault: Fault) -> bool:
    """Whether the fault can happen to the call."""
    return mutation.operation or not fault.effect.startswith("operation")


def run_case(world: World, mutation: Mutation, fault: Fault) -> str:
    """Strike the call once; gives what the run did.  Raises where that was wrong.

    A run that stops must say how to mend it; the next one finishes, and nothing is made twice.
    """
    case = Case(world)
    for action in mutation.prepare(case):
        converge(action, MemoryJournal())
    before = world.successes(mutation.rpc, case.id)
    world.faults.add([_aimed(fault, mutation)])
    try:
        converge(mutation.action(case), case.journal)
        outcome = "recovers"
    except MigrationError as error:
        if not error.remedy:
            raise AssertionError(f"no remedy is told: {error}") from error
        outcome = f"stops: {type(error).__name__}"
    finally:
        struck = sum(each.struck for each in world.faults.all())
        world.faults.clear()
    assert struck, "the fault never struck"
    if fault.effect == "kill":
        world.revive()
    converge(mutation.action(case), case.journal)
    assert converge(mutation.action(case), case.journal)[0].kind is ChangeKind.NONE
    done = world.successes(mutation.rpc, case.id) - before
    assert done <= 1 or mutation.idempotent, f"{mutation.rpc} did its work {done} times"
    _require_single(case, mutation)
    _tidy(case, mutation)
    return outcome


def _aimed(fault: Fault, mutation: Mutation) -> Fault:
    # A withdrawn permission stays withdrawn; everything else happens once.
    if fault.effect == "deny":
        return dataclasses.replace(fault, permission=mutation.permission)
    return dataclasses.replace(fault, method=mutation.method, times=1)


def _require_single(case: Case, mutation: Mutation) -> None:
    """What has no name of its own to keep it from being made twice."""
    clients, project = case.cloud.clients, case.world.settings.project.id
    if mutation.method == "secretmanager/AddSecretVersion":
        name = f"projects/{project}/secrets/{case.id}"
        versions = clients.get("secrets").list_secret_versions(request={"parent": name})
        assert len(list(versions)) == 1
    if mutation.method == "Projects/SetIamPolicy":
        policy = clients.get("projects").get_iam_policy(request={"resource": f"projects/{project}"})
        member = f"user:{case.id}@example.com"
        assert [m for each in policy.bindings for m in each.members].count(member) == 1


def _tidy(case: Case, mutation: Mutation) -> None:
    """Take costly things away, so that the machine does not fill with servers."""
    clients, project = case.cloud.clients, case.world.settings.project.id
    parent = f"projects/{project}/locations/us-central1"
    service = mutation.method.partition("/")[0]
    names = {
        "redis": ("delete_instance", {"name": f"{parent}/instances/{case.id}"}),
        "alloydb": ("delete_cluster", {"name": f"{parent}/clusters/{case.id}", "force": True}),
        "run": ("delete_service", {"name": f"{parent}/services/{case.id}"}),
    }
    if mutation.method == "alloydb/CreateBackup":
        clients.get(service).delete_backup(request={"name": f"{parent}/backups/{case.id}"}).result()
    if service in names:
        method, request = names[service]
        getattr(clients.get(service), method)(request=request).result()


@contextlib.contextmanager
def world(state: Path) -> Iterator[World]:
    """A world that is gone afterwards."""
    made = World(state)
    try:
        yield made
    finally:
        made.close()


def table(found: Mapping[tuple[str, str], str]) -> str:
    """The table as Markdown, a row for each call."""
    lines = ["| call | " + " | ".join(FAULTS) + " |", "| --- " * (len(FAULTS) + 1) + "|"]
    for mutation in MUTATIONS:
        cells = [found.get((mutation.method, name), "") for name in FAULTS]
        lines.append(f"| `{mutation.method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


BEGIN, END = "<!-- fault matrix: begin -->", "<!-- fault matrix: end -->"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "embedded-cloud.md"


def main() -> int:
    """Run the whole matrix and write the table; exit code 1 where a cell is wrong."""
    import tempfile

    found: dict[tuple[str, str], str] = {}
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, world(Path(folder) / "state") as made:
        for mutation in MUTATIONS:
            for name, fault in FAULTS.items():
                if not applies(mutation, fault):
                    continue
                begun = time.monotonic()
                try:
                    found[mutation.method, name] = run_case(made, mutation, fault)
                except Exception as error:
                    wrong += 1
                    found[mutation.method, name] = "WRONG"
                    print(f"{mutation.method} x {name}: {type(error).__name__}: {error}"[:600])
                    made.revive()
                print(f"{time.monotonic() - begun:6.2f} {mutation.method} x {name}: "
                      f"{found[mutation.method, name]}", flush=True)  # fmt: skip
    if not wrong:
        text = PAGE.read_text(encoding="utf-8")
        head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
        whole = f"{head}{BEGIN}\n{table(found)}\n{END}{tail}"
        PAGE.write_text(whole, encoding="utf-8")
    print(f"{len(found)} cells, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main())
