"""Keys move whole: types, expiry, databases, policies, interruptions and the way back."""

import threading

import pytest
import redis

from lib.cache import comparison as comparing
from lib.cache import copy, keyspace, transfer, values
from lib.cache.comparison import compare, require_equal
from lib.cache.copy import CopyKeys
from lib.cache.errors import AccessRefused, ExistingKeys, ServerRefused, ServerUnreachable
from lib.cache.server import SERVICE_SAFE, Link, Server
from lib.engine.changes import Change, ChangeKind
from lib.errors import MigrationError, SettingsError
from tests.cache.journal import MemoryJournal, Stopped
from tests.cache.platform import fill


def make(action: CopyKeys, journal: MemoryJournal) -> Change:
    change = action.plan(action.observe())
    if change.kind is not ChangeKind.NONE:
        action.apply(change, journal)
        action.verify()
    return change


@pytest.fixture
def action(source, target, redis_source_url, redis_target_url):
    return CopyKeys(redis_source_url, redis_target_url)


def everything(action: CopyKeys):
    return compare(action.source, Server(action.target.host, action.target.port))


def test_every_type_and_database_arrives_and_a_second_time_changes_nothing(
    action, source, target, journal
):
    fill(source)
    change = make(action, journal)
    assert change.kind is ChangeKind.COPY
    assert change.quantities["keys"] == 13
    assert change.quantities["bytes"] > 10_000
    assert everything(action).equal
    assert target.pexpiretime("expires") == source.pexpiretime("expires")
    assert target.pfcount("visitors") == source.pfcount("visitors")
    assert target.xpending("stream", "workers") == source.xpending("stream", "workers")
    assert action.plan(action.observe()).kind is ChangeKind.NONE
    assert journal.reported[-1][3] == "keys"


@pytest.mark.parametrize("refusing", [False, True], ids=["too large", "RESTORE refused"])
def test_values_are_cut_up(action, source, target, journal, monkeypatch, refusing):
    fill(source)
    source.hpexpire("small hash", 3_600_000, "a")
    if refusing:
        monkeypatch.setattr(transfer.Mover, "_restore", _foreign_payload)
    else:
        monkeypatch.setattr(comparing, "LARGE_BYTES", 0)
        monkeypatch.setattr(comparing, "BATCH_BYTES", 0)
    make(action, journal)
    assert everything(action).equal
    for group in ("workers", "idle"):
        mine = source.xpending_range("stream", group, "-", "+", 100)
        its = target.xpending_range("stream", group, "-", "+", 100)
        told = [(e["message_id"], e["consumer"], e["times_delivered"]) for e in mine]
        assert [(e["message_id"], e["consumer"], e["times_delivered"]) for e in its] == told
    for key in ("last-generated-id", "entries-added", "max-deleted-entry-id", "length"):
        assert target.xinfo_stream("stream")[key] == source.xinfo_stream("stream")[key]
    assert target.hpexpiretime("small hash", "a") == source.hpexpiretime("small hash", "a")
    assert not [key for key in target.scan_iter() if key.startswith(keyspace.RESERVED)]


def _foreign_payload(self, key, payload, expires):
    return ("RESTORE", key, 0, payload[:-10] + b"\xff\xff" + payload[-8:])


def test_an_empty_stream_with_a_group_arrives_in_pieces(
    action, source, target, journal, monkeypatch
):
    source.xadd("stream", {"a": 1}, id="5-0")
    source.xtrim("stream", maxlen=0)
    monkeypatch.setattr(transfer.Mover, "_restore", _foreign_payload)
    make(action, journal)
    assert target.xinfo_stream("stream")["last-generated-id"] == b"5-0"
    assert everything(action).equal


def test_arguments_that_an_older_server_refuses_are_left_out(action, target):
    with Link(action.target) as link:
        values._ask_newer(link, ("SET", "key", "1"), ("UNHEARD", "OF"))
        assert target.get("key") == b"1"
        with pytest.raises(ServerRefused, match="WRONGTYPE"):
            values._ask_newer(link, ("SADD", "key"), ("member",))


def test_nothing_that_memorystore_blocks_is_sent(action, source, target, journal, monkeypatch):
    fill(source)
    sent: set[str] = set()
    started, ended = threading.Event(), threading.Event()

    def watch() -> None:
        with target.monitor() as monitor:
            started.set()
            for command in monitor.listen():
                sent.add(command["command"].split()[0].upper())
                if "the end" in command["command"]:
                    break
        ended.set()

    monkeypatch.setattr(comparing, "LARGE_BYTES", 20_000)
    threading.Thread(target=watch, daemon=True).start()
    assert started.wait(10)
    change = make(action, journal)
    action.plan(action.observe())
    action.undo(change, journal)
    with Link(action.target) as link:
        link.ask("EXISTS", "the end")
    assert ended.wait(10)
    assert {"RESTORE", "SCAN", "UNLINK"} <= sent <= SERVICE_SAFE


def test_a_blocked_command_never_leaves(action):
    with Link(action.target) as link, pytest.raises(ValueError, match="CONFIG"):
        link.ask("CONFIG", "GET", "*")


@pytest.mark.parametrize("policy", ["refuse", "overwrite", "skip"])
def test_keys_that_exist_follow_the_policy(
    source, target, redis_source_url, redis_target_url, journal, policy
):
    source.mset({"same": 1, "other": 2, "new": 3})
    target.mset({"same": 1, "other": "theirs", "foreign": 4})
    action = CopyKeys(redis_source_url, redis_target_url, existing=policy)
    if policy == "refuse":
        with pytest.raises(ExistingKeys, match="other"):
            make(action, journal)
        assert not target.exists("new")
        return
    make(action, journal)
    assert target.get("other") == (b"2" if policy == "overwrite" else b"theirs")
    assert target.mget("new", "foreign") == [b"3", b"4"]
    assert action.plan(action.observe()).kind is ChangeKind.NONE


@pytest.fixture
def small_marks(monkeypatch):
    monkeypatch.setattr(copy, "_KEYS_A_MARK", 1)
    monkeypatch.setattr(keyspace, "PARTED_ABOVE", 100)
    monkeypatch.setattr(keyspace, "SLICE_KEYS", 50)


def test_an_interrupted_copy_goes_on_where_it_was(
    action, source, target, journal, small_marks, monkeypatch
):
    source.mset({f"key {n}": n for n in range(2_000)})
    target.set("foreign", 1)
    journal.stop_after = 5
    first = action.plan(action.observe())
    with pytest.raises(Stopped):
        action.apply(first, journal)
    assert 0 < target.dbsize() < 2_000
    begun: list[transfer.Part] = []
    real = transfer.transfer
    monkeypatch.setattr(
        copy, "transfer", lambda s, t, p, e, r: (begun.append(p), real(s, t, p, e, r))
    )
    journal.stop_after = None
    again = make(action, journal)
    assert "goes on" in again.reason
    assert begun
    assert all(part.cursor is not None for part in begun)
    assert everything(action).counts.keys() <= {comparing.Kind.EXTRA}
    action.undo(again, journal)
    action.undo(first, journal)
    assert target.keys() == [b"foreign"]


def test_a_cursor_of_an_earlier_life_of_the_source_is_not_used(
    action, source, target, journal, small_marks
):
    source.mset({f"key {n}": n for n in range(500)})
    change = action.plan(action.observe())
    journal.stop_after = 3
    with pytest.raises(Stopped):
        action.apply(change, journal)
    for mark in journal.kept.values():
        mark["run"], mark["cursor"] = "another", None
    journal.stop_after = None
    make(action, journal)
    assert everything(action).equal


def test_a_key_changed_on_the_target_during_an_interruption_is_a_conflict(
    action, source, target, journal, small_marks
):
    source.mset({f"key {n}": n for n in range(500)})
    change = action.plan(action.observe())
    journal.stop_after = 2
    with pytest.raises(Stopped):
        action.apply(change, journal)
    for key in target.scan_iter("key *"):
        target.append(key, "changed")
    journal.kept.clear()
    journal.stop_after = None
    with pytest.raises(ExistingKeys):
        make(action, journal)


def test_undo_leaves_what_was_there(action, source, target, journal):
    fill(source)
    target.mset({"plain": "value", "foreign": 1})
    change = make(action, journal)
    stored = Change.from_json(change.to_json())
    action.undo(stored, journal)
    assert set(target.keys()) == {b"plain", b"foreign"}
    action.undo(stored, journal)
    assert set(target.keys()) == {b"plain", b"foreign"}


@pytest.mark.parametrize("of", [1, 2, 4, 8])
def test_parts_of_a_scan_cover_every_key(source, redis_source_url, of):
    source.mset({f"key {n}": n for n in range(3_000)})
    seen: set[bytes] = set()
    for part in range(of):
        with Link(Server.from_url(redis_source_url)) as link:
            for _, keys in keyspace.slices(link, part, of):
                seen.update(keys)
    assert len(seen) == 3_000


def test_a_source_without_keys_needs_nothing(action, journal):
    assert make(action, journal).kind is ChangeKind.NONE


def test_refused_connections_are_told_with_their_address(redis_target_url):
    action = CopyKeys("redis://127.0.0.1:1", redis_target_url)
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:1") as caught:
        action.observe()
    assert caught.value.transient
    assert caught.value.remedy


def test_a_wrong_password_is_told_and_never_shown(source, redis_source_url, redis_target_url):
    source.acl_setuser("guest", enabled=True, passwords=["+right"], keys="*", commands=["+@all"])
    url = redis_source_url.replace("redis://", "redis://guest@")
    action = CopyKeys(url, redis_target_url, source_password="hunter2")
    with pytest.raises(AccessRefused) as caught:
        action.observe()
    source.acl_deluser("guest")
    assert "hunter2" not in f"{caught.value} {action.source!r} {action.subject}"
    assert not isinstance(caught.value, ServerUnreachable)


@pytest.mark.parametrize("url", ["http://a", "redis://", "redis://a:x", "nonsense"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(SettingsError, match="URL"):
        CopyKeys(url, "redis://127.0.0.1")


def test_a_full_target_is_told(action, source, target, journal):
    source.set("large", "x" * 5_000_000)
    target.config_set("maxmemory", "2mb")
    try:
        with pytest.raises(MigrationError, match="full"):
            make(action, journal)
    finally:
        target.config_set("maxmemory", "0")


def test_differences_are_a_verification_error(action, source, redis_source_url, redis_target_url):
    source.set("here", 1)
    with pytest.raises(MigrationError, match="1 missing"):
        require_equal(compare(action.source, action.target))


def test_a_database_that_the_target_lacks_is_found_in_the_plan(action, source, monkeypatch):
    monkeypatch.setattr(copy, "can_select", lambda server, number: False)
    with redis.Redis.from_url(f"redis://{action.source.address}/3") as other:
        other.set("a", 1)
    with pytest.raises(MigrationError, match="database 3"):
        action.plan(action.observe())
