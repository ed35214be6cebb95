"""Real MCP servers in processes of their own, which tests may kill."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).with_name("server.py")
HOST = "127.0.0.1"


class RunningServer:
    def __init__(self, folder: Path, token: str = "") -> None:
        self.journal = folder / "journal"
        self.journal.touch()
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}/mcp"
        self._environment = {**os.environ, "TEST_TOKEN": token}

    def start(self) -> None:
        command = [sys.executable, str(SERVER), "--journal", str(self.journal)]
        command += ["--host", HOST, "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=self._environment)
        while self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
                os.sched_yield()
        raise RuntimeError("the test's server ended")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("mcp"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path)
    server.start()
    yield server
    server.kill()
