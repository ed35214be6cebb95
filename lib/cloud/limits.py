"""Settings that Google would refuse, refused before the first call, each with the reason."""

import ipaddress
import re
from typing import Any

from lib.cloud.endpoints import SUFFIX
from lib.errors import SettingsError

_GPUS: dict[str, tuple[str, tuple[int, ...]]] = {
    "nvidia-tesla-t4": ("n1", (1, 2, 4)),
    "nvidia-tesla-p4": ("n1", (1, 2, 4)),
    "nvidia-tesla-p100": ("n1", (1, 2, 4)),
    "nvidia-tesla-v100": ("n1", (1, 2, 4, 8)),
    "nvidia-l4": ("g2", (1, 2, 4, 8)),
    "nvidia-tesla-a100": ("a2", (1, 2, 4, 8, 16)),
    "nvidia-a100-80gb": ("a2", (1, 2, 4, 8)),
    "nvidia-h100-80gb": ("a3", (1, 2, 4, 8)),
}
"""Each GPU type: the machine family that it goes with, and the counts there are."""

_LARGEST_N1: dict[str, dict[int, int]] = {
    "nvidia-tesla-t4": {1: 48, 2: 48, 4: 96},
    "nvidia-tesla-p4": {1: 24, 2: 48, 4: 96},
    "nvidia-tesla-v100": {1: 12, 2: 24, 4: 48, 8: 96},
}
"""The most vCPUs that an N1 machine may have beside so many GPUs."""

_G2_GPUS = {4: 1, 8: 1, 12: 1, 16: 1, 24: 2, 32: 1, 48: 4, 96: 8}
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
    _check_machine(settings.workstations)
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
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    try:
        own = ipaddress.IPv4Network(network.subnetwork_range)
        fits = any(own.subnet_of(ipaddress.IPv4Network(each)) for each in private)
    except ValueError:
        fits = False
    if not fits:
        raise _refused(
            "network.subnetwork_range",
            network.subnetwork_range,
            f"a private IPv4 range, inside {' or '.join(private)}",
        )
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


def _check_machine(workstations: Any) -> None:
    machine, gpu = workstations.machine_type, workstations.accelerator
    count = workstations.accelerator_count
    if workstations.disk_gb not in _HOME_DISK_GB:
        raise _refused("workstations.disk_gb", workstations.disk_gb, _one_of(_HOME_DISK_GB))
    shape = re.fullmatch(r"([a-z][a-z0-9]*)-[a-z0-9-]+", machine)
    if shape is None:
        raise _refused("workstations.machine_type", machine, "a machine type, as n1-standard-16")
    if not gpu and not count:
        return
    if gpu not in _GPUS:
        raise _refused("workstations.accelerator", gpu, _one_of(_GPUS))
    family, counts = _GPUS[gpu]
    if shape.group(1) != family:
        raise _refused(
            "workstations.machine_type",
            machine,
            f"a machine of the family {family}: Google attaches {gpu} to no other",
        )
    if count not in counts:
        raise _refused("workstations.accelerator_count", count, f"{_one_of(counts)} for {gpu}")
    _check_machine_size(machine, gpu, count)


def _check_machine_size(machine: str, gpu: str, count: int) -> None:
    size = re.search(r"-([0-9]+)(g?)$", machine)
    if size is None:
        return
    number = int(size.group(1))
    if size.group(2) and number != count:
        raise _refused("workstations.accelerator_count", count, f"{number}, as {machine} has")
    largest = _LARGEST_N1.get(gpu, {}).get(count)
    if largest is not None and number > largest:
        raise _refused(
            "workstations.machine_type", machine, f"at most {largest} vCPUs with {count} x {gpu}"
        )
    if gpu == "nvidia-l4" and _G2_GPUS.get(number, count) != count:
        raise _refused(
            "workstations.accelerator_count", count, f"{_G2_GPUS[number]}, as {machine} has"
        )


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
