"""The console over HTTP and in a browser: what it shows, what it hides, whom it refuses."""

import http.client
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lib.localcloud import console
from tests.localcloud.conftest import COMMAND, FAST, Server
from tests.report.test_browser import measure, needs_chromium

PAYLOAD = "correct-horse-battery"
HOSTILE = '<script>alert("x")</script>'
NETWORK = "projects/{project}/global/networks/default"


@dataclass
class Served:
    """A console that serves, and the project that its cloud has."""

    url: str
    project: str

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Status and text of a page."""
        connection = http.client.HTTPConnection(self.url.split("/")[2], timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert (
            answer.status != 200
            or "default-src 'none'" in answer.headers["Content-Security-Policy"]
        )
        return answer.status, text


@pytest.fixture(scope="module")
def filled(cloud: Server) -> str:
    """A project with a secret, and with a workstation configuration that gives it away."""
    project = cloud.new_project("secretmanager", "workstations", "compute")
    secrets = cloud.client("secrets")
    secret = secrets.create_secret(
        parent=f"projects/{project}", secret_id="key", secret={"replication": {"automatic": {}}}
    )
    secrets.add_secret_version(parent=secret.name, payload={"data": PAYLOAD.encode()})
    stations, parent = cloud.client("workstations"), f"projects/{project}/locations/us-central1"
    network = NETWORK.format(project=project)
    subnetwork = f"projects/{project}/regions/us-central1/subnetworks/default"
    stations.create_workstation_cluster(
        parent=parent, workstation_cluster_id="w",
        workstation_cluster={"network": network, "subnetwork": subnetwork},
    ).result(polling=FAST)  # fmt: skip
    stations.create_workstation_config(
        parent=f"{parent}/workstationClusters/w", workstation_config_id="c",
        workstation_config={
            "display_name": HOSTILE,
            "container": {"env": {"URL": f"postgresql://me:{PAYLOAD}@host/db", "MY_PASSWORD": "abc",
                                  "PLAIN": f"see {PAYLOAD}"}},
        },
    ).result(polling=FAST)  # fmt: skip
    return project


@pytest.fixture(scope="module")
def served(cloud: Server, filled: str) -> Iterator[Served]:
    """The console of the cloud, ended by Ctrl-C."""
    process = subprocess.Popen(
        [*COMMAND, "console", "--state", str(cloud.state)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
    assert found
    yield Served(found[0], filled)
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=10)
    assert (process.returncode, *rest) == (0, "", "")


def test_it_lists_resources_by_project_and_api_with_faults_and_counts(served, cloud):
    told = cloud.command("faults", "add", "delay", "--seconds", "0.01", "--method", "NoSuch")
    status, text = served.get("/")
    cloud.command("faults", "clear", re.findall(r"\d+", told)[0])
    assert status == 200
    assert f'<h2 id="{served.project}">' in text
    assert "Cloud Workstations API" in text
    assert "e2-standard-4" in text
    assert "delay method=NoSuch seconds=0.01" in text
    assert "WorkstationsService" not in text
    assert "Workstations · CreateWorkstationConfig" in text
    assert "CreateWorkstationCluster" in text.partition("Latest operations")[2]
    assert "<script" not in text


def test_a_page_shows_all_fields_and_masks_every_secret(served):
    _, text = served.get("/?q=workstationConfigs/c")
    link = re.search(r'href="(/resource/[^"]*workstationConfigs/c)"', text)
    assert link
    status, text = served.get(link[1])
    assert status == 200
    assert "&#34;runningTimeout&#34;: &#34;43200s&#34;" in text
    assert "&lt;script&gt;alert(" in text
    assert "<script" not in text
    assert PAYLOAD not in text
    assert "abc" not in text
    assert "postgresql://me:********@host/db" in text
    assert "see ********" in text
    version = f"google.cloud.secretmanager.v1.SecretManagerService/projects/{served.project}"
    _, text = served.get(f"/resource/{version}/secrets/key/versions/1")
    assert PAYLOAD not in text
    assert "createTime" in text


def test_names_narrow_the_list(served):
    _, text = served.get("/?q=SECRETS/KEY")
    assert "secrets/key/versions/1" in text
    assert "workstationConfigs/c" not in text.partition("Latest operations")[0]
    _, text = served.get(f"/?q={HOSTILE.replace('<', '%3C').replace('>', '%3E')}")
    assert "<script" not in text
    assert "No resource has" in text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "evil.example:8480", ""])
def test_a_name_that_was_bound_to_its_address_is_refused(served, host):
    assert served.get("/", Host=host)[0] == 421


def test_what_is_not_there_or_not_a_read_is_refused(served):
    assert served.get("/resource/google.cloud.redis.v1.CloudRedis/projects/x")[0] == 404
    assert served.get("/resource/../../etc/passwd")[0] == 404
    assert served.get("/", method="POST")[0] == 501
    assert served.get("/", method="HEAD") == (200, "")


def test_without_a_state_it_says_so(tmp_path):
    assert "There is no resource yet." in console.overview_page(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_told(cloud, served):
    port = served.url.split(":")[2].strip("/")
    assert f"cannot listen on 127.0.0.1:{port}" in cloud.command(
        "console", "--port", port, check=False
    )


@needs_chromium
@pytest.mark.parametrize("width", [1240, 400])
def test_nothing_overflows_in_a_browser(filled, cloud, tmp_path: Path, width):
    text = console.overview_page(cloud.state)
    link = '<link rel="stylesheet" href="/console.css">'
    assert link in text
    styled = text.replace(link, f"<style>{console.stylesheet()}</style>")
    assert measure(styled, tmp_path, width) == (width, "")
