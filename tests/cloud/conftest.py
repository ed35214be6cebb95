"""What the cloud tests share: a journal and a small server."""

from collections.abc import Iterator

import grpc
import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.target import Target
from tests.cloud.memorystore import Memorystore
from tests.cloud.small_engine import MemoryJournal


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
