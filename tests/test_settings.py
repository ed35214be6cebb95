"""Environment files: read whole, or refused with file, key and accepted values."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.environments import environment_file, load_settings
from lib.errors import SettingsError
from lib.settings import ROOT, Settings


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_settings(path)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "environments").glob("*.toml")), ids=lambda p: p.stem
)
def test_every_environment_of_the_project_loads(path):
    assert isinstance(load_settings(path), Settings)
    assert environment_file(path.stem) == path


def test_an_empty_file_means_the_defaults(tmp_path):
    assert read(tmp_path, "") == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("targt = 'auto'", "unknown key 'targt' (did you mean 'target'?)"),
        ("target = 'amazon'", "'auto', 'embedded', 'google'"),
        ("target = 3", "target is 3"),
        ("protected = 'yes'", "true or false"),
        ("[redis]\nmemory_gb = '5'", "redis.memory_gb is '5'"),
        ("[redis]\nmemory_gb = -5", "a number not below 0"),
        ("[criteria]\napi_p99_ms = nan", "criteria.api_p99_ms is nan"),
        ("[criteria]\napi_p99_ms = inf", "criteria.api_p99_ms is inf"),
        ("[criteria]\napi_p99_ms = '5'", "a number"),
        ("[project]\nid = 2026-01-01", "a string"),
        ("[[redis]]\nmemory_gb = 5", "a section [redis]"),
        ("[redis]\nmemory_gb = true", "a whole number"),
        ("redis = 5", "a section [redis]"),
        ("[redis]\nmemory = 5", "did you mean 'memory_gb'?"),
        ("[data_migration]\nexclude_tables = 'a'", "a list of strings"),
        ("[project]\nlabels = { a = 1 }", "a table of strings"),
        ("[project", "the file can't be read"),
        ("[data_migration]\nworkers = 0", "data_migration.workers is 0"),
        ("[vectors]\nrecall_target = 5.0", "not above 1"),
        ("[criteria]\napi_samples = 20", "criteria.api_samples is 20"),
        ("[criteria]\nworkstation_cold_starts = 1", "3 to 1,000"),
        ("[breaker]\nfailure_rate_threshold = 200.0", "1 to 100"),
        ("[breaker]\nsliding_window_size = 0", "1 to 1,000,000"),
        ("[criteria]\nleft_out = ['8']", "numbers of criteria"),
    ],
)
def test_what_is_wrong_is_named_with_the_file_and_what_is_accepted(tmp_path, text, told):
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, text)
    assert told in str(raised.value)
    assert "mine.toml" in str(raised.value)


def test_a_value_that_may_hold_a_secret_is_not_repeated(tmp_path):
    with pytest.raises(SettingsError) as raised:
        read(tmp_path, "target = 'postgresql://me:pass-word@host/db'")
    assert "pass-word" not in str(raised.value)


def test_an_unknown_environment_suggests_a_near_one():
    with pytest.raises(SettingsError, match="did you mean 'staging'"):
        environment_file("stagin")
    with pytest.raises(SettingsError, match="There is no environment file"):
        environment_file("no/such.toml")


@given(st.integers(0, 10**6), st.floats(0, 1e6), st.booleans(), st.sampled_from(["hnsw", "scann"]))
def test_what_is_written_is_what_is_read(tmp_path_factory, memory, rate, protected, method):
    settings = read(
        tmp_path_factory.mktemp("settings"),
        f"protected = {str(protected).lower()}\n[redis]\nmemory_gb = {memory}\n"
        f"[data_migration]\nrate_mb_per_second = {rate!r}\n[vectors]\nmethod = '{method}'\n",
    )
    assert settings.redis.memory_gb == memory
    assert settings.data_migration.rate_mb_per_second == rate
    assert (settings.protected, settings.vectors.method) == (protected, method)
    assert dataclasses.replace(settings, protected=False).project == Settings().project


def test_the_reference_pages_are_up_to_date():
    check = [sys.executable, "docs/generate.py", "--check"]
    told = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
