"""A target like Memorystore: what it blocks is never sent, so that it needn't even refuse."""

import pytest
import redis

from lib.cache import comparison as comparing
from lib.cache.comparison import compare
from lib.cache.copy import CopyKeys
from lib.cache.online import CutOverKeys, SyncKeys
from lib.cache.transfer import Mover
from tests.cache.journal import MemoryJournal
from tests.cache.platform import fill

BLOCKED = """acl bgrewriteaof bgsave client cluster command config debug failover info lastsave
latency memory migrate module monitor object psync replicaof replconf role save shutdown slaveof
slowlog sync hello flushall flushdb swapdb keys sort script function eval evalsha"""


@pytest.fixture
def restricted(source, target, redis_source_url, redis_target_url):
    """A copy whose user on the target may call nothing that a managed service blocks."""
    allowed = ["+@all", *(f"-{name}" for name in BLOCKED.split())]
    target.acl_setuser("moving", enabled=True, passwords=["+secret"], keys="*", commands=allowed)
    url = redis_target_url.replace("redis://", "redis://moving@")
    with redis.Redis.from_url(url, password="secret") as client:
        target.acl_log_reset()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.config_get("*")
    assert target.acl_log()
    target.acl_log_reset()
    yield CopyKeys(redis_source_url, url, target_password="secret")
    target.acl_deluser("moving")


@pytest.mark.parametrize("way", ["whole", "in pieces"])
def test_the_target_is_never_asked_what_it_blocks(restricted, source, target, monkeypatch, way):
    fill(source)
    if way == "in pieces":
        monkeypatch.setattr(comparing, "LARGE_BYTES", 0)
    journal = MemoryJournal()
    change = restricted.plan(restricted.observe())
    restricted.apply(change, journal)
    assert compare(restricted.source, restricted.target).equal
    restricted.undo(change, journal)
    for action in (SyncKeys(restricted), CutOverKeys(restricted)):
        change = action.plan(action.observe())
        action.apply(change, journal)
        action.verify()
        if isinstance(action, SyncKeys):
            source.set("plain", "changed")
    assert target.acl_log() == []
    action.undo(change, journal)
    assert target.acl_log() == []


def test_values_of_another_version_need_nothing_that_is_blocked(
    restricted, source, target, monkeypatch
):
    fill(source)
    broken = Mover._restore
    monkeypatch.setattr(
        Mover, "_restore", lambda self, key, dump, at: broken(self, key, dump[:-8] + b"x" * 8, at)
    )
    restricted.apply(restricted.plan(restricted.observe()), MemoryJournal())
    assert compare(restricted.source, restricted.target).equal
    assert target.acl_log() == []
