"""Where this process runs, told from environment variables and firmware files alone."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from lib.errors import SettingsError


class Where(StrEnum):
    """The places that a migration is started from."""

    WORKSTATION = "Cloud Workstation"
    CLOUD_SHELL = "Cloud Shell"
    CLOUD_RUN = "Cloud Run"
    CLOUD_BUILD = "Cloud Build"
    GITHUB_CODESPACES = "GitHub Codespaces"
    GITHUB_ACTIONS = "GitHub Actions"
    OTHER_CI = "continuous integration"
    COMPUTE_ENGINE = "Compute Engine"
    OWN_MACHINE = "own machine"


ON_GOOGLE = frozenset(
    {
        Where.WORKSTATION,
        Where.CLOUD_SHELL,
        Where.CLOUD_RUN,
        Where.CLOUD_BUILD,
        Where.COMPUTE_ENGINE,
    }
)
"""Places with a metadata server that gives credentials."""

_SIGNS: tuple[tuple[Where, tuple[str, ...]], ...] = (
    (Where.WORKSTATION, ("GOOGLE_CLOUD_WORKSTATIONS",)),
    (Where.CLOUD_SHELL, ("GOOGLE_CLOUD_SHELL", "CLOUD_SHELL", "DEVSHELL_CLIENT_PORT")),
    (Where.CLOUD_RUN, ("K_SERVICE", "CLOUD_RUN_JOB")),
    (Where.GITHUB_CODESPACES, ("CODESPACES",)),
    (Where.GITHUB_ACTIONS, ("GITHUB_ACTIONS",)),
    (Where.CLOUD_BUILD, ("BUILDER_OUTPUT",)),
    (
        Where.OTHER_CI,
        ("GITLAB_CI", "JENKINS_URL", "CIRCLECI", "BUILDKITE", "TF_BUILD", "TEAMCITY_VERSION", "CI"),
    ),
)
_FIRMWARE = Path("/sys/class/dmi/id")


@dataclass(frozen=True, slots=True)
class Environment:
    """A place and what told us (``evidence``)."""

    kind: Where
    evidence: str

    @property
    def on_google(self) -> bool:
        """Whether a metadata server can be asked for credentials here."""
        return self.kind in ON_GOOGLE

    def __str__(self) -> str:
        return f"{self.kind} ({self.evidence})"


def detect(environ: Mapping[str, str] = os.environ, firmware: Path = _FIRMWARE) -> Environment:
    """Tell where we run; reads variables and two small files and never the network."""
    for kind, names in _SIGNS:
        for name in names:
            if environ.get(name, "").lower() not in ("", "0", "false"):
                return Environment(kind, f"the variable {name} is set")
    for name in ("product_name", "sys_vendor"):
        try:
            text = (firmware / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        if text in ("Google Compute Engine", "Google"):
            return Environment(Where.COMPUTE_ENGINE, f"the firmware says {text!r}")
    return Environment(Where.OWN_MACHINE, "no variable or firmware says otherwise")


def choose_target(settings_target: str, credentials_found: bool) -> Literal["google", "embedded"]:
    """The target that ``auto``, ``google`` or ``embedded`` means here; raises ``SettingsError``."""
    if settings_target == "auto":
        return "google" if credentials_found else "embedded"
    if settings_target == "google":
        if not credentials_found:
            raise SettingsError(
                "target is 'google', but there are no Google credentials.",
                expected="Application Default Credentials",
                remedy='run: gcloud auth application-default login; or set target = "embedded"',
            )
        return "google"
    if settings_target == "embedded":
        return "embedded"
    raise SettingsError(
        f"target is {settings_target!r}.",
        expected="one of 'auto', 'embedded', 'google'",
        remedy="correct target in the environment file",
    )
