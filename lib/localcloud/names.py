"""Resource names: parsing by pattern, parents, ids."""

import re
from functools import cache
from typing import Final

PROJECT_ID: Final = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
RESOURCE_ID: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern))


def parse(pattern: str, name: str) -> dict[str, str] | None:
    """The variables of ``name`` by ``pattern``, or None where it does not match."""
    match = _expression(pattern).fullmatch(name)
    return match.groupdict() if match else None


def parent_pattern(pattern: str) -> str:
    """The pattern without its last collection and id."""
    return pattern.rsplit("/", 2)[0]


def parent_of(name: str) -> str:
    """The name without its last collection and id; empty for a name at the root."""
    return name.rsplit("/", 2)[0] if name.count("/") > 1 else ""


def snake(kind: str) -> str:
    """``WorkstationCluster`` to ``workstation_cluster``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()


def camel(field: str) -> str:
    """``workstation_clusters`` to ``workstationClusters``."""
    first, *rest = field.split("_")
    return first + "".join(part.capitalize() for part in rest)
