"""Google's official clients for a target: made when first used, one channel for the embedded."""

import importlib
import threading
from typing import Any

from lib.cloud.credentials import Credentials, find
from lib.cloud.rest import RestClient
from lib.cloud.target import Target

_CLIENTS = {
    "projects": ("google.cloud.resourcemanager_v3", "Projects"),
    "organizations": ("google.cloud.resourcemanager_v3", "Organizations"),
    "services": ("google.cloud.service_usage_v1", "ServiceUsage"),
    "iam": ("google.cloud.iam_admin_v1", "IAM"),
    "secrets": ("google.cloud.secretmanager_v1", "SecretManagerService"),
    "alloydb": ("google.cloud.alloydb_v1", "AlloyDBAdmin"),
    "alloydb_connections": ("google.cloud.alloydb_v1beta", "AlloyDBAdmin"),
    "redis": ("google.cloud.redis_v1", "CloudRedis"),
    "workstations": ("google.cloud.workstations_v1", "Workstations"),
    "run": ("google.cloud.run_v2", "Services"),
    "indexes": ("google.cloud.aiplatform_v1", "IndexService"),
    "index_endpoints": ("google.cloud.aiplatform_v1", "IndexEndpointService"),
}
_BEFORE_PROJECT = frozenset({"projects", "organizations", "services"})
"""Clients that are called before the project exists, so it can't pay for their quota yet."""

_LOGIN_SCOPE = "https://www.googleapis.com/auth/alloydb.login"
_REGIONAL = frozenset({"indexes", "index_endpoints"})


class Clients:
    """The clients of one target, by short name; safe to use from several threads."""

    def __init__(self, target: Target, credentials: Credentials | None = None) -> None:
        self.target = target
        self._credentials = credentials
        self._made: dict[str, Any] = {}
        self._rest: dict[str, RestClient] = {}
        self._shared_channel: Any = None
        self._login: Any = None
        self._mutex = threading.RLock()

    def get(self, name: str) -> Any:
        """The client called ``name``; raises ``CredentialsMissing`` and its like on Google."""
        with self._mutex:
            if name not in self._made:
                module, stem = _CLIENTS[name]
                kind = getattr(importlib.import_module(module), f"{stem}Client")
                self._made[name] = (
                    self._embedded(kind)
                    if self.target.kind == "embedded"
                    else self._on_google(name, kind)
                )
            return self._made[name]

    def match(self, address: str) -> Any:
        """The client that searches vectors at an index endpoint's own public address."""
        with self._mutex:
            key = f"match {address}"
            if key not in self._made:
                from google.cloud.aiplatform_v1 import MatchServiceClient as Match

                if self.target.kind == "embedded":
                    self._made[key] = self._embedded(Match)
                else:
                    self._made[key] = self._on_google("match", Match, address)
            return self._made[key]

    def rest(self, api: str) -> RestClient:
        """The REST calls of ``compute`` or ``servicenetworking``."""
        with self._mutex:
            if api not in self._rest:
                self._rest[api] = RestClient(api, self.target, self._credentials_of_rest())
            return self._rest[api]

    def login_credentials(self) -> Any:
        """Credentials whose token logs in to AlloyDB."""
        if self.target.kind == "embedded":
            bearer: Any = importlib.import_module("google.oauth2.credentials")
            return bearer.Credentials(self.target.token)
        scoped: Any = importlib.import_module("google.auth.credentials")
        return scoped.with_scopes_if_required(self._found.google, [_LOGIN_SCOPE])

    def login_token(self) -> str:
        """A token that logs in to AlloyDB, renewed where it has to be (network)."""
        with self._mutex:
            if self._login is None:
                self._login = self.login_credentials()
            if not self._login.valid:
                from google.auth.transport.requests import Request

                self._login.refresh(Request())
            return str(self._login.token)

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        with self._mutex:
            for each in self._rest.values():
                each.close()
            self._rest.clear()
            for client in self._made.values():
                client.transport.close()
            self._made.clear()
            self._shared_channel = None

    def _embedded(self, kind: Any) -> Any:
        transport = kind.get_transport_class("grpc")
        return kind(transport=transport(host=self.target.endpoint, channel=self._channel()))

    def _channel(self) -> Any:
        import grpc  # type: ignore[import-untyped]

        if self._shared_channel is None:
            self._shared_channel = grpc.secure_channel(
                self.target.endpoint,
                grpc.composite_channel_credentials(
                    grpc.ssl_channel_credentials(self.target.authority()),
                    grpc.access_token_call_credentials(self.target.token),
                ),
                options=[
                    ("grpc.max_send_message_length", -1),
                    ("grpc.max_receive_message_length", -1),
                    ("grpc.initial_reconnect_backoff_ms", 100),
                    ("grpc.max_reconnect_backoff_ms", 1000),
                    # A proxy for the internet has no business between us and this machine.
                    ("grpc.enable_http_proxy", 0),
                ],
            )
        return self._shared_channel

    def _credentials_of_rest(self) -> Any:
        """Google's credentials, with who pays for their quota; None on the embedded cloud."""
        if self.target.kind == "embedded":
            return None
        google, quota = self._found.google, self._quota_project("rest")
        return google.with_quota_project(quota) if quota else google

    @property
    def _found(self) -> Credentials:
        if self._credentials is None:
            self._credentials = find()
        return self._credentials

    def _quota_project(self, name: str) -> str:
        """The project that pays for a client's calls: a person's credentials have none."""
        quota = self._found.quota_project
        if not quota and self._found.person and name not in _BEFORE_PROJECT:
            quota = self.target.project
        return quota

    def _on_google(self, name: str, kind: Any, address: str = "") -> Any:
        from google.api_core.client_options import ClientOptions

        options = ClientOptions()
        quota = self._quota_project(name)
        if quota:
            options.quota_project_id = quota
        if name in _REGIONAL:
            address = f"{self.target.region}-aiplatform.googleapis.com"
        if address:
            options.api_endpoint = address
        return kind(credentials=self._found.google, client_options=options)
