"""Secret Manager v1: secrets and their versions; payloads are kept in the private store."""

import re
from typing import Any

import google_crc32c
from google.cloud import secretmanager_v1 as api
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from lib.localcloud import errors
from lib.localcloud.core import Call
from lib.localcloud.kind import Kind
from lib.localcloud.names import parent_of
from lib.localcloud.service import Service

ENABLED = api.SecretVersion.State.ENABLED
DISABLED = api.SecretVersion.State.DISABLED
DESTROYED = api.SecretVersion.State.DESTROYED
LARGEST_PAYLOAD = 64 * 1024


class Secrets(Kind):
    """A secret."""

    name = "Secret"
    message = api.Secret
    id_pattern = re.compile(r"[A-Za-z0-9_-]{1,255}")
    required = ("replication",)
    immutable = ("replication",)
    numbered = True

    def remove(self, pb: Any) -> None:
        for version, _ in self.service.of_kind["SecretVersion"].everything():
            if version.startswith(pb.name + "/"):
                self.store.delete(self.service.name, version)
                self.store.drop_fact("secret-payload", version)


class Versions(Kind):
    """A version of a secret; its number, or ``latest``."""

    name = "SecretVersion"
    message = api.SecretVersion
    parent_kind = "Secret"
    holds_parent = False
    numbered = True


class SecretManager(Service):
    """google.cloud.secretmanager.v1.SecretManagerService."""

    client = ("google.cloud.secretmanager_v1.services.secret_manager_service",
              "SecretManagerService")  # fmt: skip
    title = "secretmanager.googleapis.com"
    kinds = (Secrets, Versions)

    def AddSecretVersion(self, call: Call, request: Any) -> Message:
        """Keep a payload as the secret's next version."""
        secrets, versions = self.of_kind["Secret"], self.of_kind["SecretVersion"]
        parent = secrets.target(call, request.parent, "get", "parent")
        call.require("secretmanager.versions.add", self.name, parent)
        data = request.payload.data
        if not data or len(data) > LARGEST_PAYLOAD:
            raise errors.invalid("payload.data", "the payload must have 1 to 65536 bytes")
        checksum = google_crc32c.value(data)
        if request.payload.HasField("data_crc32c") and request.payload.data_crc32c != checksum:
            raise errors.invalid("payload.data_crc32c", "the checksum is not that of the payload")
        with self.core.store.transaction():
            secrets.require(parent)
            last = int(self.core.store.fact("secret-versions", parent) or b"0") + 1
            self.core.store.put_fact("secret-versions", parent, b"%d" % last)
            name = f"{parent}/versions/{last}"
            pb = versions.plain(name=name, state=int(ENABLED))
            pb.create_time.GetCurrentTime()
            pb.client_specified_payload_checksum = request.payload.HasField("data_crc32c")
            self.core.store.put_fact("secret-payload", name, data)
            versions.save(name, pb)
        return versions.present(name, pb)

    def GetSecretVersion(self, call: Call, request: Any) -> Message:
        """A version without its payload."""
        name, pb = self._version(call, request.name, "get")
        return self.of_kind["SecretVersion"].present(name, pb)

    def AccessSecretVersion(self, call: Call, request: Any) -> Message:
        """A version's payload, while it is enabled."""
        name, pb = self._version(call, request.name, "access")
        if pb.state != ENABLED:
            raise errors.failed_precondition(name, f"Secret Version [{name}] is not enabled.")
        response: Any = call.method.response()
        response.name = self.of_kind["SecretVersion"].present(name, pb).name
        response.payload.data = self.core.store.fact("secret-payload", name) or b""
        response.payload.data_crc32c = google_crc32c.value(response.payload.data)
        return response

    def EnableSecretVersion(self, call: Call, request: Any) -> Message:
        """Make a version accessible again."""
        return self._set_state(call, request, "enable", ENABLED)

    def DisableSecretVersion(self, call: Call, request: Any) -> Message:
        """Make a version inaccessible for now."""
        return self._set_state(call, request, "disable", DISABLED)

    def DestroySecretVersion(self, call: Call, request: Any) -> Message:
        """Forget a version's payload for ever."""
        return self._set_state(call, request, "destroy", DESTROYED)

    def _set_state(self, call: Call, request: Any, verb: str, state: Any) -> Message:
        versions = self.of_kind["SecretVersion"]
        with self.core.store.transaction():
            name, pb = self._version(call, request.name, verb)
            versions.require_etag(pb, request)
            if pb.state == DESTROYED:
                raise errors.failed_precondition(name, f"Secret Version [{name}] is destroyed.")
            pb.state = state
            if state == DESTROYED:
                pb.destroy_time.GetCurrentTime()
                self.core.store.drop_fact("secret-payload", name)
            versions.save(name, pb)
        return versions.present(name, pb)

    def _version(self, call: Call, text: str, verb: str) -> tuple[str, Any]:
        versions = self.of_kind["SecretVersion"]
        name = versions.canonical(text, versions.pattern, "name")
        permission = f"secretmanager.versions.{verb}"
        versions.require_project(name, permission)
        call.require(permission, self.name, name)
        return self.resolve(name)

    def resolve(self, name: str) -> tuple[str, Any]:
        """A version by its canonical name, ``latest`` replaced by the newest one."""
        if name.endswith("/latest"):
            last = self.core.store.fact("secret-versions", parent_of(name)) or b"0"
            name = f"{parent_of(name)}/versions/{last.decode()}"
        return name, self.of_kind["SecretVersion"].require(name)

    def DeleteSecret(self, call: Call, request: Any) -> Message:
        """Delete a secret with all its versions."""
        self.of_kind["Secret"].delete(call, request)
        name = self.core.canonical(request.name)
        self.core.store.drop_fact("secret-versions", name)
        return empty_pb2.Empty()
