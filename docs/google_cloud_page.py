"""The part of ``docs/google-cloud.md`` that is made from code: roles, calls, what is unproven."""

import ast
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from lib.cloud.cloud import Cloud  # noqa: E402
from lib.cloud.permissions import required_permissions, role_for  # noqa: E402
from lib.cloud.resource import Resource  # noqa: E402
from lib.cloud.target import Target  # noqa: E402
from lib.localcloud.service import Service  # noqa: E402
from lib.orchestra.permissions import SERVICE_ACCOUNT_ROLES  # noqa: E402
from lib.settings import Settings  # noqa: E402
from tests.localcloud.contract import CASES  # noqa: E402
from tests.localcloud.scenarios import SCENARIOS  # noqa: E402

HEAD = DOCS / "google-cloud.head.md"
RECORDINGS = DOCS.parent / "tests" / "localcloud" / "recordings"
S = Settings()
OTHER_CALLS = {
    "missing_permissions": "Projects.TestIamPermissions; Organizations.TestIamPermissions",
    "services": "ServiceUsage.BatchGetServices; BatchEnableServices",
    "check_region": "AlloyDBAdmin.ListLocations, CloudRedis.ListLocations",
    "project_roles": "Projects.GetIamPolicy; SetIamPolicy",
    "secret": "SecretManagerService.ListSecretVersions; CreateSecret; AddSecretVersion",
    "secret_access": "SecretManagerService.GetIamPolicy; SetIamPolicy",
    "run_invoker": "Services.GetIamPolicy; SetIamPolicy",
    "start_and_stop": "Workstations.GetWorkstation; StartWorkstation; StopWorkstation",
    "check_permissions": "Projects.TestIamPermissions; Organizations.TestIamPermissions",
    "describe": "a Get of each resource",
    "network": "Networks.Get; Networks.Insert",
    "subnetwork": "Subnetworks.Get; Subnetworks.Insert",
    "services_range": "GlobalAddresses.Get; GlobalAddresses.Insert",
    "private_connection": "ServiceNetworking connections.list; connections.create, patch",
    "address_of": "with Private Service Connect: Addresses.Get, ForwardingRules.Get; "
    "Addresses.Insert, ForwardingRules.Insert",
    "vector_index": "IndexService.ListIndexes (with Vertex AI); CreateIndex, UpdateIndex",
    "index_endpoint": "IndexEndpointService.ListIndexEndpoints (with Vertex AI); "
    "CreateIndexEndpoint",
    "deployed_index": "IndexEndpointService.ListIndexEndpoints (with Vertex AI); DeployIndex, "
    "MutateDeployedIndex",
}
"""What facade methods and helpers call that make no ``Resource``: reads; then changes."""


def google_cloud() -> str:
    """The whole page."""
    lines = [HEAD.read_text(encoding="utf-8").rstrip(), ""]
    lines += [*_roles(), "", *_calls(), "", *_unproven(), ""]
    return "\n".join(lines)


def _roles() -> Iterator[str]:
    yield "## Roles"
    yield "For the person (or the service account) that runs the migration, on the project:"
    yield ""
    yield "| role | for these permissions |"
    yield "| --- | --- |"
    by_role: dict[str, list[str]] = {}
    for each in required_permissions():
        by_role.setdefault(role_for(each), []).append(each)
    for role, permissions in by_role.items():
        yield f"| `{role}` | {', '.join(f'`{each}`' for each in permissions)} |"
    yield ""
    yield (
        f"For the agents' own service account (`{S.project.service_account}`), granted by the run: "
        + ", ".join(f"`{each}`" for each in SERVICE_ACCOUNT_ROLES)
        + " on the project, and `roles/secretmanager.secretAccessor` on each of its three secrets."
    )


def _calls() -> Iterator[str]:
    yield "## What each step calls"
    yield (
        "Steps that call Google's control plane; the others speak SQL, Redis commands or HTTP to "
        "what these steps made. Where nothing is to be done a step makes its first calls only; "
        "after a change follow GetOperation until it is done, and one more read."
    )
    yield ""
    yield "| phase | step | reads | changes, where needed |"
    yield "| --- | --- | --- | --- |"
    clients = Cloud(Target.google(S.project.id))
    for path in sorted((DOCS.parent / "phases").glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (each for each in tree.body if isinstance(each, ast.FunctionDef)):
            told = [_told(clients, name) for name in _asked(function)]
            if told:
                reads = "; ".join(dict.fromkeys(read for read, _ in told))
                writes = "; ".join(dict.fromkeys(write for _, write in told if write))
                yield f"| {path.stem[5]} | `{_step(function)}` | {reads} | {writes} |"


def _step(function: ast.FunctionDef) -> str:
    for decorator in function.decorator_list:
        for keyword in getattr(decorator, "keywords", []):
            if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return function.name


def _asked(function: ast.FunctionDef) -> list[str]:
    """The facade's methods, and helpers known here, that a step calls."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            called = node.func
            on_cloud = (
                isinstance(called, ast.Attribute)
                and isinstance(called.value, ast.Name)
                and called.value.id == "cloud"
            )
            name = called.attr if on_cloud else getattr(called, "id", "")
            if name and (on_cloud or name in OTHER_CALLS):
                found.append(name)
    return found


def _told(cloud: Cloud, name: str) -> tuple[str, str]:
    if name in OTHER_CALLS:
        read, _, write = OTHER_CALLS[name].partition("; ")
        return (f"{read}; {write}", "") if write.startswith("Organizations") else (read, write)
    resource = _resource(cloud, name)
    verbs = "Update" if resource._partial else "Create, Update"
    stem = "".join(part.capitalize() for part in resource.kind.thing.split("_"))
    if name == "project":
        verbs += ", Move"
    if name == "service_account":
        verbs = "Create, Patch"
    changes = ", ".join(verb + stem for verb in verbs.split(", "))
    return f"{resource.kind.noun}: Get{stem}", changes


def _resource(cloud: Cloud, name: str) -> Resource[object]:
    arguments = {
        "project": (S.project,),
        "service_account": (S.project,),
        "alloydb_cluster": (S.project, S.network, S.alloydb, str),
        "alloydb_instance": (S.project, S.alloydb),
        "alloydb_read_pool": (S.project, S.alloydb),
        "alloydb_iam_user": (S.project, S.alloydb, "user@example.com", []),
        "alloydb_backup": (S.project, S.alloydb),
        "redis_instance": (S.project, S.network, S.redis),
        "redis_auth": (S.project, S.redis),
        "workstation_cluster": (S.project, S.network, S.workstations),
        "workstation_config": (S.project, S.workstations),
        "workstation": (S.project, S.workstations),
        "run_acceptance": (S.project, S.api),
        "run_service": (S.project, S.api, {}, {}, "", S.network),
    }
    made: Resource[object] = getattr(cloud, name)(*arguments[name])
    return made


def _unproven() -> Iterator[str]:
    yield "## What has never been compared with Google"
    yield (
        "No run against real Google has been made by this project's tests. The clients, requests, "
        "paths, fields and operation types are Google's own (read from the installed client "
        "packages, which a test checks), but for Compute and Service Networking, which are called "
        "by REST: those are written by hand; behaviour follows Google's documentation and design "
        "rules. Not compared: times, quotas, texts of errors, the order in which several errors "
        "of one request are told, organization policies, billing, delays until a newly enabled "
        "API or a newly granted role works, and the private connection of the network. Of each "
        "embedded service:"
    )
    yield ""
    package = importlib.import_module("lib.localcloud.services")
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        module = importlib.import_module(found.name)
        if any(issubclass(each, Service) and each.__module__ == found.name
               for each in vars(module).values() if isinstance(each, type)):  # fmt: skip
            if found.name.endswith(".mixins"):
                continue
            text = " ".join((module.__doc__ or "").split()).replace("``", "`")
            yield f"- {text}"
    yield ""
    yield from _compared()
    yield ""
    yield (
        "The contract table (`tests/localcloud/contract`, `test_contract_rest.py`) has every "
        "method that a run calls, by gRPC or REST, with the code that Google documents for it; the "
        "[fault matrix](embedded-cloud.md#what-a-run-does-about-each-of-them) what a run does "
        "when such a call fails."
    )


def _compared() -> Iterator[str]:
    """The scenarios that can be played on Google, and what they have been compared with."""
    yield (
        "Whoever has a project can compare: `tox -e conformance -- --project ID` asks Google and "
        "the embedded cloud the same and prints where they differ "
        "([how](embedded-cloud.md#compared-with-google)). What it asks, and the recordings of "
        "Google that came of it (`tests/localcloud/recordings`):"
    )
    yield ""
    yield "| scenario | calls | on Google it makes | compared with Google |"
    yield "| --- | --- | --- | --- |"
    kept = [json.loads(each.read_text()) for each in sorted(RECORDINGS.glob("*.json"))]
    for name, scenario in SCENARIOS.items():
        found = [
            f"{each['date']}, {sum(1 for record in each['records'] if record['scenario'] == name)}"
            for each in kept
            if each["cloud"] == "google" and name in {r["scenario"] for r in each["records"]}
        ]
        told = "; ".join(f"{each} calls" for each in found) or "never"
        yield f"| {name} | {len(scenario.steps)} | {scenario.costs} | {told} |"
    asked = {(step.client, step.method) for each in SCENARIOS.values() for step in each.steps}
    missing = sorted({f"{client}.{method}" for client, method, *_ in CASES
                      if (client, method) not in asked})  # fmt: skip
    yield ""
    yield (
        "No scenario has Service Networking, and of the other calls of a run not "
        + ", ".join(f"`{each}`" for each in missing)
        + "."
    )
