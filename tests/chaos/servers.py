"""Kills what a migration works with: the embedded cloud's process, and the databases' processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CLOUD = [sys.executable, "-m", "lib.localcloud"]


def kill(processes: Iterable[int]) -> None:
    """SIGKILL, also where one is gone already."""
    for each in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def databases_below(state: Path) -> list[int]:
    """The PostgreSQL and Valkey servers (not their children) whose data lie below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            program = (entry / "cmdline").read_bytes().split(b"\0")
            place = os.readlink(entry / "cwd")
        except OSError:
            continue
        name = os.path.basename(program[0].split(b" ")[0]).decode(errors="replace")
        own = state in Path(place).parents or any(bytes(state) in each for each in program[1:])
        server = (name == "postgres" and b"-D" in program) or name.startswith("valkey")
        if own and server:
            found.append(int(entry.name))
    return found


def _status(state: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*CLOUD, "status", "--json", "--state", str(state)], capture_output=True, check=False
    )
    return json.loads(done.stdout or b"{}")


def cloud_process(state: Path) -> int | None:
    """The process of the embedded cloud whose state lies in a folder; None where none runs."""
    server = _status(state).get("server")
    return server["pid"] if server else None


def resources(state: Path) -> list[str]:
    """The full names of what stands in the embedded cloud."""
    return [each["name"] for each in _status(state)["resources"]]


def killed_cloud(state: Path) -> None:
    """Kill the embedded cloud's process, and start it again where it was."""
    process = cloud_process(state)
    assert process is not None
    kill([process])
    subprocess.run(
        [*CLOUD, "start", "--json", "--state", str(state)], capture_output=True, check=True
    )
