"""The platform that moves: its source as it stands, and the target as it is reached."""

import os
import secrets
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lib.cloud import credentials as credentials_module
from lib.cloud.credentials import Credentials
from lib.cloud.environment import Environment, detect
from lib.engine.unknown import Unknown
from lib.errors import SettingsError
from lib.logs import MASKING
from lib.orchestra import target as targets
from lib.orchestra.redis_access import RedisAccess
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.cloud.cloud import Cloud
    from lib.cloud.tunnel import Tunnel
    from lib.postgres.database import Database
    from lib.sample.source import Sample

ADMIN_PASSWORD = "agent-storage-admin-password"
APPLICATION_PASSWORD = "agent-storage-application-password"
REDIS_AUTH = "agent-memory-auth"
API_TOKEN = "agent-api-token"
"""Names of secrets in Secret Manager; their values are in no checkpoint, log or report."""


def new_secret() -> str:
    """A random value for a secret; masked in whatever is logged from now on."""
    value = secrets.token_urlsafe(24)
    MASKING.learn(value)
    return value


class Platform:
    """What steps and criteria ask for the source and the target.

    Everything is opened when first asked for: a run that has nothing to do opens nothing.
    """

    def __init__(self, settings: Settings, state: Path, *, guarded: bool | None = None) -> None:
        self.settings = settings
        self._guarded = settings.protected if guarded is None else guarded
        self.state = state
        self._cloud: Cloud | None = None
        self._tunnel: Tunnel | None = None

    # -- where it runs, and against what -----------------------------------------------------

    @cached_property
    def where(self) -> Environment:
        """The kind of machine."""
        return detect(os.environ)

    @property
    def cloud_state(self) -> Path:
        """The folder of the embedded cloud."""
        return self.state / "localcloud"

    @property
    def world(self) -> str:
        """Tells this target from another one, and from itself before it was reset."""
        return targets.identity(self.settings.target, self.cloud_state, self.settings.project)

    @cached_property
    def credentials(self) -> Credentials | None:
        """Google credentials; None on the embedded cloud, which has a token of its own."""
        if self.settings.target == "embedded":
            return None
        return credentials_module.find(os.environ, self.where)

    @property
    def cloud(self) -> "Cloud":
        """The target, connected; an embedded one whose process died is started again."""
        if self._cloud is not None and targets.gone(self._cloud.target):
            self._let_go()
        if self._cloud is None:
            self._cloud = self._connect()
        return self._cloud

    def _connect(self) -> "Cloud":
        from lib.cloud.cloud import Cloud
        from lib.cloud.target import Target

        project = self.settings.project
        if self.settings.target == "embedded":
            target = targets.connect_embedded(self.cloud_state, project)
            MASKING.learn(target.token)
        else:
            target = Target.google(project.id, project.region, project.zone)
        return Cloud(target, protected=self._guarded, credentials=self.credentials)

    @property
    def endpoint(self) -> str:
        """Where an embedded target that was asked for serves; empty otherwise."""
        return self._cloud.target.endpoint if self._cloud is not None else ""

    def close(self) -> None:
        """Let go of the connections that were made."""
        if self._tunnel is not None:
            self._tunnel.close()
            self._tunnel = None
        self._let_go()

    def _let_go(self) -> None:
        if self._cloud is not None:
            self._cloud.close()
            self._cloud = None

    def secret(self, name: str) -> str:
        """A secret's value from Secret Manager (network), masked from now on."""
        value = self.cloud.read_secret(name)
        MASKING.learn(value)
        return value

    # -- the source --------------------------------------------------------------------------

    @property
    def source_is_sample(self) -> bool:
        """Whether no source is configured, so that the sample platform is moved."""
        return not (self.settings.source.postgresql or self.settings.source.redis)

    @cached_property
    def sample(self) -> "Sample":
        """The sample platform, made when it is not there yet."""
        from lib.sample.source import ensure

        return ensure(self.state, self.settings.source.sample_scale)

    @cached_property
    def source_database(self) -> "Database | None":
        """The source's PostgreSQL; None where there is none to move."""
        from lib.postgres.database import Database

        source = self.settings.source
        if self.source_is_sample:
            return Database.from_url(self.sample.postgresql)
        if not source.postgresql:
            return None
        return Database.from_url(source.postgresql, _password(source.postgresql_password_env))

    @cached_property
    def source_seen_from_target(self) -> "Database | None":
        """The source's PostgreSQL as the target's server reaches it, where that differs."""
        from lib.postgres.database import Database

        source = self.settings.source
        if not source.postgresql_seen_from_target:
            return None
        password = _password(source.postgresql_password_env)
        return Database.from_url(source.postgresql_seen_from_target, password)

    @cached_property
    def source_redis(self) -> RedisAccess | None:
        """The way to the source's Redis; None where there is none to move."""
        source = self.settings.source
        if self.source_is_sample:
            return RedisAccess(self.sample.redis)
        if not source.redis:
            return None
        inline = urlsplit(source.redis).password or ""
        MASKING.learn(inline)
        return RedisAccess(source.redis, _password(source.redis_password_env) or inline)

    # -- the target's data services ------------------------------------------------------------

    def database(self, step: Any, name: str | None = None) -> "Database":
        """The migrated database as its administrator (``name`` chooses another one there).

        ``step`` is the step or the outputs that know the address.
        """
        return self._database(step, "postgres", ADMIN_PASSWORD, name)

    def application_database(self, step: Any) -> "Database":
        """The migrated database as the application's own role."""
        role = self.settings.alloydb.application_role
        return self._database(step, role, APPLICATION_PASSWORD, None)

    def _database(self, step: Any, user: str, secret: str, name: str | None) -> "Database":
        from lib.postgres.database import Database

        address = step.output("agent-storage-primary", "address")
        known = not isinstance(address, Unknown)
        database = Database(
            host=address,
            user=user,
            password=self.secret(secret) if known else "",
            name=name or self.settings.alloydb.database,
            sslmode="require" if self.settings.target == "google" else "prefer",
        )
        if known and self.settings.alloydb.connection == "connector":
            tunnel = self._way_in(address)
            return replace(database, host=tunnel.host, port=tunnel.port, sslmode="disable")
        return database

    def _way_in(self, address: str) -> "Tunnel":
        """The way to AlloyDB by Google's connector, opened when first asked for (network)."""
        if self._tunnel is None:
            alloydb = self.settings.alloydb
            endpoint = address if alloydb.ip_type == "PSC" else ""
            tunnel = self.cloud.alloydb_tunnel(self.settings.project, alloydb, endpoint)
            tunnel.open()
            self._tunnel = tunnel
        return self._tunnel

    def redis(self, step: Any) -> RedisAccess:
        """The way to the Memorystore instance; in a dry run the URL may be unknown."""
        host = step.output("agent-memory", "host")
        port = step.output("agent-memory", "port")
        if isinstance(host, Unknown):
            return RedisAccess(host)  # type: ignore[arg-type]
        authorities = self.redis_authorities()
        scheme = "rediss" if authorities else "redis"
        return RedisAccess(f"{scheme}://{host}:{port}", self.redis_auth(), authorities)

    def redis_authorities(self) -> str:
        """The certificates that sign the Memorystore instance's own (network); empty without TLS.

        They are asked for each time: Google adds new ones before the old expire.
        """
        settings = self.settings
        if settings.redis.transit_encryption == "DISABLED":
            return ""
        return self.cloud.redis_authorities(settings.project, settings.network, settings.redis)

    @property
    def in_use(self) -> bool:
        """Whether the API serves already, and so writes keys of its own (network)."""
        settings = self.settings
        service = self.cloud.run_service(settings.project, settings.api, {}, {}, "")
        return service.observe() is not None

    def redis_auth(self) -> str:
        """The AUTH string of the Memorystore instance (network); empty where AUTH is off."""
        value = self.cloud.redis_auth_string(self.settings.project, self.settings.redis)
        MASKING.learn(value)
        return value


def resolved(settings: Settings) -> Settings:
    """The settings with ``target = "auto"`` replaced by what it means here."""
    return replace(settings, target=targets.chosen(settings.target))  # type: ignore[arg-type]


def _password(variable: str) -> str:
    if not variable:
        return ""
    value = os.environ.get(variable)
    if value is None:
        raise SettingsError(
            f"The environment variable {variable}, which should hold a password, is not set.",
            expected=f"a value in {variable}",
            remedy=f"export {variable}, or correct the *_password_env key under [source]",
        )
    MASKING.learn(value)
    return value
