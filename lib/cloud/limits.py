"""Settings that Google would refuse, refused before the first call, each with the reason."""

import ipaddress
import re
from typing import Any

from lib.cloud import machines
from lib.cloud.endpoints import SUFFIX
from lib.errors import SettingsError

_ALLOYDB_CPUS = (2, 4, 8, 16, 32, 64, 96, 128)
_READ_POOL_NODES = 20
_HOME_DISK_GB = (10, 50, 100, 200, 500, 1000)
_REDIS_VERSIONS = (
    "REDIS_3_2",
    "REDIS_4_0",
    "REDIS_5_0",
    "REDIS_6_X",
    "REDIS_7_0",
    "REDIS_7_2",
)
_SHARDS = ("SHARD_SIZE_SMALL", "SHARD_SIZE_MEDIUM", "SHARD_SIZE_LARGE")
_VERTEX_MACHINES = {
    "e2-standard-2": _SHARDS[:1],
    "e2-standard-16": _SHARDS[:2],
    "e2-highmem-16": _SHARDS,
    "n1-standard-16": _SHARDS[:2],
    "n1-standard-32": _SHARDS,
    "n2d-standard-32": _SHARDS,
}
"""The machines that Vertex AI deploys indexes on, and the shard sizes that each holds."""

VERTEX_DISTANCES = {
    "cosine": ("DOT_PRODUCT_DISTANCE", "COSINE_DISTANCE"),
    "l2": ("SQUARED_L2_DISTANCE",),
    "inner_product": ("DOT_PRODUCT_DISTANCE",),
}
"""The distance measures that rank as each metric does, the best first."""

_SUBNETWORKS = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24",
    "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "192.88.99.0/24", "198.18.0.0/15",
    "240.0.0.0/4",
)  # fmt: skip
"""What a subnetwork may have without addresses of somebody's own (VPC, "Valid IPv4 ranges")."""
_SMALLEST_SUBNETWORK = 26
"""Cloud Run's direct VPC egress takes no smaller one ("IP address allocation")."""

_SHORT = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_IDS: tuple[tuple[str, str, str], ...] = (
    ("project.id", r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "6 to 30"),
    ("project.service_account", r"[a-z][a-z0-9-]{4,28}[a-z0-9]", "6 to 30"),
    ("network.services_range", _SHORT, "1 to 63"),
    ("alloydb.cluster", _SHORT, "1 to 63"),
    ("alloydb.primary", _SHORT, "1 to 63"),
    ("alloydb.read_pool", _SHORT, "1 to 63"),
    ("alloydb.backup", f"({_SHORT})?", "up to 63"),
    ("redis.instance", r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", "1 to 40"),
    ("workstations.cluster", _SHORT, "1 to 63"),
    ("workstations.config", _SHORT, "1 to 63"),
    ("workstations.workstation", _SHORT, "1 to 63"),
    ("api.service", r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?", "1 to 49"),
)


def check(settings: Any) -> None:
    """Raise ``SettingsError`` for the first setting that no Google project would accept."""
    _check_names(settings)
    _check_labels(settings.project.labels)
    _check_network(settings.network)
    _check_workstations(settings.workstations)
    _check_databases(settings)
    _check_endpoints(settings)
    _check_api(settings.api)
    _check_vertex(settings.vertex, settings.vectors.metric)


def _check_names(settings: Any) -> None:
    for path, pattern, length in _IDS:
        section, _, name = path.partition(".")
        value = getattr(getattr(settings, section), name)
        if not re.fullmatch(pattern, value):
            raise _refused(
                path,
                value,
                f"{length} lower-case letters, digits and hyphens, beginning with a letter "
                "and not ending with a hyphen",
            )
    project = settings.project
    if not re.fullmatch(r"[0-9]+", project.organization):
        raise _refused("project.organization", project.organization, "the organization's number")
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+", project.region):
        raise _refused("project.region", project.region, "a region, such as us-central1")
    if not re.fullmatch(re.escape(project.region) + r"-[a-z]", project.zone):
        raise _refused("project.zone", project.zone, f"a zone of the region {project.region}")
    for each in project.services:
        if not re.fullmatch(r"[a-z0-9.-]+\.googleapis\.com", each):
            raise _refused("project.services", each, "names such as alloydb.googleapis.com")


def _check_network(network: Any) -> None:
    given = network.subnetwork_range
    try:
        own = ipaddress.IPv4Network(given)
        fits = any(own.subnet_of(ipaddress.IPv4Network(each)) for each in _SUBNETWORKS)
    except ValueError:
        fits = False
    if not fits:
        accepted = f"an IPv4 range inside one of {', '.join(_SUBNETWORKS)}"
        raise _refused("network.subnetwork_range", given, accepted)
    if own.prefixlen > _SMALLEST_SUBNETWORK:
        accepted = f"/{_SMALLEST_SUBNETWORK} or larger, as Cloud Run needs it"
        raise _refused("network.subnetwork_range", given, accepted)
    if not 8 <= network.services_prefix <= 24:
        raise _refused("network.services_prefix", network.services_prefix, "8 to 24 bits")


def _check_labels(labels: Any) -> None:
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key):
            raise _refused("project.labels", key, "keys of up to 63 lower-case letters and digits")
        if not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise _refused(
                f"project.labels.{key}", value, "up to 63 lower-case letters, digits, _ and -"
            )


def _check_workstations(workstations: Any) -> None:
    if workstations.disk_gb not in _HOME_DISK_GB:
        raise _refused("workstations.disk_gb", workstations.disk_gb, _one_of(_HOME_DISK_GB))
    chosen = (workstations.machine_type, workstations.accelerator, workstations.accelerator_count)
    if wrong := machines.wrong(*chosen):
        name, accepted = wrong
        raise _refused(f"workstations.{name}", getattr(workstations, name), accepted)
    for id, text in workstations.boosts.items():
        path = f"workstations.boosts.{id}"
        if not re.fullmatch(_SHORT, id):
            raise _refused("workstations.boosts", id, "ids as other names: lower-case letters")
        parsed = machines.parse(text)
        if parsed is None:
            raise _refused(path, text, '"MACHINE", or "MACHINE with COUNT GPU"')
        if wrong := machines.wrong(*parsed):
            raise _refused(path, text, wrong[1])


def _check_endpoints(settings: Any) -> None:
    """Private Service Connect: room for the endpoints' names, and nothing that leads outwards."""
    alloydb = settings.alloydb
    if alloydb.ip_type != "PSC":
        return
    longest = 63 - len(SUFFIX)
    for name in ("primary", "read_pool"):
        if len(getattr(alloydb, name)) > longest:
            given = getattr(alloydb, name)
            raise _refused(
                f"alloydb.{name}",
                given,
                f"1 to {longest} characters: its endpoint is called {given}{SUFFIX}",
            )
    if settings.data_migration.mode == "online":
        raise _refused(
            "alloydb.ip_type",
            alloydb.ip_type,
            "PRIVATE or PUBLIC where data_migration.mode is online: in Private Service Connect "
            "AlloyDB reaches no source to follow",
        )


def _check_databases(settings: Any) -> None:
    cpus = settings.alloydb.cpu_count
    if cpus not in _ALLOYDB_CPUS:
        raise _refused("alloydb.cpu_count", cpus, _one_of(_ALLOYDB_CPUS))
    if settings.alloydb.read_pool_nodes > _READ_POOL_NODES:
        given = settings.alloydb.read_pool_nodes
        raise _refused("alloydb.read_pool_nodes", given, f"0 to {_READ_POOL_NODES}")
    for each in settings.alloydb.iam_users:
        if not re.fullmatch(r"[a-z0-9._+-]+@[a-z0-9.-]+", each):
            raise _refused("alloydb.iam_users", each, "addresses of principals in lower case")
    redis = settings.redis
    if redis.tier not in ("BASIC", "STANDARD_HA"):
        raise _refused("redis.tier", redis.tier, "BASIC or STANDARD_HA")
    if not 1 <= redis.memory_gb <= 300:
        raise _refused("redis.memory_gb", redis.memory_gb, "1 to 300")
    if redis.version not in _REDIS_VERSIONS:
        raise _refused("redis.version", redis.version, _one_of(_REDIS_VERSIONS))


def _check_api(api: Any) -> None:
    if not 1 <= api.concurrency <= 1000:
        raise _refused("api.concurrency", api.concurrency, "1 to 1000")
    if api.max_instances < max(1, api.min_instances):
        raise _refused(
            "api.max_instances", api.max_instances, f"at least {max(1, api.min_instances)}"
        )
    known = ("allUsers", "allAuthenticatedUsers")
    kinds = r"(user|serviceAccount|group|domain|principal|principalSet):.+"
    if api.invoker not in known and not re.fullmatch(kinds, api.invoker):
        raise _refused("api.invoker", api.invoker, "allUsers, or as user:someone@example.com")


def _check_vertex(vertex: Any, metric: str) -> None:
    if not 1 <= len(vertex.endpoint) <= 128 or '"' in vertex.endpoint:
        raise _refused("vertex.endpoint", vertex.endpoint, "1 to 128 characters, no quotes")
    holds = _VERTEX_MACHINES.get(vertex.machine_type)
    if holds is None:
        raise _refused("vertex.machine_type", vertex.machine_type, _one_of(_VERTEX_MACHINES))
    if vertex.shard_size not in holds:
        raise _refused(
            "vertex.shard_size", vertex.shard_size, f"{_one_of(holds)} on {vertex.machine_type}"
        )
    if vertex.distance not in ("auto", *VERTEX_DISTANCES[metric]):
        fitting = _one_of(("auto", *VERTEX_DISTANCES[metric]))
        raise _refused("vertex.distance", vertex.distance, f"{fitting} with metric {metric}")
    for name, least, most in (
        ("min_replicas", 1, 1000),
        ("max_replicas", vertex.min_replicas, 1000),
        ("approximate_neighbours", 1, 1000),
        ("leaf_vectors", 1, 1_000_000),
        ("leaf_percent", 1, 100),
    ):
        value = getattr(vertex, name)
        if not least <= value <= most:
            raise _refused(f"vertex.{name}", value, f"{least} to {most}")


def _one_of(values: Any) -> str:
    return "one of " + ", ".join(map(str, values))


def _refused(path: str, value: object, accepted: str) -> SettingsError:
    return SettingsError(
        f"{path} is {value!r}, which Google refuses.",
        expected=accepted,
        remedy=f"correct {path} in the environment file",
    )
