"""Rows of projects, APIs, identities and secrets."""

import dataclasses
from typing import Any

from lib.engine.changes import FieldChange
from tests.cloud.matrix.mutation import LABELS, Arranged, Mutation, project, undoing
from tests.cloud.matrix.world import Case

MEMBER = "user:ada@example.com"
ELSEWHERE = "100000000001"
API = "redis.googleapis.com"


def _own(case: Case, **changed: Any) -> Any:
    return case.cloud.project(dataclasses.replace(case.own_project, **changed))


def _api(case: Case) -> Any:
    return case.cloud.services(dataclasses.replace(case.own_project, services=(API,)))


def _deleted(case: Case) -> Arranged:
    request = {"name": f"projects/{case.own_project.id}"}
    client = case.cloud.clients.get("projects")
    return Arranged(lambda: client.delete_project(request=request).result())


def _account(case: Case) -> Any:
    return case.cloud.service_account(case.settings("project", service_account=case.id))


def _account_of_others(case: Case) -> Arranged:
    request = {
        "name": f"projects/{case.project.id}",
        "account_id": case.id,
        "service_account": {"display_name": "Somebody's"},
    }
    client = case.cloud.clients.get("iam")
    return Arranged(lambda: client.create_service_account(request=request))


def _secret(case: Case) -> Any:
    return case.cloud.secret(case.id, lambda: "value")


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("Projects/CreateProject", "resourcemanager.projects.create", _own),
    Mutation(
        "Projects/MoveProject",
        "resourcemanager.projects.move",
        _own,
        lambda c: [_own(c, organization=ELSEWHERE)],
    ),
    Mutation(
        "Projects/UpdateProject",
        "resourcemanager.projects.update",
        lambda c: _own(c, labels=LABELS),
        lambda c: [_own(c)],
    ),
    undoing("Projects/DeleteProject", "resourcemanager.projects.delete", _own, lambda _case: []),
    Mutation(
        "Projects/UndeleteProject",
        "resourcemanager.projects.undelete",
        _own,
        lambda c: [_own(c), _deleted(c)],
        short=False,
    ),
    Mutation(
        "serviceusage/BatchEnableServices",
        "serviceusage.services.enable",
        lambda c: c.cloud.services(c.own_project),
        lambda c: [_own(c)],
        idempotent=True,
    ),
    undoing(
        "serviceusage/DisableService",
        "serviceusage.services.disable",
        _api,
        lambda c: [_own(c)],
        (FieldChange(API, "disabled", "enabled"),),
    ),
    Mutation(
        "Projects/SetIamPolicy",
        "resourcemanager.projects.setIamPolicy",
        lambda c: c.cloud.project_roles(f"user:{c.id}@example.com", ["roles/redis.viewer"]),
        project,
        operation=False,
    ),
    Mutation(
        "iam/CreateServiceAccount",
        "iam.serviceAccounts.create",
        _account,
        project,
        operation=False,
    ),
    Mutation(
        "iam/PatchServiceAccount",
        "iam.serviceAccounts.update",
        _account,
        lambda c: [*project(c), _account_of_others(c)],
        operation=False,
        short=False,
    ),
    undoing(
        "iam/DeleteServiceAccount",
        "iam.serviceAccounts.delete",
        _account,
        project,
        operation=False,
    ),
    Mutation(
        "secretmanager/CreateSecret",
        "secretmanager.secrets.create",
        _secret,
        project,
        operation=False,
    ),
    Mutation(
        "secretmanager/AddSecretVersion",
        "secretmanager.versions.add",
        _secret,
        project,
        operation=False,
    ),
    Mutation(
        "secretmanager/SetIamPolicy",
        "secretmanager.secrets.setIamPolicy",
        lambda c: c.cloud.secret_access(c.id, MEMBER),
        lambda c: [*project(c), _secret(c)],
        operation=False,
    ),
    undoing(
        "secretmanager/DeleteSecret",
        "secretmanager.secrets.delete",
        _secret,
        project,
        operation=False,
    ),
)
