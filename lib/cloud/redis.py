"""Memorystore for Redis: the instance, and its AUTH."""

from typing import Any

from lib.cloud import locations
from lib.cloud.clients import Clients
from lib.cloud.errors import Precondition, Situation, told
from lib.cloud.kind import Kind, by_state
from lib.cloud.operations import patiently
from lib.cloud.resource import Resource

INSTANCE = Kind(
    noun="Redis instance",
    service="redis",
    thing="instance",
    collection="instances",
    condition=by_state(["READY"]),
    immutable=(
        "tier",
        "authorized_network",
        "connect_mode",
        "redis_version",
        "transit_encryption_mode",
    ),
    one_by_one=True,
    console="https://console.cloud.google.com/memorystore/redis/instances",
)


def instance(
    clients: Clients, project: Any, network: Any, redis: Any, protected: bool
) -> Resource[Any]:
    """The instance on the network; its state exposes ``host`` and ``port``.

    On a shared VPC it uses private services access: Memorystore peers directly with networks of
    its own project alone.
    """
    shared = locations.is_shared(project, network)
    return Resource(
        clients,
        INSTANCE,
        locations.region(project),
        redis.instance,
        {
            "tier": redis.tier,
            "memory_size_gb": redis.memory_gb,
            "redis_version": redis.version,
            "transit_encryption_mode": redis.transit_encryption,
            "authorized_network": locations.network(project, network),
            **({"connect_mode": "PRIVATE_SERVICE_ACCESS"} if shared else {}),
            "labels": dict(project.labels),
        },
        project=project.id,
        protected=protected,
    )


def auth(clients: Clients, project: Any, redis: Any, protected: bool) -> Resource[Any]:
    """AUTH is on for an instance that exists; turning it on makes a new AUTH string."""
    return Resource(
        clients,
        INSTANCE,
        locations.region(project),
        redis.instance,
        {"auth_enabled": True},
        project=project.id,
        aspect="AUTH",
        partial=True,
        protected=protected,
    )


def authorities(clients: Clients, project: Any, network: Any, redis: Any) -> str:
    """The certificates (PEM) that sign the instance's own (network); empty without encryption."""
    found: Any = instance(clients, project, network, redis, protected=True).observe()
    return "".join(each.cert for each in found.server_ca_certs) if found is not None else ""


def auth_string(clients: Clients, project: Any, redis: Any) -> str:
    """The AUTH string (network); raises ``Precondition`` where AUTH is off."""
    name = f"{locations.region(project)}/instances/{redis.instance}"
    subject = f"AUTH string of Redis instance {redis.instance}"
    with told(Situation(subject, project.id, clients.target.kind)):
        answer = clients.get("redis").get_instance_auth_string(
            request={"name": name},
            retry=patiently(clients.target.polling),
            timeout=clients.target.polling.call,
        )
    if not answer.auth_string:
        raise Precondition(
            f"Redis instance {redis.instance} has no AUTH string.",
            expected="AUTH enabled",
            remedy="run the step that secures it: pytest phases/ --component "
            "security-configuration",
        )
    return str(answer.auth_string)
