"""Google's own clients, pointed at an embedded cloud by endpoint, authority and token alone."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.api_core.operation import polling

CLIENTS = {
    "projects": ("resourcemanager_v3", "projects", "Projects"),
    "organizations": ("resourcemanager_v3", "organizations", "Organizations"),
    "usage": ("service_usage_v1", "service_usage", "ServiceUsage"),
    "accounts": ("iam_admin_v1", "iam", "IAM"),
    "secrets": ("secretmanager_v1", "secret_manager_service", "SecretManagerService"),
    "alloydb": ("alloydb_v1", "alloy_db_admin", "AlloyDBAdmin"),
    "redis": ("redis_v1", "cloud_redis", "CloudRedis"),
    "workstations": ("workstations_v1", "workstations", "Workstations"),
    "run": ("run_v2", "services", "Services"),
    "indexes": ("aiplatform_v1", "index_service", "IndexService"),
    "index_endpoints": ("aiplatform_v1", "index_endpoint_service", "IndexEndpointService"),
    "match": ("aiplatform_v1", "match_service", "MatchService"),
    "match_beta": ("aiplatform_v1beta1", "match_service", "MatchService"),
}
FAST = polling.DEFAULT_POLLING.with_delay(initial=0.02, maximum=0.1).with_timeout(60)
ORGANIZATION = "organizations/873291114285"
COMMAND = [sys.executable, "-m", "lib.localcloud"]


class _Bearer(grpc.AuthMetadataPlugin):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, context: Any, callback: Any) -> None:
        callback((("authorization", f"Bearer {self._token}"),), None)


@dataclass
class Server:
    """An embedded cloud of its own; the CLI starts and stops it."""

    state: Path
    about: dict[str, Any] | None = None

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run a command of the CLI."""
        done = subprocess.run(
            [*COMMAND, *arguments, "--state", str(self.state)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def start(self, *arguments: str) -> dict[str, Any]:
        """Start it (or find it running)."""
        return json.loads(self.command("start", "--json", *arguments))

    def kill(self) -> None:
        """kill -9 of the server alone."""
        os.kill(self.start()["pid"], signal.SIGKILL)
        self.about = None

    def client(self, name: str, principal: str = "", token: str = "") -> Any:
        """One of Google's clients."""
        about = self.about = self.about or self.start()
        if principal:
            token = self.command("token", "--principal", principal).strip()
        package, service, kind = CLIENTS[name]
        module = importlib.import_module(f"google.cloud.{package}.services.{service}")
        transports = importlib.import_module(f"{module.__name__}.transports")
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(Path(about["ca"]).read_bytes()),
            grpc.metadata_call_credentials(_Bearer(token or about["token"])),
        )
        channel = grpc.secure_channel(about["endpoint"], credentials)
        transport = getattr(transports, f"{kind}GrpcTransport")(channel=channel)
        return getattr(module, f"{kind}Client")(transport=transport)

    def new_project(self, *apis: str) -> str:
        """A new project with some APIs enabled; its id."""
        project = f"test-{uuid.uuid4().hex[:10]}"
        wanted = {"project_id": project, "parent": ORGANIZATION}
        self.client("projects").create_project(project=wanted).result(polling=FAST)
        if apis:
            names = [f"{api}.googleapis.com" for api in apis]
            request = {"parent": f"projects/{project}", "service_ids": names}
            self.client("usage").batch_enable_services(request=request).result(polling=FAST)
        return project

    def connected_project(self, *apis: str) -> str:
        """A new project whose network ``default`` is connected to Google's services; its id."""
        project = self.new_project("compute", "servicenetworking", *apis)
        network = f"projects/{project}/global/networks/default"
        addresses = f"/compute/v1/projects/{project}/global/addresses"
        private = {"purpose": "VPC_PEERING", "addressType": "INTERNAL", "prefixLength": 16}
        begun = self.posted(addresses, {"name": "services", "network": network, **private})
        self.posted(f"{addresses.rpartition('/')[0]}/operations/{begun['name']}/wait", {})
        connections = "/v1/services/servicenetworking.googleapis.com/connections"
        body = {"network": network, "reservedPeeringRanges": ["services"]}
        name = f"/v1/{self.posted(connections, body)['name']}"
        deadline = time.monotonic() + 60
        while not self.asked("GET", name).get("done"):
            assert time.monotonic() < deadline, name
            time.sleep(0.02)
        return project

    def posted(self, path: str, body: dict[str, Any]) -> Any:
        """What is answered to a POST, which must be accepted."""
        return self.asked("POST", path, json=body)

    def asked(self, verb: str, path: str, **options: Any) -> Any:
        """What is answered by HTTP to the owner, which must be accepted."""
        about = self.about = self.about or self.start()
        answer = requests.request(
            verb, f"https://{about['rest']}{path}", verify=about["ca"], timeout=20,
            headers={"Authorization": f"Bearer {about['token']}"}, **options,
        )  # fmt: skip
        assert answer.ok, answer.text
        return answer.json()


def filled(value: Any, words: dict[str, str]) -> Any:
    """A request of a table with the ids that it stands for."""
    if isinstance(value, dict):
        return {key: filled(inner, words) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, words) for inner in value]
    if isinstance(value, str):
        for word, meaning in words.items():
            value = value.replace(word, meaning)
    return value


def code_of(call: Callable[[], Any]) -> str:
    """``OK`` or the canonical code of the error that a client raises."""
    try:
        answer = call()
        if hasattr(answer, "result"):
            answer.result(polling=FAST)
    except exceptions.GoogleAPICallError as error:
        return str(error.grpc_status_code.name)
    return "OK"


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for the tests of this folder."""
    server = Server(tmp_path_factory.mktemp("embedded"))
    server.start()
    yield server
    server.command("reset", "--yes")


@pytest.fixture
def http(cloud: Server) -> Callable[..., tuple[int, Any]]:
    """HTTP with the owner's token; the status and the JSON."""
    about = cloud.start()

    def call(verb: str, path: str, token: str = "", **options: Any) -> tuple[int, Any]:
        headers = {
            "Authorization": f"Bearer {token or about['token']}",
            **options.pop("headers", {}),
        }
        url = f"https://{about['rest']}{path}"
        answer = requests.request(
            verb, url, headers=headers, verify=about["ca"], timeout=20, **options
        )
        return answer.status_code, answer.json()

    return call


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A server of its own for one test, not started yet."""
    server = Server(tmp_path / "state")
    yield server
    server.command("reset", "--yes")


@pytest.fixture(scope="session")
def project(cloud: Server) -> str:
    """A project with every API enabled."""
    apis = ("alloydb", "redis", "workstations", "run", "secretmanager", "iam")
    return cloud.connected_project(*apis)
