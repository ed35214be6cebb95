"""AlloyDB backups: a base backup of the primary's PostgreSQL, and what a restored cluster needs."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from google.cloud import alloydb_v1 as api

from lib.localcloud import errors
from lib.localcloud.alloydb_admission import LOGINS
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.names import parent_of, parse
from lib.localcloud.resource import States

KEPT: Final = "alloydb-backup"


def restored(state: Path, cluster_uid: str) -> Path:
    """Where the data of a restored cluster waits for its primary."""
    return state / "alloydb" / f"{cluster_uid}.restored"


class Backups(Kind):
    """An on-demand backup; the database's users and their passwords are kept beside its data."""

    name = "Backup"
    message = api.Backup
    immutable = ("cluster_name", "type_")
    states = States(
        int(api.Backup.State.CREATING), int(api.Backup.State.READY), 0,
        int(api.Backup.State.DELETING), int(api.Backup.State.FAILED),
    )  # fmt: skip

    def defaults(self, _call: Call, pb: Any) -> None:
        pb.type_ = pb.type_ or int(api.Backup.Type.ON_DEMAND)
        pb.cluster_name = self.core.canonical(pb.cluster_name)

    def check(self, pb: Any) -> None:
        clusters = self.service.of_kind["Cluster"]
        if parse(clusters.pattern, pb.cluster_name) is None:
            raise errors.invalid(
                "backup.cluster_name", f"'{pb.cluster_name}' does not match '{clusters.pattern}'"
            )
        if pb.type_ != api.Backup.Type.ON_DEMAND:
            raise errors.invalid("backup.type", "ON_DEMAND is the one that is asked for")

    def admit(self, parent: str, pb: Any) -> None:
        if parent_of(pb.cluster_name) != parent:
            raise errors.invalid("backup.cluster_name", "the cluster is in another location")
        clusters: Any = self.service.of_kind["Cluster"]
        clusters.require(pb.cluster_name)
        clusters.database(pb.cluster_name)

    def build(self, pb: Any) -> None:
        from lib.runtime.base_backup import Upstream, take

        clusters: Any = self.service.of_kind["Cluster"]
        cluster = clusters.require(pb.cluster_name)
        password = cluster.initial_user.password
        host = clusters.database(pb.cluster_name).host
        pb.size_bytes = take(self._folder(pb), Upstream(host, 5432, "postgres", password).fill)
        pb.cluster_uid, pb.database_version = cluster.uid, cluster.database_version
        pb.create_completion_time.GetCurrentTime()
        told = {"password": password, "users": self._users(pb.cluster_name)}
        self.store.put_fact(KEPT, pb.name, json.dumps(told).encode())

    def _users(self, cluster: str) -> dict[str, tuple[str, str]]:
        """The cluster's users by id: as they are, and the inner passwords of IAM users."""
        found = {}
        for row in self.store.children(self.service.name, "User", cluster):
            inner = self.store.fact(LOGINS, row.name) or b""
            found[row.name.rpartition("/")[2]] = (row.body.hex(), inner.decode())
        return found

    def password(self, name: str) -> str:
        """The administrator's at the time of the backup."""
        return str(self._told(name)["password"])

    def _told(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.store.fact(KEPT, name) or b"{}"))

    def restore(self, backup: str, cluster: Any) -> None:
        """Put data and users in place for a new cluster; its primary is then made on them."""
        from lib.runtime.base_backup import copied, take

        pb = self.require(backup)
        take(restored(self.core.state, cluster.uid), copied(self._folder(pb)))
        users = self.service.of_kind["User"]
        for own_id, (body, inner) in self._told(backup)["users"].items():
            name = f"{cluster.name}/users/{own_id}"
            user: Any = users.plain.FromString(bytes.fromhex(body))
            user.name = name
            users.save(name, user)
            if inner:
                self.store.put_fact(LOGINS, name, inner.encode())

    def remove(self, pb: Any) -> None:
        discard(self._folder(pb))
        self.store.drop_fact(KEPT, pb.name)

    def _folder(self, pb: Any) -> Path:
        return self.core.state / "alloydb" / f"{pb.uid}.backup"


def discard(folder: Path) -> None:
    """Remove a folder of backed-up data, wherever it really is."""
    from lib.runtime.cluster import remove_cluster

    remove_cluster(folder)
    folder.with_name(f".{folder.name}.lock").unlink(missing_ok=True)
    shutil.rmtree(folder.with_name(f"{folder.name}.unfinished"), ignore_errors=True)
