"""A machine whose loopback interface has 127.0.0.1 alone, as macOS has it."""

import os
import shutil
import subprocess
import sys

import pytest

LEAST = "ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo; "
ALONE = ["unshare", "--net", "sh", "-c"]


@pytest.fixture
def alone(tmp_path):
    """Runs a command in a network of its own, on which nothing else is reached."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("needs root, and unshare and ip of Linux")
    environment = os.environ | {"ORCHESTRA_STATE": str(tmp_path / "state")}

    def run(*command, first=""):
        script = f'{LEAST}{first}exec "$@"'
        return subprocess.run(
            [*ALONE, script, "sh", sys.executable, "-m", *command],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    if run("this").stderr.startswith("unshare"):
        pytest.skip("no network of its own may be made here")
    return run


@pytest.mark.parametrize(
    "command", [("lib.localcloud", "start"), ("lib.sample", "start", "--scale", "0.02")]
)
def test_a_missing_address_is_told_with_the_command_that_gives_it(alone, command):
    done = alone(*command)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert "loopback interface does not have" in lines[0]
    assert lines[-1].startswith("  to mend it: sudo ip address add 127.")
    mended = alone(*command, first=lines[-1].partition("sudo ")[2] + "; ")
    assert mended.returncode == 0, mended.stderr
    alone(command[0], "stop", first=lines[-1].partition("sudo ")[2] + "; ")
