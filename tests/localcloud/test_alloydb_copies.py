"""Read pools that follow their primary, backups, and clusters restored from them."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.localcloud.conftest import FAST, Server, code_of


@pytest.fixture(scope="module")
def primary(cloud: Server) -> Any:
    """A primary with a table of one row."""
    project = cloud.connected_project("alloydb")
    client = cloud.client("alloydb")
    cluster = client.create_cluster(
        parent=f"projects/{project}/locations/us-central1",
        cluster_id="copied",
        cluster={
            "network_config": {"network": f"projects/{project}/global/networks/default"},
            "initial_user": {"password": "first"},
        },
    ).result(polling=FAST)
    instance = {"instance_type": "PRIMARY"}
    made = client.create_instance(
        parent=cluster.name, instance_id="primary", instance=instance
    ).result(polling=FAST)
    client.create_user(parent=cluster.name, user_id="app", user={"password": "one"})
    with _connect(made) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    return made


def _connect(instance: Any, user: str = "postgres", password: str = "first") -> Any:
    return psycopg.connect(
        host=instance.ip_address, user=user, password=password, dbname="postgres", autocommit=True
    )


def _numbers(instance: Any) -> list[int]:
    with _connect(instance) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]


def _until(ready: Callable[[], Any], seconds: float = 30.0) -> None:
    """A bound against hanging, not a measure."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError):
            if ready():
                return
    raise AssertionError("it never came true")


def _pool(nodes: int = 1) -> dict[str, Any]:
    return {"instance_type": "READ_POOL", "read_pool_config": {"node_count": nodes}}


def test_a_read_pool_follows_its_primary(cloud: Server, primary: Any) -> None:
    client = cloud.client("alloydb")
    cluster = primary.name.rpartition("/instances/")[0]
    readers = client.create_instance(
        parent=cluster, instance_id="readers", instance=_pool(2)
    ).result(polling=FAST)
    assert readers.ip_address not in ("", primary.ip_address)
    with _connect(primary) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
    _until(lambda: _numbers(readers) == [1, 2])
    with _connect(readers, "app", "one") as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE x ()")
    changed = {"name": primary.name, "database_flags": {"max_connections": "150"}}
    mask = {"paths": ["database_flags"]}
    client.update_instance(instance=changed, update_mask=mask).result(polling=FAST)
    with _connect(primary) as connection:
        connection.execute("INSERT INTO t VALUES (3)")
    _until(lambda: _numbers(readers) == [1, 2, 3])
    pids = [int(each.read_text().split()[0]) for each in
            cloud.state.glob(f"alloydb/{readers.uid}/postmaster.pid")]  # fmt: skip
    os.kill(pids[0], signal.SIGKILL)
    with _connect(primary) as connection:
        connection.execute("INSERT INTO t VALUES (4)")
    _until(lambda: _numbers(readers) == [1, 2, 3, 4])
    assert code_of(lambda: client.delete_instance(name=primary.name)) == "FAILED_PRECONDITION"
    client.delete_instance(name=readers.name).result(polling=FAST)
    with _connect(primary) as connection:
        connection.execute("DELETE FROM t WHERE n > 1")
        slots = connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
    assert slots == []


def test_what_a_read_pool_must_be(cloud: Server, primary: Any) -> None:
    client = cloud.client("alloydb")
    cluster = primary.name.rpartition("/instances/")[0]
    parent = cluster.rpartition("/clusters/")[0]
    network = f"{parent.rpartition('/locations/')[0]}/global/networks/default"
    empty = client.create_cluster(
        parent=parent, cluster_id="empty",
        cluster={"network_config": {"network": network}, "initial_user": {"password": "p"}},
    ).result(polling=FAST)  # fmt: skip
    wrong = {
        "no nodes": (cluster, _pool(0), "INVALID_ARGUMENT"),
        "too many": (cluster, _pool(21), "INVALID_ARGUMENT"),
        "a primary with nodes": (
            empty.name, {**_pool(), "instance_type": "PRIMARY"}, "INVALID_ARGUMENT"),
        "no primary": (empty.name, _pool(), "FAILED_PRECONDITION"),
        "a secondary": (cluster, {"instance_type": "SECONDARY"}, "INVALID_ARGUMENT"),
    }  # fmt: skip
    for about, (above, instance, code) in wrong.items():
        request = {"parent": above, "instance_id": "x", "instance": instance}
        assert code_of(lambda: client.create_instance(request=request)) == code, about  # noqa: B023


def test_a_cluster_restored_from_a_backup_has_its_data_and_users(
    cloud: Server, primary: Any
) -> None:
    client = cloud.client("alloydb")
    cluster = primary.name.rpartition("/instances/")[0]
    parent = cluster.rpartition("/clusters/")[0]
    kept = lambda: {*cloud.state.glob("alloydb/*.backup"), *cloud.state.glob("alloydb/*.restored")}  # noqa: E731
    others = kept()
    backup = client.create_backup(
        parent=parent, backup_id="before", backup={"cluster_name": cluster}
    ).result(polling=FAST)
    assert (backup.type_.name, backup.state.name) == ("ON_DEMAND", "READY")
    assert backup.size_bytes > 1_000_000
    with _connect(primary) as connection:
        connection.execute("INSERT INTO t VALUES (9)")
    network = f"{parent.rpartition('/locations/')[0]}/global/networks/default"
    request = {
        "parent": parent, "cluster_id": "restored",
        "cluster": {"network_config": {"network": network}},
        "backup_source": {"backup_name": backup.name},
    }  # fmt: skip
    again = client.restore_cluster(request=request).result(polling=FAST)
    client.delete_backup(name=backup.name).result(polling=FAST)
    made = client.create_instance(
        parent=again.name, instance_id="primary", instance={"instance_type": "PRIMARY"}
    ).result(polling=FAST)
    assert _numbers(made) == [1]
    _connect(made, "app", "one").close()
    users = [each.name.rpartition("/")[2] for each in client.list_users(parent=again.name)]
    assert users == ["app", "postgres"]
    forced = {"name": again.name, "force": True}
    client.delete_cluster(request=forced).result(polling=FAST)
    assert kept() == others
    point = {**request, "cluster_id": "earlier"}
    point["continuous_backup_source"] = {"cluster": cluster}
    del point["backup_source"]
    with pytest.raises(Exception, match="points in time"):
        client.restore_cluster(request=point)
