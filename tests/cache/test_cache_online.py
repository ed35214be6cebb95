"""Keys that change while they are moved: they converge, whatever is cut, killed or lost."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from lib.cache import standing, values
from lib.cache.closing import close, reopen, settings_before
from lib.cache.comparison import Kind, compare
from lib.cache.copy import CopyKeys
from lib.cache.errors import CacheError, ExistingKeys
from lib.cache.follow import Follower
from lib.cache.keyspace import Expiry
from lib.cache.notifications import SETTING, Notifications
from lib.cache.online import CutOverKeys, SyncKeys
from lib.cache.standing import Standing
from lib.engine.changes import Change, ChangeKind
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError
from lib.orchestra.keyspace import Keyspace
from lib.orchestra.redis_access import RedisAccess
from tests.cache.journal import MemoryJournal
from tests.cache.platform import fill
from tests.cache.writer import Writer

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def open_source(source):
    """The source takes writes and announces nothing, before and after each test."""
    plain = {SETTING: "", "min-replicas-to-write": 0, "min-replicas-max-lag": 10}
    for name, value in plain.items():
        source.config_set(name, value)
    yield
    for name, value in plain.items():
        source.config_set(name, value)


@pytest.fixture
def copying(source, target, redis_source_url, redis_target_url):
    return CopyKeys(redis_source_url, redis_target_url)


def make(action, journal):
    change = action.plan(action.observe())
    if change.kind is not ChangeKind.NONE:
        action.apply(change, journal)
    return change


def same(copying) -> bool:
    found = compare(copying.source, copying.target)
    return found.equal or bool(print(found.differences))


def test_a_source_in_use_is_synchronised_and_cut_over(copying, source, target, redis_source_url):
    fill(source)
    source.config_set(SETTING, "Kx")
    sync, cut = SyncKeys(copying), CutOverKeys(copying)
    with Writer(redis_source_url) as writer, Writer(redis_source_url, database=2):
        journal = MemoryJournal()
        assert make(sync, journal).kind is ChangeKind.COPY
        sync.verify()
        assert sync.lag is not None
        assert sync.lag.seconds <= 1
        assert source.config_get(SETTING)[SETTING] in ("Kx", "xK")
        assert not journal.kept.get(SETTING)
        writer.await_writes(50)
        change = make(cut, MemoryJournal())
        assert change.irreversible
        writer.await_writes(1)
        assert writer.refused
        assert int(target.get("counter")) == writer.counted
    assert same(copying)
    done = cut.verify()
    assert done.seconds_without_writes is not None
    assert source.config_get(SETTING)[SETTING] in ("Kx", "xK")
    assert sync.plan(sync.observe()).kind is ChangeKind.NONE
    assert cut.plan(cut.observe()).kind is ChangeKind.NONE
    with pytest.raises(redis.ResponseError, match="replicas"):
        source.set("late", 1)


def test_each_way_of_changing_a_key_is_followed(copying, source, target):
    fill(source)
    source.mset({"deleted": 1, "overwritten": 1, "old name": 1, "lives": 1})
    make(SyncKeys(copying), MemoryJournal())
    journal = MemoryJournal()
    with Notifications(copying.source, journal) as notifications:
        follower = Follower(copying.source, copying.target, Standing(), notifications, journal)
        source.delete("deleted")
        source.delete("overwritten")
        source.rpush("overwritten", 1, 2)
        source.rename("old name", "new name")
        source.set("gone soon", 1, px=1)
        source.pexpire("lives", 500_000)
        source.hset("big hash", "field 1", "changed")
        source.xadd("stream", {"n": "new"})
        with redis.Redis.from_url(f"redis://{copying.source.address}/7") as other:
            other.set("in another database", 1)
        notifications.settle()
        assert notifications.lag().keys >= 8
        follower.catch_up()
        while notifications.lag().keys:
            follower.catch_up()
        assert not target.exists("deleted", "old name", "gone soon")
        assert target.lrange("overwritten", 0, -1) == [b"1", b"2"]
        assert target.get("new name") == b"1"
    assert same(copying)


def test_what_no_notification_tells_of_arrives_with_the_cutover(copying, source, target):
    fill(source)
    source.set("flushed", 1)
    with redis.Redis.from_url(f"redis://{copying.source.address}/3") as other:
        make(SyncKeys(copying), MemoryJournal())
        source.xreadgroup("workers", "first", {"stream": ">"}, count=3)
        source.xack("stream", "workers", "2-0", "3-0")
        other.flushdb()
        make(CutOverKeys(copying), MemoryJournal())
    assert same(copying)
    assert target.xpending("stream", "workers") == source.xpending("stream", "workers")


def test_an_expiry_that_moved_a_little_moves_on_the_target_too(copying, source, target):
    source.set("key", 1, pxat=4_000_000_000_000)
    make(SyncKeys(copying), MemoryJournal())
    source.pexpireat("key", 4_000_000_000_500)
    make(CutOverKeys(copying), MemoryJournal())
    assert target.pexpiretime("key") == 4_000_000_000_500


def test_a_cut_connection_leaves_a_gap_that_a_sweep_fills(copying, source, target):
    source.mset({f"key {n}": n for n in range(100)})
    make(SyncKeys(copying), MemoryJournal())
    journal = MemoryJournal()
    with Notifications(copying.source, journal) as notifications:
        follower = Follower(copying.source, copying.target, Standing(), notifications, journal)
        pipeline = source.pipeline()  # in one transaction: nobody listens when the key changes
        pipeline.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        pipeline.set("key 7", "changed")
        pipeline.delete("key 8")
        pipeline.execute()
        notifications.settle()
        assert notifications.lag().keys == 0
        follower.catch_up()
        while notifications.lag().keys:
            follower.catch_up()
    assert target.get("key 7") == b"changed"
    assert same(copying)


def test_a_writer_and_cut_connections_still_converge(copying, source, redis_source_url):
    fill(source)
    make(SyncKeys(copying), MemoryJournal())
    with Writer(redis_source_url) as writer:

        class Cutting(MemoryJournal):
            def progress(self, *told) -> None:
                source.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

        make(SyncKeys(copying), Cutting())
        make(CutOverKeys(copying), Cutting())
        assert writer.refused or not writer.await_writes(1)
    assert same(copying)


KILLED = """
import json, os, signal, sys, threading
from lib.cache.copy import CopyKeys
from lib.cache.online import CutOverKeys, SyncKeys
from lib.orchestra.keyspace import Keyspace
from lib.orchestra.redis_access import RedisAccess
from tests.cache.journal import MemoryJournal

class Kept(MemoryJournal):
    left = int(sys.argv[4])
    mutex = threading.Lock()  # a journal is written to from several threads
    def put_many(self, entries):
        with Kept.mutex:
            super().put_many(entries)
            with open(sys.argv[3] + ".new", "w") as file:
                file.write(json.dumps(self.kept))
            os.replace(sys.argv[3] + ".new", sys.argv[3])
    def progress(self, *told):
        Kept.left -= 1
        if Kept.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

copy = CopyKeys(sys.argv[1], sys.argv[2])
action = {"sync": SyncKeys, "cut": CutOverKeys}[sys.argv[5]](copy)
action.apply(action.plan(action.observe()), Kept())
"""


def killed(copying, kept: Path, reports: int, what: str) -> MemoryJournal:
    """Run an action in a process that is killed at its so-manieth report; its journal."""
    urls = [f"redis://{each.address}" for each in (copying.source, copying.target)]
    arguments = [*urls, str(kept), str(reports), what]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        cwd=ROOT, check=False, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    journal = MemoryJournal()
    journal.kept = json.loads(kept.read_text()) if kept.exists() else {}
    return journal


@pytest.mark.parametrize("reports", [0, 1])
def test_a_killed_synchronisation_is_taken_up(
    copying, source, target, redis_source_url, tmp_path, reports
):
    fill(source)
    target.set("foreign", 1)
    source.config_set(SETTING, "Kg")
    with Writer(redis_source_url) as writer:
        journal = killed(copying, tmp_path / "journal", reports, "sync")
        assert "A" in source.config_get(SETTING)[SETTING]
        source.delete("plain")
        source.set("foreign", "of the source")
        writer.await_writes(20)
        make(SyncKeys(copying), journal)
    assert set(source.config_get(SETTING)[SETTING]) == {"K", "g"}
    make(CutOverKeys(copying), MemoryJournal())
    assert target.get("foreign") == b"1"
    differ = compare(copying.source, copying.target)
    assert [(each.kind, each.key) for each in differ.differences] == [(Kind.VALUE, b"foreign")]


def test_a_killed_cutover_is_taken_up_or_taken_back(copying, source, redis_source_url, tmp_path):
    fill(source)
    make(SyncKeys(copying), MemoryJournal())
    source.delete("plain")
    journal = killed(copying, tmp_path / "journal", 1, "cut")
    again = MemoryJournal()
    again.kept = dict(journal.kept)
    cut = CutOverKeys(copying)
    change = cut.plan(cut.observe())
    cut.undo(change, again)
    source.set("taken", "again")
    make(cut, journal)
    assert same(copying)
    with pytest.raises(redis.ResponseError, match="replicas"):
        source.set("late", 1)


def test_a_cutover_that_fails_opens_the_source_again(copying, source, monkeypatch):
    fill(source)
    make(SyncKeys(copying), MemoryJournal())
    source.config_set("min-replicas-max-lag", 0)
    monkeypatch.setattr(Follower, "finish", lambda self: 1 / 0)
    journal = MemoryJournal()
    with pytest.raises(ZeroDivisionError):
        make(CutOverKeys(copying), journal)
    source.set("plain", "written")
    assert source.config_get("min-replicas*") == {
        "min-replicas-to-write": "0",
        "min-replicas-max-lag": "0",
    }
    assert not journal.kept


def test_a_cutover_can_be_taken_back_until_the_target_is_written_to(copying, source, target):
    fill(source)
    sync, cut = SyncKeys(copying), CutOverKeys(copying)
    make(sync, MemoryJournal())
    change = Change.from_json(make(cut, MemoryJournal()).to_json())
    cut.undo(change, MemoryJournal())
    source.set("plain", "written")
    make(cut, MemoryJournal())
    assert same(copying)
    target.set("plain", "newer")
    with pytest.raises(CannotUndo, match="1 value"):
        cut.undo(change, MemoryJournal())
    source.set("plain", "written")


def test_without_configuration_sweeps_find_the_changes(
    source, target, redis_source_url, redis_target_url
):
    fill(source)
    rules = {"keys": "*", "channels": "", "commands": ["+@all", "-config"]}
    source.acl_setuser("plain", enabled=True, passwords=["+secret"], **rules)
    try:
        url = redis_source_url.replace("redis://", "redis://plain@")
        copying = CopyKeys(url, redis_target_url, source_password="secret")
        with Writer(redis_source_url) as writer:
            make(SyncKeys(copying), MemoryJournal())
            writer.await_writes(50)
            with Notifications(copying.source, MemoryJournal()) as notifications:
                assert not notifications.complete
        make(CutOverKeys(copying), MemoryJournal())
        assert same(copying)
        assert CutOverKeys(copying).verify().seconds_without_writes is None
    finally:
        source.acl_deluser("plain")
    source.set("still", "open")


def test_a_source_that_still_changes_is_not_cut_over(copying, source, monkeypatch):
    fill(source)
    make(SyncKeys(copying), MemoryJournal())
    monkeypatch.setattr("lib.cache.closing.close", lambda source, journal: False)
    sweep = Follower.sweep
    monkeypatch.setattr(Follower, "sweep", lambda self: source.incr("counter") and sweep(self))
    with pytest.raises(VerificationError, match="still changes"):
        make(CutOverKeys(copying), MemoryJournal())
    assert not standing.read(copying.target).cut_over


def test_a_source_that_never_rests_does_not_hold_the_cutover_up(copying, source, monkeypatch):
    source.set("counter", 1)
    make(SyncKeys(copying), MemoryJournal())
    monkeypatch.setattr("lib.cache.closing.close", lambda source, journal: False)
    bring, times = Follower._bring, []

    def meanwhile(self):
        times.append(bring(self))
        assert len(times) < 100
        source.incr("counter")
        self._notifications.add(0, b"counter")
        return times[-1]

    monkeypatch.setattr(Follower, "_bring", meanwhile)
    with pytest.raises(VerificationError, match="still changes"):
        make(CutOverKeys(copying), MemoryJournal())


def test_a_cutover_needs_a_synchronisation(copying):
    with pytest.raises(CacheError, match="not synchronised"):
        make(CutOverKeys(copying), MemoryJournal())


@pytest.mark.parametrize("policy", ["refuse", "overwrite", "skip"])
def test_keys_that_exist_follow_the_policy(
    source, target, redis_source_url, redis_target_url, policy
):
    source.mset({"same": 1, "other": 2, "new": 3})
    target.mset({"same": 1, "other": "theirs", "foreign": 4, "theirs": 5})
    copying = CopyKeys(redis_source_url, redis_target_url, existing=policy)
    if policy == "refuse":
        with pytest.raises(ExistingKeys, match="other"):
            make(SyncKeys(copying), MemoryJournal())
        assert not target.exists("new")
        return
    make(SyncKeys(copying), MemoryJournal())
    source.mset({"other": "changed", "new": "changed", "same": "changed", "foreign": "changed"})
    make(CutOverKeys(copying), MemoryJournal())
    assert target.mget("new", "theirs") == [b"changed", b"5"]
    kept = {"skip": [b"theirs", b"1", b"4"], "overwrite": [b"changed"] * 3}
    assert target.mget("other", "same", "foreign") == kept[policy]


def test_too_many_foreign_keys_are_told(copying, source, target, monkeypatch):
    monkeypatch.setattr("lib.cache.before.REMEMBERED", 3)
    source.set("a", 1)
    target.mset({f"foreign {n}": n for n in range(4)})
    with pytest.raises(CacheError, match="more than 3"):
        make(SyncKeys(copying), MemoryJournal())


def test_undo_leaves_what_was_there(copying, source, target):
    fill(source)
    target.mset({"plain": "value", "foreign": 1})
    sync = SyncKeys(copying)
    first = Change.from_json(make(sync, MemoryJournal()).to_json())
    source.mset({"later": 1, "foreign": "too"})
    second = make(sync, MemoryJournal())
    for change in (second, first, first):
        sync.undo(change, MemoryJournal())
    assert set(target.keys()) == {b"plain", b"foreign"}


def test_closing_a_source_refuses_writes_and_keeps_reads(copying, source):
    source.set("a", 1)
    journal = MemoryJournal()
    assert close(copying.source, journal)
    assert close(copying.source, journal)
    with pytest.raises(redis.ResponseError, match="replicas"):
        source.eval("return redis.call('set', 'a', 2)", 0)
    assert source.get("a") == b"1"
    reopen(copying.source, settings_before(journal))
    source.set("a", 2)


@pytest.mark.parametrize("reading", ["comparison", "copy"])
def test_a_key_that_changes_its_type_while_it_is_read(
    copying, source, target, monkeypatch, reading
):
    source.hset("key", mapping={f"field {n}": n for n in range(3_000)})
    if reading == "comparison":
        target.hset("key", "field", "another")
    monkeypatch.setattr("lib.cache.comparison.LARGE_BYTES", 0)
    pieces = values.pieces

    def changing(link, key, kind):
        if kind == b"hash" and source.type("key") == b"hash":
            source.delete("key")
            source.rpush("key", 1, 2)
        return pieces(link, key, kind)

    monkeypatch.setattr(values, "pieces", changing)
    if reading == "comparison":
        assert compare(copying.source, copying.target).counts == {Kind.TYPE: 1}
    else:
        make(SyncKeys(copying), MemoryJournal())
        assert target.lrange("key", 0, -1) == [b"1", b"2"]


def test_a_target_that_knows_only_the_time_left_converges(copying, source, target, monkeypatch):
    known = Expiry.__init__

    def before_version_7(self, link):
        known(self, link)
        if link.server.port == copying.target.port:
            self.absolute, self.per_key = False, "PTTL"

    monkeypatch.setattr(Expiry, "__init__", before_version_7)
    source.mset({f"key {n}": n for n in range(50)})
    for n in range(50):
        source.pexpire(f"key {n}", 100_000 + n)
    make(SyncKeys(copying), MemoryJournal())
    source.persist("key 7")
    make(CutOverKeys(copying), MemoryJournal())
    assert target.ttl("key 7") == -1
    assert same(copying)


def test_the_platform_puts_it_together(source, target, redis_source_url, redis_target_url):
    fill(source)
    target.set("foreign", 1)
    data = SimpleNamespace(existing_keys="refuse", workers=2, mode="online")
    settings = SimpleNamespace(data_migration=data)
    keyspace = Keyspace(RedisAccess(redis_source_url), RedisAccess(redis_target_url), settings)
    make(keyspace.moved(), MemoryJournal())
    source.set("plain", "changed")
    with pytest.raises(VerificationError, match="1 value"):
        keyspace.compare()
    make(keyspace.cut_over(), MemoryJournal())
    assert keyspace.compare().equal


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_platform_agrees_with_keys_that_a_move_left_as_they_were(
    source, target, redis_source_url, redis_target_url, mode
):
    source.mset({"left": 1, "new": 2})
    target.set("left", "theirs")
    data = SimpleNamespace(existing_keys="skip", workers=2, mode=mode)
    settings = SimpleNamespace(data_migration=data)
    keyspace = Keyspace(RedisAccess(redis_source_url), RedisAccess(redis_target_url), settings)
    move = keyspace.moved()
    make(move, MemoryJournal())
    move.verify()
    assert target.mget("left", "new") == [b"theirs", b"2"]
    assert keyspace.compare().equal
    target.delete("new")
    with pytest.raises(VerificationError, match="1 missing"):
        keyspace.compare()
    target.mset({"new": 2, "foreign": 3})
    with pytest.raises(VerificationError, match="1 extra"):
        keyspace.compare()
    assert keyspace.compare(in_use=True).equal
