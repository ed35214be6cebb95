"""IAM v1: service accounts (their keys and custom roles are not implemented)."""

import re
import secrets
from typing import Any

from google.cloud import iam_admin_v1 as api
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from lib.localcloud import errors, filters, masks
from lib.localcloud.contract import Rule
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.service import Service

PROJECT = "projects/{project}"
ACCOUNT = "projects/*/serviceAccounts/*"


class ServiceAccountKind(Kind):
    """A service account; named by its e-mail address."""

    name = "ServiceAccount"
    message = api.ServiceAccount


class ServiceAccounts(Service):
    """google.iam.admin.v1.IAM."""

    client = ("google.cloud.iam_admin_v1.services.iam", "IAM")
    title = "iam.googleapis.com"
    kinds = (ServiceAccountKind,)
    http = (
        Rule("CreateServiceAccount", "POST", "/v1/{name=projects/*}/serviceAccounts", "*"),
        Rule("ListServiceAccounts", "GET", "/v1/{name=projects/*}/serviceAccounts"),
        Rule("GetServiceAccount", "GET", f"/v1/{{name={ACCOUNT}}}"),
        Rule("PatchServiceAccount", "PATCH", f"/v1/{{service_account.name={ACCOUNT}}}", "*"),
        Rule("DeleteServiceAccount", "DELETE", f"/v1/{{name={ACCOUNT}}}"),
        Rule("GetIamPolicy", "POST", f"/v1/{{resource={ACCOUNT}}}:getIamPolicy"),
        Rule("SetIamPolicy", "POST", f"/v1/{{resource={ACCOUNT}}}:setIamPolicy", "*"),
        Rule("TestIamPermissions", "POST", f"/v1/{{resource={ACCOUNT}}}:testIamPermissions", "*"),
    )

    @property
    def accounts(self) -> Kind:
        """The only kind."""
        return self.of_kind["ServiceAccount"]

    def subject(self, rpc: str, request: Any) -> str:
        """The account, also one that is to be created."""
        if rpc == "CreateServiceAccount":
            project = self.core.canonical(request.name)
            email = f"{request.account_id}@{project.partition('/')[2]}.iam.gserviceaccount.com"
            return f"{project}/serviceAccounts/{email}"
        return super().subject(rpc, request)

    def CreateServiceAccount(self, call: Call, request: Any) -> Message:
        """Create an account ``ID@PROJECT.iam.gserviceaccount.com``."""
        parent = self.accounts.canonical(request.name, PROJECT, "name")
        self.accounts.require_project(parent, "iam.serviceAccounts.create")
        call.require("iam.serviceAccounts.create", self.name, parent)
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", request.account_id):
            raise errors.invalid("account_id", "account_id must be 6 to 30 of [a-z0-9-]")
        project = parent.partition("/")[2]
        pb = self.accounts.plain()
        pb.CopyFrom(request.service_account)
        pb.email = f"{request.account_id}@{project}.iam.gserviceaccount.com"
        pb.name = f"{parent}/serviceAccounts/{pb.email}"
        pb.project_id = project
        pb.unique_id = str(secrets.randbelow(9 * 10**20) + 10**20)
        pb.etag = secrets.token_bytes(8)
        with self.core.store.transaction():
            if self.accounts.find(pb.name):
                raise errors.already_exists(pb.name, "ServiceAccount")
            self._save(pb)
        return pb

    def GetServiceAccount(self, call: Call, request: Any) -> Message:
        """An account by project (or ``-``) and e-mail address or unique id."""
        return self._target(call, request.name, "get")

    def ListServiceAccounts(self, call: Call, request: Any) -> Message:
        """The accounts of a project."""
        parent = self.accounts.canonical(request.name, PROJECT, "name")
        self.accounts.require_project(parent, "iam.serviceAccounts.list")
        call.require("iam.serviceAccounts.list", self.name, parent)
        rows, token = self.accounts.page(parent, request, filters.parse(""))
        response: Any = call.method.response(next_page_token=token)
        response.accounts.extend(self.accounts.plain.FromString(row.body) for row in rows)
        return response

    def PatchServiceAccount(self, call: Call, request: Any) -> Message:
        """Change display name or description."""
        with self.core.store.transaction():
            pb = self._target(call, request.service_account.name, "update")
            self.accounts.require_etag(pb, request.service_account)
            paths = masks.paths(request.update_mask, request.service_account)
            for path in paths:
                if path not in ("display_name", "description"):
                    raise errors.invalid("update_mask", f"{path} cannot be updated")
            masks.merge(pb, request.service_account, paths)
            pb.etag = secrets.token_bytes(8)
            self._save(pb)
        return pb

    def DeleteServiceAccount(self, call: Call, request: Any) -> Message:
        """Delete an account at once (Google keeps it for undeletion; this does not)."""
        with self.core.store.transaction():
            pb = self._target(call, request.name, "delete")
            self.core.store.delete(self.name, pb.name)
            self.policies.drop(self.name, pb.name)
        return empty_pb2.Empty()

    def _save(self, pb: Any) -> None:
        parent = f"projects/{pb.project_id}"
        body = pb.SerializeToString()
        self.core.store.put(self.name, pb.name, "ServiceAccount", parent, body)

    def _target(self, call: Call, text: str, verb: str) -> Any:
        name = self.accounts.canonical(text, self.accounts.pattern, "name")
        account = name.rpartition("/")[2]
        if name.startswith("projects/-/"):
            project = account.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
            name = f"projects/{project}/serviceAccounts/{account}"
        permission = f"iam.serviceAccounts.{verb}"
        self.accounts.require_project(name, permission)
        call.require(permission, self.name, name)
        return self.accounts.require(name)
