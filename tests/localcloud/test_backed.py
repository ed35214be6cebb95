"""Resources with something real behind them: SQL, Redis commands and HTTP reach it."""

import contextlib
import json
import os
import signal
import time
from typing import Any

import httpx
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from lib.cache.server import Link
from lib.cache.server import Server as CacheServer
from lib.localcloud import certificates
from lib.orchestra.redis_access import RedisAccess
from tests.localcloud.conftest import FAST, Server, code_of


def _until(ready: Any, seconds: float = 20.0) -> Any:
    """The first true answer; a bound against hanging, not a measure."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError, psycopg.OperationalError, redis.RedisError):
            if answer := ready():
                return answer
    raise AssertionError("never became ready")


@pytest.fixture(scope="module")
def primary(cloud: Server, project: str) -> Any:
    """A primary instance of a cluster ``agent-storage``."""
    client = cloud.client("alloydb")
    cluster = client.create_cluster(
        parent=f"projects/{project}/locations/us-central1",
        cluster_id="agent-storage",
        cluster={
            "network_config": {"network": f"projects/{project}/global/networks/default"},
            "initial_user": {"password": "first"},
        },
    ).result(polling=FAST)
    assert not cluster.initial_user.password
    instance = {"instance_type": "PRIMARY", "database_flags": {"max_connections": "77"}}
    return client.create_instance(
        parent=cluster.name, instance_id="primary", instance=instance
    ).result(polling=FAST)


def _connect(instance: Any, user: str, password: str) -> Any:
    return psycopg.connect(
        host=instance.ip_address, user=user, password=password, dbname="postgres"
    )


def test_primary_answers_sql_with_flags_and_pgvector(primary: Any) -> None:
    with _connect(primary, "postgres", "first") as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("77",)
        connection.execute("CREATE EXTENSION vector")
        distance = connection.execute("SELECT '[1,2]'::vector <-> '[1,4]'").fetchone()
    assert distance == (2.0,)
    with pytest.raises(psycopg.OperationalError, match="password"):
        _connect(primary, "postgres", "wrong")


def test_users_are_roles(cloud: Server, primary: Any) -> None:
    client = cloud.client("alloydb")
    cluster = primary.name.rpartition("/instances/")[0]
    user = client.create_user(parent=cluster, user_id="app", user={"password": "one"})
    assert not user.password
    _connect(primary, "app", "one").close()
    changed = {"name": user.name, "password": "two"}
    client.update_user(user=changed, update_mask={"paths": ["password"]})
    _connect(primary, "app", "two").close()
    with pytest.raises(psycopg.OperationalError):
        _connect(primary, "app", "one")
    client.delete_user(name=user.name)
    with pytest.raises(psycopg.OperationalError):
        _connect(primary, "app", "two")
    assert [u.name.rpartition("/")[2] for u in client.list_users(parent=cluster)] == ["postgres"]
    assert client.get_connection_info(parent=primary.name).ip_address == primary.ip_address


def test_second_primary_is_refused(cloud: Server, primary: Any) -> None:
    client = cloud.client("alloydb")
    cluster = primary.name.rpartition("/instances/")[0]
    codes = {"primary": "ALREADY_EXISTS", "another": "FAILED_PRECONDITION"}
    for instance_id, code in codes.items():
        request = {"parent": cluster, "instance_id": instance_id,
                   "instance": {"instance_type": "PRIMARY"}}  # fmt: skip
        assert code_of(lambda: client.create_instance(request=request)) == code  # noqa: B023


def test_cluster_with_an_instance_is_not_deleted_without_force(cloud: Server, primary: Any) -> None:
    cluster = primary.name.rpartition("/instances/")[0]
    assert code_of(lambda: cloud.client("alloydb").delete_cluster(name=cluster)) == (
        "FAILED_PRECONDITION"
    )


def test_memorystore_is_a_server_with_auth(cloud: Server, project: str) -> None:
    client = cloud.client("redis")
    parent = f"projects/{project}/locations/us-central1"
    wanted = {"tier": "BASIC", "memory_size_gb": 1, "auth_enabled": True}
    made = client.create_instance(
        parent=parent, instance_id="agent-memory", instance=wanted
    ).result(polling=FAST)
    secret = client.get_instance_auth_string(name=made.name).auth_string
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(made.host, made.port).ping()
    redis.Redis(made.host, made.port, password=secret).set("key", "value")
    changed = {"name": made.name, "memory_size_gb": 2}
    mask = {"paths": ["memory_size_gb"]}
    client.update_instance(instance=changed, update_mask=mask).result(polling=FAST)
    connection = redis.Redis(made.host, made.port, password=secret)
    assert connection.get("key") == b"value"
    assert connection.config_get("maxmemory") == {"maxmemory": str(2 << 30)}
    client.delete_instance(name=made.name).result(polling=FAST)
    once = Retry(NoBackoff(), 0)
    with pytest.raises(redis.ConnectionError):
        redis.Redis(made.host, made.port, password=secret, retry=once).ping()


def test_encrypted_memorystore_speaks_tls_alone(cloud: Server, project: str) -> None:
    client = cloud.client("redis")
    wanted = {"tier": "BASIC", "memory_size_gb": 1, "auth_enabled": True,
              "transit_encryption_mode": "SERVER_AUTHENTICATION"}  # fmt: skip
    made = client.create_instance(
        parent=f"projects/{project}/locations/us-central1", instance_id="encrypted", instance=wanted
    ).result(polling=FAST)
    secret = client.get_instance_auth_string(name=made.name).auth_string
    [authority] = made.server_ca_certs
    assert (made.port, len(authority.sha1_fingerprint)) == (6378, 40)
    access = RedisAccess(f"rediss://{made.host}:{made.port}", secret, authority.cert)
    with access.client() as connection:
        connection.set("key", "x" * 3_000_000)
        assert connection.get("key") == b"x" * 3_000_000
    with Link(CacheServer.from_url(*access[:2], authorities=authority.cert, managed=True)) as link:
        assert link.ask("PING") == b"PONG"
    with pytest.raises(redis.AuthenticationError), access.client(anonymous=True) as connection:
        connection.ping()
    once = {"retry": Retry(NoBackoff(), 0)}
    for other in (
        {"url": f"redis://{made.host}:{made.port}"},  # no TLS
        {"url": f"redis://{made.host}:6379"},  # the port without TLS is not served
        {"authorities": certificates.authority(cloud.state).certificate.read_text()},  # another's
    ):
        changed = access._replace(**{"authorities": "", **other})
        with pytest.raises(redis.ConnectionError), changed.client(**once) as connection:
            connection.ping()
    refused = {"name": made.name, "transit_encryption_mode": "DISABLED"}
    mask = {"paths": ["transit_encryption_mode"]}
    assert code_of(lambda: client.update_instance(instance=refused, update_mask=mask)) == (
        "INVALID_ARGUMENT"
    )
    os.kill(int(json.loads(_told(cloud, "redis/*.tls"))["pid"]), signal.SIGKILL)
    with access.client(**once) as connection:
        assert _until(connection.ping)
    client.delete_instance(name=made.name).result(polling=FAST)
    assert not list(cloud.state.glob("redis/*.tls"))


def _told(cloud: Server, pattern: str) -> str:
    """Which process serves in the one folder of that pattern."""
    [folder] = cloud.state.glob(pattern)
    return (folder / "process.json").read_text()


def test_workstation_keeps_its_home(cloud: Server, project: str) -> None:
    client = cloud.client("workstations")
    cluster = client.create_workstation_cluster(
        parent=f"projects/{project}/locations/us-central1",
        workstation_cluster_id="ai-development",
        workstation_cluster={
            "network": f"projects/{project}/global/networks/default",
            "subnetwork": f"projects/{project}/regions/us-central1/subnetworks/default",
        },
    ).result(polling=FAST)
    gpu = {"type_": "nvidia-tesla-t4", "count": 2}
    boosts = [{"id": "more", "machine_type": "n1-standard-32", "accelerators": [gpu]}]
    machine = {"machine_type": "n1-standard-16", "accelerators": [gpu], "boost_configs": boosts}
    config = client.create_workstation_config(
        parent=cluster.name, workstation_config_id="gpu",
        workstation_config={"host": {"gce_instance": machine},
                            "container": {"env": {"FROM_CONFIG": "1"}}},
    ).result(polling=FAST)  # fmt: skip
    made = client.create_workstation(
        parent=config.name, workstation_id="one", workstation={"env": {"FROM_STATION": "1"}}
    ).result(polling=FAST)
    assert made.state.name == "STATE_STOPPED"
    assert code_of(lambda: client.stop_workstation(name=made.name)) == "FAILED_PRECONDITION"
    started = client.start_workstation(name=made.name).result(polling=FAST)
    assert started.state.name == "STATE_RUNNING"
    token = client.generate_access_token(workstation=made.name).access_token
    bearer = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"http://{started.host}/").status_code == 401
    seen = httpx.get(f"http://{started.host}/", headers=bearer).json()["environment"]
    assert {"FROM_CONFIG", "FROM_STATION"} <= set(seen)
    httpx.put(f"http://{started.host}/files/kept", content=b"here", headers=bearer)
    client.stop_workstation(name=made.name).result(polling=FAST)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{started.host}/healthz")
    boosted = {"name": made.name, "boost_config": "none"}
    assert code_of(lambda: client.start_workstation(request=boosted)) == "INVALID_ARGUMENT"
    boosted["boost_config"] = "more"
    client.start_workstation(request=boosted).result(polling=FAST)
    assert httpx.get(f"http://{started.host}/files/kept", headers=bearer).content == b"here"
    assert code_of(lambda: client.delete_workstation_config(name=config.name)) == (
        "FAILED_PRECONDITION"
    )
    forced = {"name": cluster.name, "force": True}
    client.delete_workstation_cluster(request=forced).result(polling=FAST)
    assert code_of(lambda: client.get_workstation(name=made.name)) == "NOT_FOUND"


def _template(**variables: str) -> dict[str, Any]:
    secret = {"secret_key_ref": {"secret": "run-secret", "version": "latest"}}
    env: list[dict[str, Any]] = [{"name": name, "value": text} for name, text in variables.items()]
    probe = {"http_get": {"path": "/"}, "period_seconds": 10, "failure_threshold": 3}
    container = {
        "image": "embedded://tests.localcloud.sample_service",
        "env": [*env, {"name": "SECRET", "value_source": secret}],
        "startup_probe": probe,
    }
    return {"template": {"containers": [container]}}


def test_run_rolls_out_and_keeps_the_old_revision_when_a_new_one_fails(
    cloud: Server, project: str
) -> None:
    secrets, client = cloud.client("secrets"), cloud.client("run")
    secret = secrets.create_secret(
        parent=f"projects/{project}", secret_id="run-secret",
        secret={"replication": {"automatic": {}}},
    )  # fmt: skip
    secrets.add_secret_version(parent=secret.name, payload={"data": b"hidden"})
    made = client.create_service(
        parent=f"projects/{project}/locations/us-central1", service_id="api",
        service=_template(VERSION="1"),
    ).result(polling=FAST)  # fmt: skip
    assert made.terminal_condition.state.name == "CONDITION_SUCCEEDED"
    seen = httpx.get(made.uri).json()
    assert (seen["VERSION"], seen["SECRET"], seen["K_SERVICE"]) == ("1", "hidden", "api")

    def update(**variables: str) -> Any:
        service = {"name": made.name, **_template(**variables)}
        return client.update_service(service=service)

    update(VERSION="2").result(polling=FAST)
    assert httpx.get(made.uri).json()["VERSION"] == "2"
    assert code_of(lambda: update(FAIL="1")) == "FAILED_PRECONDITION"
    failed = client.get_service(name=made.name)
    assert failed.terminal_condition.state.name == "CONDITION_FAILED"
    assert "cannot start on purpose" in failed.terminal_condition.message
    assert failed.latest_created_revision != failed.latest_ready_revision
    assert httpx.get(made.uri).json()["VERSION"] == "2"
    os.kill(int(httpx.get(made.uri).json()["pid"]), signal.SIGKILL)
    answer = _until(lambda: (got := httpx.get(made.uri)).status_code == 200 and got.json())
    assert answer["VERSION"] == "2"
    client.delete_service(name=made.name).result(polling=FAST)
    with pytest.raises(httpx.ConnectError):
        httpx.get(made.uri)
