"""What the cloud tests share: a journal and a small server."""

from collections.abc import Iterator

import grpc
import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.target import Target
from tests.cloud.memorystore import Memorystore
from tests.cloud.small_engine import MemoryJournal


def pytest_configure(config: pytest.Config) -> None:
    """The marker of tests that take minutes; ``-m chaos`` runs them."""
    config.addinivalue_line("markers", "chaos: the whole fault matrix; minutes, only with -m chaos")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those tests out unless they are asked for."""
    if "chaos" in (config.option.markexpr or ""):
        return
    left = [each for each in items if each.get_closest_marker("chaos")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [each for each in items if each not in left]


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def memorystore() -> Iterator[Memorystore]:
    server = Memorystore()
    yield server
    server.server.stop(None)


@pytest.fixture
def small_cloud(memorystore: Memorystore) -> Iterator[Cloud]:
    """The facade against the small server (without TLS, which the embedded cloud tests)."""
    cloud = Cloud(Target.embedded("unused", "", "", project="ai-orchestra"))
    cloud.clients._shared_channel = grpc.insecure_channel(f"127.0.0.1:{memorystore.port}")
    yield cloud
    cloud.close()
