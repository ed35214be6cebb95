"""Rows of AlloyDB and Memorystore."""

from typing import Any

from tests.cloud.matrix.mutation import Mutation, connected, project, relabelled, undoing
from tests.cloud.matrix.world import Case


def _redis(case: Case) -> Any:
    network = case.world.settings.network
    return case.cloud.redis_instance(
        case.project, network, case.settings("redis", instance=case.id)
    )


def _cluster(case: Case, project: Any = None) -> Any:
    own, network = case.settings("alloydb", cluster=case.id), case.world.settings.network
    return case.cloud.alloydb_cluster(project or case.project, network, own, lambda: "password")


def _instance(case: Case, **flags: str) -> Any:
    own = case.settings("alloydb", cluster=case.id, flags=flags)
    return case.cloud.alloydb_instance(case.project, own)


def _with_cluster(case: Case) -> list[Any]:
    return [*connected(case), _cluster(case)]


def _with_instance(case: Case) -> list[Any]:
    return [*_with_cluster(case), _instance(case)]


def _user(case: Case, *roles: str) -> Any:
    own = case.settings("alloydb", cluster=case.id)
    return case.cloud.alloydb_iam_user(case.project, own, f"{case.id}@example.com", roles)


def _backup(case: Case, project: Any = None) -> Any:
    own = case.settings("alloydb", cluster=case.id, backup=case.id)
    return case.cloud.alloydb_backup(project or case.project, own)


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("redis/CreateInstance", "redis.instances.create", _redis, project, short=False),
    Mutation(
        "redis/UpdateInstance",
        "redis.instances.update",
        lambda c: c.cloud.redis_auth(c.project, c.settings("redis", instance=c.id)),
        lambda c: [*project(c), _redis(c)],
        short=False,
    ),
    undoing("redis/DeleteInstance", "redis.instances.delete", _redis, project),
    Mutation("alloydb/CreateCluster", "alloydb.clusters.create", _cluster, connected),
    Mutation(
        "alloydb/UpdateCluster",
        "alloydb.clusters.update",
        lambda c: _cluster(c, relabelled(c)),
        _with_cluster,
        short=False,
    ),
    undoing("alloydb/DeleteCluster", "alloydb.clusters.delete", _cluster, connected),
    Mutation(
        "alloydb/CreateInstance",
        "alloydb.instances.create",
        _instance,
        _with_cluster,
        short=False,
    ),
    Mutation(
        "alloydb/UpdateInstance",
        "alloydb.instances.update",
        lambda c: _instance(c, max_connections="77"),
        _with_instance,
        short=False,
    ),
    undoing("alloydb/DeleteInstance", "alloydb.instances.delete", _instance, _with_cluster),
    Mutation(
        "alloydb/CreateUser",
        "alloydb.users.create",
        _user,
        _with_instance,
        operation=False,
        short=False,
    ),
    Mutation(
        "alloydb/UpdateUser",
        "alloydb.users.update",
        lambda c: _user(c, "alloydbsuperuser"),
        lambda c: [*_with_instance(c), _user(c)],
        operation=False,
        short=False,
    ),
    undoing(
        "alloydb/DeleteUser", "alloydb.users.delete", _user, _with_instance, operation=False
    ),
    Mutation(
        "alloydb/CreateBackup",
        "alloydb.backups.create",
        _backup,
        _with_instance,
        short=False,
    ),
    Mutation(
        "alloydb/UpdateBackup",
        "alloydb.backups.update",
        lambda c: _backup(c, relabelled(c)),
        lambda c: [*_with_instance(c), _backup(c)],
        short=False,
    ),
    undoing("alloydb/DeleteBackup", "alloydb.backups.delete", _backup, _with_instance),
)  # fmt: skip
