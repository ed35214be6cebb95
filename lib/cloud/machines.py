"""Compute Engine's machine types with GPUs: which go together, and how many of them.

From Compute Engine's pages "GPU machine types" and "Accelerator-optimized machine family".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class _Gpu:
    """A GPU: the series of machines that has it, and how many a machine may have.

    ``vcpus`` are the most that an N1 machine may have beside so many; ``fixed`` are the numbers of
    GPUs that come with the machine, by the number in its name.
    """

    series: tuple[str, ...]
    counts: tuple[int, ...]
    vcpus: Mapping[int, int] = field(default_factory=dict)
    fixed: Mapping[int, int] = field(default_factory=dict)


_N1 = ("n1",)
_ALIKE = {number: number for number in (1, 2, 4, 8, 16)}
_L4 = {4: 1, 8: 1, 12: 1, 16: 1, 24: 2, 32: 1, 48: 4, 96: 8}
_GPUS: Mapping[str, _Gpu] = {
    "nvidia-tesla-t4": _Gpu(_N1, (1, 2, 4), {1: 48, 2: 48, 4: 96}),
    "nvidia-tesla-p4": _Gpu(_N1, (1, 2, 4), {1: 24, 2: 48, 4: 96}),
    "nvidia-tesla-p100": _Gpu(_N1, (1, 2, 4), {1: 16, 2: 32, 4: 96}),
    "nvidia-tesla-v100": _Gpu(_N1, (1, 2, 4, 8), {1: 12, 2: 24, 4: 48, 8: 96}),
    "nvidia-l4": _Gpu(("g2-standard", "g2-custom"), (1, 2, 4, 8), fixed=_L4),
    "nvidia-tesla-a100": _Gpu(("a2-highgpu", "a2-megagpu"), (1, 2, 4, 8, 16), fixed=_ALIKE),
    "nvidia-a100-80gb": _Gpu(("a2-ultragpu",), (1, 2, 4, 8), fixed=_ALIKE),
    "nvidia-h100-80gb": _Gpu(("a3-highgpu", "a3-edgegpu"), (1, 2, 4, 8), fixed=_ALIKE),
    "nvidia-h100-mega-80gb": _Gpu(("a3-megagpu",), (8,), fixed=_ALIKE),
    "nvidia-h200-141gb": _Gpu(("a3-ultragpu",), (8,), fixed=_ALIKE),
}
_TYPE = re.compile(r"([a-z][a-z0-9]*)-[a-z0-9-]+")
_SIZE = re.compile(r"-custom-(\d+)-\d+|-(\d+)g?$")
_TEXT = re.compile(r"(\S+)(?: with (\d+) (\S+))?")

Machine = tuple[str, str, int]
"""A machine type, a GPU type (empty for none), and how many of it."""


def parse(text: str) -> Machine | None:
    """A machine written as "MACHINE" or "MACHINE with COUNT GPU"; None where it is neither."""
    match = _TEXT.fullmatch(text)
    return (match[1], match[3] or "", int(match[2] or 0)) if match else None


def wrong(machine: str, gpu: str, count: int) -> tuple[str, str] | None:
    """What Compute Engine refuses: the setting of workstations, and what it accepts there."""
    if not _TYPE.fullmatch(machine):
        return "machine_type", "a machine type, as n1-standard-16"
    if not gpu and not count:
        return None
    if gpu not in _GPUS:
        return "accelerator", f"one of {', '.join(_GPUS)}"
    known = _GPUS[gpu]
    if not machine.startswith(tuple(f"{each}-" for each in known.series)):
        series = " or ".join(known.series)
        return "machine_type", f"a machine of the series {series}: {gpu} goes with no other"
    if count not in known.counts:
        return "accelerator_count", f"one of {', '.join(map(str, known.counts))} for {gpu}"
    return _wrong_size(machine, gpu, count)


def _wrong_size(machine: str, gpu: str, count: int) -> tuple[str, str] | None:
    known, size = _GPUS[gpu], _SIZE.search(machine)
    number = int(size[1] or size[2]) if size else 0
    if known.fixed.get(number, count) != count:
        return "accelerator_count", f"{known.fixed[number]}, as {machine} has"
    most = known.vcpus.get(count)
    if most is not None and number > most:
        return "machine_type", f"at most {most} vCPUs with {count} x {gpu}"
    return None
