"""Where we run, which target follows, and which credentials apply."""

import json

import google.oauth2.credentials
import pytest
import requests

from lib.cloud import credentials
from lib.cloud.clients import Clients
from lib.cloud.environment import Environment, Where, choose_target, detect
from lib.cloud.errors import CredentialsMalformed, CredentialsMissing, Situation
from lib.cloud.target import Target
from lib.errors import SettingsError

HOME = Environment(Where.OWN_MACHINE, "a test")
USER = {
    "type": "authorized_user",
    "client_id": "c",
    "client_secret": "s3cret",
    "refresh_token": "r3fresh",
    "account": "ada@example.com",
    "quota_project_id": "pays",
}


@pytest.mark.parametrize(
    "environ, kind",
    [
        ({"GOOGLE_CLOUD_WORKSTATIONS": "true"}, Where.WORKSTATION),
        ({"CLOUD_SHELL": "true"}, Where.CLOUD_SHELL),
        ({"K_SERVICE": "api"}, Where.CLOUD_RUN),
        ({"BUILDER_OUTPUT": "/builder/outputs"}, Where.CLOUD_BUILD),
        ({"GITHUB_ACTIONS": "true", "CI": "true"}, Where.GITHUB_ACTIONS),
        ({"CODESPACES": "true"}, Where.GITHUB_CODESPACES),
        ({"GITLAB_CI": "true", "CI": "true"}, Where.OTHER_CI),
        ({"CI": "false"}, Where.OWN_MACHINE),
    ],
)
def test_variables_tell_where_we_run(environ, kind, tmp_path):
    assert detect(environ, tmp_path).kind is kind


def test_firmware_tells_compute_engine(tmp_path):
    (tmp_path / "product_name").write_text("Google Compute Engine\n")
    found = detect({}, tmp_path)
    assert found.kind is Where.COMPUTE_ENGINE
    assert found.on_google


def test_the_target_follows_from_settings_and_credentials():
    assert choose_target("auto", True) == "google"
    assert choose_target("auto", False) == "embedded"
    assert choose_target("embedded", True) == "embedded"
    with pytest.raises(SettingsError, match="no Google credentials"):
        choose_target("google", False)


def test_credentials_of_a_file_are_named_and_never_shown(tmp_path):
    path = tmp_path / "adc.json"
    path.write_text(json.dumps(USER))
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}
    assert credentials.found(environ, HOME)
    found = credentials.find(environ, HOME)
    assert (found.principal, found.quota_project) == ("user:ada@example.com", "pays")
    assert found.person
    assert "s3cret" not in repr(found)
    assert "r3fresh" not in repr(found)


@pytest.mark.parametrize(
    "person, own, pays",
    [(True, "", "orchestra"), (True, "theirs", "theirs"), (False, "", None)],
)
def test_rest_calls_say_which_project_pays(monkeypatch, person, own, pays):
    sent = []

    def request(_session, *_, headers, **__):
        sent.append(headers.get("x-goog-user-project"))
        answer = requests.Response()
        answer.status_code, answer._content = 200, b"{}"
        return answer

    monkeypatch.setattr(requests.Session, "request", request)
    google_ones = google.oauth2.credentials.Credentials("token")
    found = credentials.Credentials(google_ones, "ada", "a test", person, "", own)
    clients = Clients(Target.google("orchestra"), found)
    for api in ("compute", "servicenetworking"):
        clients.rest(api).read("/", Situation("network", "orchestra", "google"))
    assert sent == [pays, pays]


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"type": "service_account"}'])
def test_a_malformed_file_is_told(tmp_path, text):
    path = tmp_path / "adc.json"
    path.write_text(text)
    with pytest.raises(CredentialsMalformed, match="malformed"):
        credentials.find({"GOOGLE_APPLICATION_CREDENTIALS": str(path)}, HOME)


def test_missing_credentials_are_told(tmp_path):
    gone = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "gone.json")}
    with pytest.raises(CredentialsMissing, match=r"gone\.json"):
        credentials.find(gone, HOME)
    nothing = {"HOME": str(tmp_path)}
    assert not credentials.found(nothing, HOME)
    with pytest.raises(CredentialsMissing, match="application-default login"):
        credentials.find(nothing, HOME)


def test_a_token_is_never_shown():
    assert "s3cret" not in repr(Target.embedded("127.0.0.1:1", "ca.pem", "s3cret"))
