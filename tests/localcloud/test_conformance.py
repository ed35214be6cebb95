"""The conformance script: two embedded clouds are alike, a changed answer shows, nothing stays."""

import contextlib
import dataclasses
import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials

from lib.localcloud import contract
from tests.localcloud import conformance
from tests.localcloud.conftest import CLIENTS, Server
from tests.localcloud.doors import COMPUTE, DOORS, Door, Embedded, Google
from tests.localcloud.ledger import Ledger
from tests.localcloud.recording import Record, compare, play
from tests.localcloud.scenarios import SCENARIOS
from tests.localcloud.steps import Step, steps_of
from tests.localcloud.test_scenarios import words_of


@pytest.fixture(scope="module")
def place(cloud: Server) -> Embedded:
    """The cloud, and a token of somebody without any role."""
    stranger = cloud.command("token", "--principal", "user:nobody@example.com").strip()
    return Embedded(cloud.start(), stranger)


@pytest.fixture(scope="module")
def words(cloud: Server) -> dict[str, str]:
    """The words of a run in a project of its own."""
    return words_of(cloud.connected_project("secretmanager", "redis", "aiplatform"))


@pytest.fixture(scope="module")
def recording(place: Embedded, words: dict[str, str], tmp_path_factory: Any) -> Path:
    """A recording of one scenario."""
    path = Path(tmp_path_factory.mktemp("recording") / "recording.json")
    with contextlib.closing(Door(place, "grpc")) as door:
        conformance.write(path, "google", "grpc", list(play(SCENARIOS["secrets"], door, words)))
    return path


def _records(path: Path) -> list[Record]:
    return [Record(**each) for each in json.loads(path.read_text())["records"]]


def test_two_embedded_clouds_do_not_differ(recording: Path, capsys: Any) -> None:
    assert conformance.main(["--compare", str(recording)]) == 0
    steps = len(steps_of(SCENARIOS["secrets"]))
    assert f"{steps} of {steps} steps compared, 0 differ" in capsys.readouterr().out


def test_a_changed_answer_shows(recording: Path, capsys: Any) -> None:
    own = _records(recording)
    at = next(n for n, each in enumerate(own) if each.step == "secret: create, duplicate")
    other = list(own)
    other[at] = dataclasses.replace(own[at], answer={**own[at].answer, "code": "ABORTED"})
    assert [(each.what, each.left, each.right) for each in compare(own, other)] == [
        ("code", "ALREADY_EXISTS", "ABORTED")
    ]
    assert conformance._told(own, other, as_json=False) == 1
    told = capsys.readouterr().out
    assert "| secrets: secret: create, duplicate | code | ALREADY_EXISTS | ABORTED |" in told
    assert conformance._told(own, other, as_json=True) == 1
    assert json.loads(capsys.readouterr().out)["differences"][0]["right"] == "ABORTED"


def test_a_skipped_step_is_not_compared(recording: Path) -> None:
    own = _records(recording)
    other = [dataclasses.replace(each, answer={**each.answer, "code": "SKIPPED"}) for each in own]
    assert compare(own, other) == []


def test_a_recording_tells_nothing_of_whose_it_is(
    recording: Path, words: dict[str, str], place: Embedded
) -> None:
    text = recording.read_text().replace('"@type"', "")
    for secret in (words["{p}"], words["{id}"], place.about["token"], "@", "873291114285"):
        assert secret not in text


class _Interrupting(Ledger):
    """Somebody presses Ctrl-C at a step."""

    def __init__(self, path: Path, about: str, after: bool) -> None:
        super().__init__(path)
        self._about = about
        self._after = after

    def begins(self, step: Step, words: dict[str, str]) -> None:
        super().begins(step, words)
        if step.about == self._about and not self._after:
            raise KeyboardInterrupt

    def ends(self, step: Step, words: dict[str, str]) -> None:
        if step.about == self._about and self._after:
            raise KeyboardInterrupt
        super().ends(step, words)


@pytest.mark.parametrize(
    "scenario, about, after, client, listing",
    [
        ("redis", "instance: create", False, "redis", "list_instances"),
        ("redis", "instance: get", False, "redis", "list_instances"),
        ("vertex", "index: create", True, "indexes", "list_indexes"),
        ("vertex", "deploy", True, "index_endpoints", "list_index_endpoints"),
    ],
)
def test_what_an_interrupted_run_made_is_removed(
    place: Embedded, words: dict[str, str], tmp_path: Path,
    scenario: str, about: str, after: bool, client: str, listing: str,
) -> None:  # fmt: skip
    """Also where the server chose a name that nobody has heard yet."""
    ledger = _Interrupting(tmp_path / "ledger.json", about, after)
    records: list[Record] = []
    with pytest.raises(KeyboardInterrupt):
        conformance.hear(place, "grpc", [scenario], words, ledger, records, stranger=False)
    assert records
    assert not (tmp_path / "ledger.json").exists()
    with contextlib.closing(Door(place, "grpc")) as door:
        answer = door.call(client, listing, {"parent": words["{l}"]})
    assert [each for page in answer.pages for each in page] == []


def test_what_a_killed_run_made_is_known_to_the_next(
    place: Embedded, words: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.json"
    with contextlib.closing(Door(place, "grpc")) as door:
        for record in play(SCENARIOS["secrets"], door, words, Ledger(path)):
            if record.step == "secret: list by pages of one":
                break
        assert len(Ledger(path).entries) == 2
        assert Ledger(path).clean(door, 5.0) == []
        answer = door.call("secrets", "list_secrets", {"parent": f"projects/{words['{p}']}"})
    assert answer.pages in ([], [{}])
    assert not path.exists()


def test_what_cannot_be_removed_stays_in_the_ledger(
    place: Embedded, words: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.json"
    nobodys = {"name": "projects/no-such-project-here/secrets/x"}
    entry = {"unmake": ["secrets", "delete_secret", nobodys], "find": None}
    path.write_text(json.dumps([entry]))
    with contextlib.closing(Door(place, "grpc")) as door:
        (told,) = Ledger(path).clean(door, 0.0)
    assert "PERMISSION_DENIED" in told
    assert len(Ledger(path).entries) == 1


def test_it_says_what_it_makes_and_costs_before_it_goes_on(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORCHESTRA_STATE", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert conformance.main(["--project", "mine", "--service", "alloydb"]) == 2
    told = capsys.readouterr()
    assert "a primary instance of 2 vCPUs" in told.out
    assert "private services access" in told.out
    assert "--yes" in told.err


def test_without_credentials_it_says_so(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORCHESTRA_STATE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert conformance.main(["--project", "mine", "--service", "secrets", "--yes"]) == 3
    assert "none.json" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 99}', None])
def test_a_file_that_is_no_recording_is_refused(
    tmp_path: Path, content: str | None, capsys: Any
) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    assert conformance.main(["--compare", str(path)]) == 3
    assert "is no recording" in capsys.readouterr().err


def test_a_project_is_asked_recorded_and_compared(
    place: Embedded, words: dict[str, str], recording: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Any,
) -> None:  # fmt: skip
    """The whole way of a run on Google, with an embedded cloud in Google's place."""
    monkeypatch.setenv("ORCHESTRA_STATE", str(tmp_path))
    monkeypatch.setattr(conformance, "_google", lambda _options: place)
    monkeypatch.setattr(conformance, "on_embedded", lambda *_: _records(recording))
    kept, project = tmp_path / "kept.json", words["{p}"]
    command = ["--project", project, "--service", "secrets", "--yes", "--record", str(kept)]
    assert conformance.main(command) == 0
    skipped = [each for each in _records(kept) if each.answer["code"] == "SKIPPED"]
    assert all("without roles" in each.answer["message"] for each in skipped)
    steps = len(steps_of(SCENARIOS["secrets"]))
    assert f"{steps - len(skipped)} of {steps} steps compared" in capsys.readouterr().out
    assert not conformance.ledger_path(project).exists()
    assert conformance.main(["--project", project, "--clean"]) == 0


@pytest.mark.parametrize("door", DOORS)
def test_google_is_called_by_the_same_clients(door: str) -> None:
    """They are made with credentials alone; Vertex AI has an address for each region."""
    google = Google(AnonymousCredentials(), "europe-west4", "mine")

    async def made() -> dict[str, Any]:
        return {
            name: google.client(name, door)
            for name in {**CLIENTS, **COMPUTE}
            if Door(google, door).serves(name)
        }

    with contextlib.closing(Door(google, "grpc_asyncio")) as opened:
        clients = opened._runner.run(made())  # type: ignore[union-attr]
    hosts = {name: client.transport.host for name, client in clients.items()}
    assert "europe-west4-aiplatform.googleapis.com" in hosts["indexes"]
    assert "redis.googleapis.com" in hosts["redis"]


def test_every_method_that_a_scenario_calls_is_googles() -> None:
    apis = {}
    for scenario in SCENARIOS.values():
        for step in scenario.steps:
            if step.client in COMPUTE:  # called at every run of the scenario, and read by nobody
                continue
            package, service, kind = CLIENTS[step.client]
            module = f"google.cloud.{package}.services.{service}"
            api = apis.setdefault(step.client, contract.load(module, kind))
            rpc = "".join(part.capitalize() for part in step.method.split("_"))
            assert rpc in api.methods or rpc == "GetOperation", f"{kind}.{rpc}"


@pytest.fixture(autouse=True)
def _terminated() -> Iterator[None]:
    """The script takes the signal that ends a process for itself."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
