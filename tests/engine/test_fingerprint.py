"""Fingerprints: equal for equal values in any process; what was read is known by its path."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.engine.fingerprint import Tracked, digest, lookup
from lib.engine.unknown import Unknown, UnknownUntilApplied


@dataclass(frozen=True)
class Disk:
    gb: int = 10
    kind: str = "ssd"


@dataclass(frozen=True)
class Settings:
    name: str = "x"
    disk: Disk = Disk()


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_the_order_of_keys_does_not_count(value):
    assert digest(value) == digest(dict(reversed(value.items())))


def test_a_set_has_one_digest_in_every_process():
    code = (
        "from lib.engine.fingerprint import digest; print(digest(frozenset(map(str, range(99)))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_only_what_is_read_is_told_with_its_path():
    read: dict[str, object] = {}
    settings = Tracked(Settings(), read.__setitem__)
    disk = settings.disk
    assert read == {}
    assert disk.gb == 10
    assert read == {"disk.gb": 10}
    assert lookup(Settings(), "disk.gb") == 10
    with pytest.raises(AttributeError):
        lookup(Settings(), "disk.colour")


@pytest.mark.parametrize(
    "use",
    [
        str, int, float, bool, len, list, hash, range,
        lambda u: u == 1, lambda u: u != 1, lambda u: u < 1, lambda u: u >= 1, lambda u: u <= 1,
        lambda u: u + 1, lambda u: 1 + u, lambda u: u // 2, lambda u: 2 / u, lambda u: u[0],
        lambda u: 1 in u, lambda u: u(), lambda u: f"{u}",
    ],
)  # fmt: skip
def test_a_value_that_is_not_known_yet_cannot_be_used(use):
    with pytest.raises(UnknownUntilApplied, match=r"project\.number"):
        use(Unknown("project").number)
