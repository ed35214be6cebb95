"""AlloyDB users: roles of the primary's PostgreSQL.

An IAM user has a password that nobody is told but the instance's proxy, which takes an OAuth token
of the user in its place: such a user gets in by the proxy alone.
"""

import re
import secrets
from typing import Any, Final

from google.cloud import alloydb_v1 as api
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.alloydb_admission import LOGINS
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.names import parent_of
from lib.localcloud.services.alloydb_database import IAM_ROLE, Database

BUILT_IN = api.User.UserType.ALLOYDB_BUILT_IN
IAM_USER = api.User.UserType.ALLOYDB_IAM_USER
SUFFIX: Final = ".gserviceaccount.com"


class Users(Kind):
    """A database user; a role of the primary's PostgreSQL."""

    name = "User"
    message = api.User
    parent_kind = "Cluster"
    holds_parent = False
    immutable = ("user_type",)
    id_pattern = re.compile(r"(?=.{1,63}$)([a-zA-Z_][a-zA-Z0-9_$-]*|[a-z0-9._+-]+@[a-z0-9.-]+)")

    def defaults(self, _call: Call, pb: Any) -> None:
        pb.user_type = pb.user_type or int(BUILT_IN)

    def check(self, pb: Any) -> None:
        if pb.user_type not in (BUILT_IN, IAM_USER):
            raise errors.invalid(
                "user.user_type", "the embedded cloud has ALLOYDB_BUILT_IN and ALLOYDB_IAM_USER"
            )
        own_id = self._role(pb)
        if ("@" in own_id) != self._is_iam(pb):
            raise errors.invalid(
                "user_id", "the address of a principal for ALLOYDB_IAM_USER, and for no other"
            )
        if own_id.endswith(SUFFIX):
            raise errors.invalid("user_id", f"a service account is given without {SUFFIX}")
        if self._is_iam(pb) and pb.password:
            raise errors.invalid("user.password", "an IAM user has no password")

    def create(self, call: Call, request: Any) -> Message:
        """A new role of the database."""
        if request.user.user_type != IAM_USER and not request.user.password:
            raise errors.invalid("user.password", "password is required for a built-in user")
        return super().create(call, request)

    def build(self, pb: Any) -> None:
        self._make(pb)
        pb.ClearField("password")

    def _make(self, pb: Any) -> None:
        roles, password = list(pb.database_roles), pb.password
        if self._is_iam(pb):
            roles, password = [*roles, IAM_ROLE], self._inner_password(pb.name)
        self._database(pb).make_user(self._role(pb), password, roles)

    def _inner_password(self, name: str) -> str:
        known = self.store.fact(LOGINS, name)
        if known is None:
            known = secrets.token_urlsafe(24).encode()
            self.store.put_fact(LOGINS, name, known)
        return known.decode()

    def change(self, _old: Any, new: Any) -> None:
        self._make(new)
        if self._role(new) == "postgres" and new.password:
            self._keep_password(parent_of(new.name), new.password)
        new.ClearField("password")

    def remove(self, pb: Any) -> None:
        clusters: Any = self.service.of_kind["Cluster"]
        if self._role(pb) != "postgres" and clusters.primary(parent_of(pb.name)):
            self._database(pb).drop_user(self._role(pb))
        self.store.drop_fact(LOGINS, pb.name)

    def remove_with_parent(self, pb: Any) -> None:
        """The roles go with the instance."""
        self.store.drop_fact(LOGINS, pb.name)

    def _keep_password(self, cluster: str, password: str) -> None:
        clusters = self.service.of_kind["Cluster"]
        pb = clusters.require(cluster)
        pb.initial_user.password = password
        clusters.save(cluster, pb)

    def _database(self, pb: Any) -> Database:
        clusters: Any = self.service.of_kind["Cluster"]
        database: Database = clusters.database(parent_of(pb.name))
        return database

    @staticmethod
    def _is_iam(pb: Any) -> bool:
        return bool(pb.user_type == IAM_USER)

    @staticmethod
    def _role(pb: Any) -> str:
        return str(pb.name.rpartition("/")[2])
