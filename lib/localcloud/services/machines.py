"""Machine types and GPUs: which go together, how many, and where."""

import re
from collections.abc import Iterable
from typing import Final

from lib.localcloud.locations import ZONE

FAMILIES: Final = {
    "e2": (2, 32), "n1": (1, 96), "n2": (2, 128), "n2d": (2, 224), "c2": (4, 60), "c3": (4, 176),
    "c2d": (2, 112), "c3d": (4, 360), "n4": (2, 80), "t2d": (1, 60), "g2": (4, 96), "a2": (12, 96),
    "m1": (40, 160),
}  # fmt: skip
MACHINE: Final = re.compile(r"([a-z]\d[a-z]?)-(standard|highmem|highcpu|highgpu|ultragpu)-(\d+)g?")
# GPU: the families it attaches to, and the vCPUs allowed for each count
GPUS: Final[dict[str, tuple[tuple[str, ...], dict[int, int]]]] = {
    "nvidia-tesla-t4": (("n1",), {1: 48, 2: 48, 4: 96}),
    "nvidia-tesla-p4": (("n1",), {1: 24, 2: 48, 4: 96}),
    "nvidia-tesla-v100": (("n1",), {1: 12, 2: 24, 4: 48, 8: 96}),
    "nvidia-tesla-p100": (("n1",), {1: 16, 2: 32, 4: 96}),
    "nvidia-l4": (("g2",), {1: 32, 2: 24, 4: 48, 8: 96}),
    "nvidia-tesla-a100": (("a2",), {1: 12, 2: 24, 4: 48, 8: 96}),
}
T4_ZONES: Final = frozenset(
    [
        "asia-east1-a",
        "asia-east1-c",
        "asia-east2-a",
        "asia-east2-c",
        "asia-northeast1-a",
        "asia-northeast1-c",
        "asia-northeast3-b",
        "asia-northeast3-c",
        "asia-south1-a",
        "asia-south1-b",
        "asia-southeast1-a",
        "asia-southeast1-b",
        "asia-southeast1-c",
        "asia-southeast2-a",
        "asia-southeast2-b",
        "australia-southeast1-a",
        "australia-southeast1-c",
        "europe-central2-b",
        "europe-central2-c",
        "europe-west1-b",
        "europe-west1-c",
        "europe-west1-d",
        "europe-west2-a",
        "europe-west2-b",
        "europe-west3-b",
        "europe-west4-a",
        "europe-west4-b",
        "europe-west4-c",
        "me-west1-b",
        "me-west1-c",
        "northamerica-northeast1-c",
        "southamerica-east1-a",
        "southamerica-east1-c",
        "us-central1-a",
        "us-central1-b",
        "us-central1-c",
        "us-central1-f",
        "us-east1-c",
        "us-east1-d",
        "us-east4-a",
        "us-east4-b",
        "us-east4-c",
        "us-west1-a",
        "us-west1-b",
        "us-west2-b",
        "us-west2-c",
        "us-west3-b",
        "us-west4-a",
        "us-west4-b",
    ]
)


def wrong_machine(machine: str) -> str:
    """What is wrong with a machine type; empty text where nothing is."""
    match = MACHINE.fullmatch(machine)
    if match is None or match[1] not in FAMILIES:
        return f"'{machine}' is not a machine type that is known here"
    low, high = FAMILIES[match[1]]
    if match[2] not in ("highgpu", "ultragpu") and not low <= int(match[3]) <= high:
        return f"'{machine}': {match[1]} machines have {low} to {high} vCPUs"
    return ""


def wrong_gpu(gpu: str, count: int, machine: str, zones: Iterable[str]) -> str:
    """Why a GPU cannot be attached; empty text where it can."""
    if gpu not in GPUS:
        return f"'{gpu}' is not a GPU that is known here: {', '.join(GPUS)}"
    families, counts = GPUS[gpu]
    family, _, size = machine.partition("-")
    if family not in families:
        return f"{gpu} attaches to {', '.join(families).upper()} machines only, not to {machine}"
    if count not in counts:
        return f"{gpu} comes in counts of {', '.join(map(str, counts))}, not {count}"
    vcpus = size.rpartition("-")[2]
    if vcpus.isdigit() and family == "n1" and int(vcpus) > counts[count]:
        return f"{count} x {gpu} go with at most {counts[count]} vCPUs"
    if gpu == "nvidia-tesla-t4":
        without = sorted(set(zones) - T4_ZONES)
        if without:
            return f"{gpu} is not offered in {', '.join(without)}"
    return ""


def default_zones(region: str, gpus: Iterable[str]) -> list[str]:
    """Two zones of a region, with T4s where those are asked for."""
    if "nvidia-tesla-t4" in gpus:
        offered = sorted(zone for zone in T4_ZONES if _region(zone) == region)
        if len(offered) >= 2:
            return offered[:2]
    if region == "us-east1" or region == "europe-west1":  # these have no zone a
        return [f"{region}-b", f"{region}-c"]
    return [f"{region}-a", f"{region}-b"]


def _region(zone: str) -> str:
    match = ZONE.fullmatch(zone)
    return match[1] if match else ""
