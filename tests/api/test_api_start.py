"""Starting: configuration, the API's tables, and the values that keep secrets to themselves."""

import subprocess
import sys

import httpx
import psycopg
import pytest

from lib.api.configuration import Configuration, ConfigurationError
from lib.api.schema import AdminConnection, ApiSchema, ApiSchemaError
from lib.engine.changes import ChangeKind
from lib.engine.errors import CannotUndo
from tests.api.api_process import ROOT, admin, environment, prepare

GOOD = environment("postgresql://u@127.0.0.1:5432/d", "redis://127.0.0.1:6379")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKEN", ""),
        ("API_TOKEN", "two words"),
        ("API_TOKEN", "line\n"),
        ("PORT", "http"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("DATABASE_HOST", ""),
        ("DATABASE_NAME", ""),
        ("DATABASE_USER", ""),
        ("DATABASE_PORT", "0"),
        ("DATABASE_SSLMODE", "maybe"),
        ("DATABASE_STATEMENT_TIMEOUT", "nan"),
        ("REDIS_PORT", "٣"),
        ("REDIS_TLS", "perhaps"),
        ("BREAKER_FAILURE_RATE", "101"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Configuration.from_environment({**GOOD, name: value})


def test_secrets_are_in_no_repr() -> None:
    secrets = {"API_TOKEN": "hush-1", "DATABASE_PASSWORD": "hush-2", "REDIS_PASSWORD": "hush-3"}
    assert "hush" not in repr(Configuration.from_environment({**GOOD, **secrets}))
    assert "hush" not in repr(AdminConnection("h", 1, "n", "u", "hush"))


def run(**variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lib.api"],
        env={**GOOD, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_wrong_configuration_ends_with_one_message_and_2() -> None:
    ended = run(API_TOKEN="")
    assert ended.returncode == 2
    assert "API_TOKEN is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_in_use_ends_with_one_message(api) -> None:
    ended = run(PORT=api.url.rpartition(":")[2])
    assert ended.returncode == 1
    assert "cannot be listened on" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_a_token_no_rebinding_page_reaches_mcp(start_api, platform_url: str) -> None:
    api = start_api(platform_url, API_TOKEN="", API_ALLOW_ANONYMOUS="true")
    hello = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"accept": "application/json, text/event-stream"}
    for name, status in (("localhost:1", 200), ("evil.example:1", 421)):
        headers = {**accept, "host": name, "origin": f"http://{name}"}
        answer = httpx.post(f"{api.url}/mcp", json=hello, headers=headers)
        assert answer.status_code == status, answer.text


def test_anonymous_must_be_meant(start_api, platform_url: str) -> None:
    api = start_api(platform_url, API_TOKEN="", API_ALLOW_ANONYMOUS="true")
    with api.client(token="") as client:
        assert client.get("/v1/memories").status_code == 200


class NoJournal:
    """The action keeps nothing in a journal."""


def test_the_schema_is_made_once_completed_and_taken_back(make_database) -> None:
    url = make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute(
            "select 1 from pg_roles where rolname = 'api_test_role'"
        ).fetchone():
            connection.execute("create role api_test_role login")
        action = ApiSchema(admin(url), "api_test_role")
        created = action.plan(action.observe())
        assert created.kind is ChangeKind.CREATE
        action.apply(created, NoJournal())
        action.apply(created, NoJournal())
        assert action.plan(action.verify()).kind is ChangeKind.NONE
        connection.execute("revoke update on orchestra.kv_memories from api_test_role")
        completed = action.plan(action.observe())
        assert completed.kind is ChangeKind.UPDATE
        action.apply(completed, NoJournal())
        assert action.plan(action.verify()).kind is ChangeKind.NONE
        connection.execute("insert into orchestra.kv_memories (key, value) values ('k', '1')")
        with pytest.raises(CannotUndo, match="1 memories"):
            action.undo(created, NoJournal())
        connection.execute("delete from orchestra.kv_memories")
        action.undo(created, NoJournal())
        assert action.observe() is None
        assert not connection.execute(
            "select 1 from pg_namespace where nspname = 'orchestra'"
        ).fetchone()


def test_undo_leaves_what_others_keep_in_the_schema(make_database) -> None:
    url = make_database()
    prepare(url, platform=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table orchestra.others (n int)")
        action = ApiSchema(admin(url), "api_test_role")
        action.undo(action.plan(None), NoJournal())
        assert connection.execute("select count(*) from orchestra.others").fetchone() == (0,)


def test_the_schema_can_be_made_by_the_role_alone_of_an_administrator(make_database) -> None:
    url = make_database()
    prepare(url, platform=False)
    with psycopg.connect(url.replace("postgres@", "api_test_role@")) as connection:
        connection.execute("insert into orchestra.kv_memories (key, value) values ('k', '1')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table orchestra.mine (n int)")
    place = admin(url)
    weak = AdminConnection(place.host, place.port, "postgres", "api_test_role")
    with pytest.raises(ApiSchemaError, match="may not make"):
        ApiSchema(weak, "api_test_role").apply(ApiSchema(weak, "x").plan(None), NoJournal())


def test_a_missing_role_and_a_missing_server_are_told(make_database) -> None:
    url = make_database()
    action = ApiSchema(admin(url), "nobody such")
    with pytest.raises(ApiSchemaError, match="nobody such does not exist"):
        action.apply(action.plan(None), NoJournal())
    gone = ApiSchema(AdminConnection("127.0.0.1", 1, "n", "u"), "r")
    with pytest.raises(ApiSchemaError) as caught:
        gone.observe()
    assert caught.value.transient


def test_an_unprepared_database_is_told_as_503(start_api, make_database) -> None:
    url = make_database()
    prepare(make_database(), platform=False)
    api = start_api(url)
    with api.client() as client:
        answer = client.get("/v1/memories/k")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_not_prepared")
