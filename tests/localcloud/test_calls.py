"""The counter of calls, by which a test shows that a dry run changes nothing."""

import json
import os
import subprocess
import sys

import pytest

from lib.localcloud import contract
from lib.localcloud.calls import mutates
from tests.localcloud.conftest import CLIENTS, Server, code_of


def test_calls_are_counted_by_method_and_changing_ones_apart(fresh: Server) -> None:
    fresh.start()
    project = fresh.new_project("redis", "compute")
    client = fresh.client("redis")
    fresh.command("calls", "--reset")
    name = f"projects/{project}/locations/us-central1/instances/none"
    for _ in range(3):
        assert code_of(lambda: client.get_instance(name=name)) == "NOT_FOUND"
    assert code_of(lambda: client.delete_instance(name=name)) == "NOT_FOUND"
    service = "google.cloud.redis.v1.CloudRedis"
    expected = {
        "reading": {f"{service}/GetInstance": 3},
        "mutating": {f"{service}/DeleteInstance": 1},
    }
    assert json.loads(fresh.command("calls", "--json")) == expected
    fresh.kill()
    assert json.loads(fresh.command("calls", "--json", "--reset")) == expected
    assert "0 calls that change" in fresh.command("calls")


@pytest.mark.parametrize("name", CLIENTS)
def test_what_an_operation_answers_changes_something(name: str) -> None:
    package, service, kind = CLIENTS[name]
    methods = contract.load(f"google.cloud.{package}.services.{service}", kind).methods.values()
    for method in methods:
        if method.is_operation:
            assert mutates(method.name), method.name
        if method.name.startswith(("Get", "List", "Search", "Test")):
            assert not mutates(method.name), method.name


def test_a_reader_that_has_seen_enough_is_no_error(localcloud: Server) -> None:
    command = [sys.executable, "-m", "lib.localcloud", "calls", "--state", str(localcloud.state)]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")
