"""Chooses the target, and makes sure that an embedded one serves."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from lib.cloud import credentials as credentials_module
from lib.cloud.environment import Environment, choose_target, detect
from lib.cloud.target import Target
from lib.errors import MigrationError
from lib.settings import ROOT, ProjectSettings


class EmbeddedCloudError(MigrationError):
    """The embedded cloud could not be started."""


def chosen(wanted: str, where: Environment | None = None) -> str:
    """``google`` or ``embedded``, for ``auto`` by whether there are credentials."""
    found = wanted == "auto" and credentials_module.found(os.environ, where or detect())
    return (
        "embedded" if wanted == "embedded" else choose_target(wanted, found or wanted == "google")
    )


def connect_embedded(state: Path, project: ProjectSettings) -> Target:
    """Start the embedded cloud whose state is in ``state``, unless it serves already.

    It is a process of its own that outlives this one.  Raises ``EmbeddedCloudError``.
    """
    command = [sys.executable, "-m", "lib.localcloud", "start", "--json", "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise _not_started(done.stderr, state)
    about = json.loads(done.stdout)
    return Target.embedded(
        about["endpoint"],
        about["ca"],
        about["token"],
        project=project.id,
        region=project.region,
        zone=project.zone,
    )


def gone(target: Target) -> bool:
    """Whether nobody listens any more where an embedded cloud served."""
    if target.kind != "embedded":
        return False
    host, _, port = target.endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _not_started(said: str, state: Path) -> EmbeddedCloudError:
    """The error with the one remedy that fits best: the first that the server itself names."""
    lines = [line.strip() for line in said.strip().splitlines()] or ["it said nothing"]
    mark = "to mend it: "
    own = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    reason = lines[0].rpartition("did not start: ")[2]
    return EmbeddedCloudError(
        f"The embedded Google Cloud did not start: {reason}",
        expected="a server process on a loopback address",
        remedy=own[0] if own else f"look into {state / 'server.log'}",
    )


def identity(kind: str, state: Path, project: ProjectSettings) -> str:
    """Tells one world from another, so that checkpoints of a cloud that was reset don't count.

    An embedded cloud is known by its certificate authority, which is made anew with its state.
    """
    if kind == "google":
        return f"google {project.id}"
    try:
        return "embedded " + hashlib.sha256((state / "ca.pem").read_bytes()).hexdigest()[:16]
    except OSError:
        return "embedded, not made yet"
