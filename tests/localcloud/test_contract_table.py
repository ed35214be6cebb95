"""The contract table: each call of it has the code that Google documents for it."""

import importlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.localcloud.conftest import FAST, Server, code_of, filled
from tests.localcloud.contract import CASES, vertex
from tests.localcloud.contract.kinds import ROWS
from tests.localcloud.contract.special import AUTOMATIC


@pytest.fixture(scope="module")
def made(cloud: Server) -> dict[str, str]:
    """A project where one resource ``t`` of each kind is there; the words that stand for both."""
    project = cloud.connected_project(
        "alloydb", "redis", "workstations", "run", "secretmanager", "iam", "aiplatform"
    )
    words = {"{p}": project}
    for row in ROWS:
        request = {"parent": row.parent, f"{row.thing}_id": "t", row.thing: row.body}
        create = getattr(cloud.client(row.client), f"create_{row.thing}")
        answer = create(request=filled(request, words))
        if hasattr(answer, "result"):
            answer.result(polling=FAST)
    parent = f"projects/{project}"
    cloud.client("secrets").create_secret(parent=parent, secret_id="t", secret=AUTOMATIC)
    cloud.client("accounts").create_service_account(name=parent, account_id="t-account")
    return words | vertex.deployed(cloud, project)


@pytest.fixture(scope="module")
def client_of(cloud: Server) -> Callable[[str, str], Any]:
    """Each client once for each principal."""
    kept: dict[tuple[str, str], Any] = {}

    def get(name: str, principal: str) -> Any:
        if (name, principal) not in kept:
            kept[name, principal] = cloud.client(name, principal=principal)
        return kept[name, principal]

    return get


@pytest.mark.parametrize(
    "client, method, about, request_, code, principal",
    CASES,
    ids=[f"{client}.{method}-{about}".replace(" ", "-") for client, method, about, *_ in CASES],
)
def test_code(
    made: dict[str, str], client_of: Callable[[str, str], Any], client: str, method: str,
    about: str, request_: dict[str, Any], code: str, principal: str,
) -> None:  # fmt: skip
    own = uuid.uuid4().hex[:8]
    words = {**made, "{new}": f"new-{own}", "{id}": f"id_{own}"}
    call = getattr(client_of(client, principal), method)
    assert code_of(lambda: call(request=filled(request_, words))) == code


def test_every_method_that_the_migration_calls_is_in_the_table() -> None:
    names = {"services": "usage", "iam": "accounts"}
    table = {(client, method) for client, method, *_ in CASES}
    for module in ("alloydb", "redis", "workstations", "run", "projects", "iam"):
        loaded = importlib.import_module(f"lib.cloud.{module}")
        for kind in vars(loaded).values():
            if type(kind).__name__ == "Kind":
                verbs = ["get", "create", "update", "delete"]
                if kind.thing == "service_account":
                    verbs[2] = "patch"
                client = names.get(kind.service, kind.service)
                missing = {(client, f"{verb}_{kind.thing}") for verb in verbs} - table
                assert not missing, json.dumps(sorted(missing))
