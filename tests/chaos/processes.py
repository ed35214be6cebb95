"""Runs pytest in processes that are forked from one that has imported everything: quick to kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_FORKS = """
import importlib, json, os, sys
for name in %(imports)r:
    importlib.import_module(name)
import pytest
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(job["folder"])
        os.environ.update(job["environ"])
        said = os.open("said.txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        for each in (1, 2):
            os.dup2(said, each)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = pytest.main(job["arguments"])
        sys.stdout.flush()
        os._exit(code)
    print(pid, flush=True)
    if sys.stdin.readline() == "kill\\n":  # not reaped yet, so that its number is its own
        os.kill(pid, 9)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
_IMPORTS = [
    "lib.plugin.plugin",
    "lib.settings",
    "lib.cloud.cloud",
    "google.cloud.resourcemanager_v3",
    "google.cloud.service_usage_v1",
    "google.cloud.secretmanager_v1",
    "google.cloud.redis_v1",
    "pytest_dependency",
    "pytest_benchmark.plugin",
    "xdist.plugin",
]

KILLED = -signal.SIGKILL


class Forks:
    """A process that forks one pytest process after the other."""

    def __init__(self) -> None:
        environ = dict(os.environ, PYTHONPATH=str(ROOT), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKS % {"imports": _IMPORTS}],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environ,
        )

    def start(self, folder: Path, arguments: list[str], environ: Mapping[str, str]) -> int:
        """Begin a pytest process in a folder; gives its number."""
        job = {"folder": str(folder), "arguments": arguments, "environ": dict(environ)}
        self._process.stdin.write(json.dumps(job) + "\n")
        return int(self._process.stdout.readline())

    def ended(self, *, killed: bool = False) -> int:
        """Wait until it ends, or kill it; its exit code, or the negative number of its signal."""
        self._process.stdin.write("kill\n" if killed else "wait\n")
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the process that forks."""
        self._process.communicate(timeout=30)
