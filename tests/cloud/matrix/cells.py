"""All rows, all columns, and how one cell runs."""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from google.api_core.exceptions import NotFound

from lib.engine.changes import ChangeKind
from lib.errors import MigrationError
from lib.localcloud.faults import Fault
from tests.cloud.matrix import databases, machines, networks, projects, vertex
from tests.cloud.matrix.mutation import Mutation
from tests.cloud.matrix.world import Case, World
from tests.cloud.small_engine import MemoryJournal, converge

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
MUTATIONS: tuple[Mutation, ...] = (
    *projects.MUTATIONS,
    *networks.MUTATIONS,
    *databases.MUTATIONS,
    *machines.MUTATIONS,
    *vertex.MUTATIONS,
)


def applies(mutation: Mutation, fault: Fault) -> bool:
    """Whether the fault can happen to the call."""
    return mutation.operation or not fault.effect.startswith("operation")


def uncovered(called: Iterable[str]) -> list[str]:
    """Of methods, as the server counts them (package.Service/Rpc), those that have no row."""
    rows = {tuple(each.method.lower().split("/")) for each in MUTATIONS}
    return [
        each
        for each in called
        if not any((word, each.lower().rpartition("/")[2]) in rows
                   for word in each.lower().rpartition("/")[0].split("."))
    ]  # fmt: skip


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
    if mutation not in projects.MUTATIONS:
        _tidy(case)
    return outcome


def _aimed(fault: Fault, mutation: Mutation) -> Fault:
    # A withdrawn permission stays withdrawn; everything else happens once.
    if fault.effect == "deny":
        return dataclasses.replace(fault, permission=mutation.permission)
    return dataclasses.replace(fault, method=mutation.method, times=1)


def _require_single(case: Case, mutation: Mutation) -> None:
    """What has no name of its own to keep it from being made twice."""
    clients, project = case.cloud.clients, case.project.id
    parent = f"projects/{project}/locations/{case.project.region}"
    if mutation.method == "secretmanager/AddSecretVersion":
        name = f"projects/{project}/secrets/{case.id}"
        versions = clients.get("secrets").list_secret_versions(request={"parent": name})
        assert len(list(versions)) == 1
    if mutation.method == "Projects/SetIamPolicy":
        policy = clients.get("projects").get_iam_policy(request={"resource": f"projects/{project}"})
        member = f"user:{case.id}@example.com"
        assert [m for each in policy.bindings for m in each.members].count(member) == 1
    if mutation in vertex.MUTATIONS:
        wanted = {"parent": parent, "filter": f'display_name="{case.id}"'}
        indexes = list(clients.get("indexes").list_indexes(request=wanted))
        ends = list(clients.get("index_endpoints").list_index_endpoints(request=wanted))
        assert len(indexes) <= 1
        assert len(ends) <= 1
        assert sum(len(each.deployed_indexes) for each in ends) <= 1


def _tidy(case: Case) -> None:
    """Take costly things away, so that the machine does not fill with servers."""
    clients = case.cloud.clients
    parent = f"projects/{case.project.id}/locations/{case.project.region}"
    left: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("redis", "delete_instance", {"name": f"{parent}/instances/{case.id}"}),
        ("alloydb", "delete_backup", {"name": f"{parent}/backups/{case.id}"}),
        ("alloydb", "delete_cluster", {"name": f"{parent}/clusters/{case.id}", "force": True}),
        ("run", "delete_service", {"name": f"{parent}/services/{case.id}"}),
    )
    for service, method, request in left:
        with contextlib.suppress(NotFound):
            getattr(clients.get(service), method)(request=request).result()
