"""docs/monitoring.md and its files against a running API, PostgreSQL and Valkey."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from lib.runtime.binaries import psql_path
from lib.vectors.search_settings import SearchSettings, write
from tests.api.api_process import TOKEN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/monitoring.md").read_text()
FILES = ROOT / "docs/monitoring"
TUNED = SearchSettings(
    "public", "memories", "embedding", "memories_embedding_idx", "hnsw", "l2", "",
    "hnsw.ef_search", 40, 10, 0.95, 0.99, 1.0, 2.0, 3.0, 200,
)  # fmt: skip


@pytest.fixture(scope="module")
def metrics(start_api, platform_url, valkey_source) -> dict[str, str]:
    """Name and type of every metric of a running API."""
    api = start_api(platform_url, valkey_source)
    text = httpx.get(f"{api.url}/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))


def test_the_page_describes_exactly_the_metrics_there_are(metrics):
    assert set(re.findall(r"^\| `(api_\w+)` \|", PAGE, re.M)) == set(metrics)


def test_alerts_are_yaml_and_ask_for_metrics_there_are(metrics):
    yaml = pytest.importorskip("yaml")
    (group,) = yaml.safe_load((FILES / "alerts.yml").read_text())["groups"]
    assert len(group["rules"]) >= 5
    for rule in group["rules"]:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        asked = set(re.findall(r"\bapi_\w+", rule["expr"]))
        for name in asked:
            base = name.removesuffix("_bucket")
            assert base in metrics, name
            assert (metrics[base] == "histogram") == name.endswith("_bucket"), name
        assert asked or "up{" in rule["expr"]


def test_the_scrape_configuration_is_yaml_and_names_what_exists(metrics):
    yaml = pytest.importorskip("yaml")
    scrape = yaml.safe_load((FILES / "prometheus.yml").read_text())
    assert [(FILES / each).is_file() for each in scrape["rule_files"]] == [True]
    (job,) = scrape["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert f'job="{job["job_name"]}"' in (FILES / "alerts.yml").read_text()


def test_every_query_runs_and_shows_the_vector_index(platform_url):
    with psycopg.connect(platform_url, autocommit=True) as connection:
        write(connection, TUNED)
    done = subprocess.run(
        [psql_path(), "-X", "-v", "ON_ERROR_STOP=1", "-d", platform_url,
         "-f", FILES / "database.sql"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"memories *\| memories_embedding_idx *\| hnsw .*\| t\n", done.stdout)
    assert re.search(r"memories *\| embedding *\| hnsw.ef_search *\| +40 ", done.stdout)


def test_the_queries_only_read():
    text = re.sub(r"^(--|\\echo).*$", "", (FILES / "database.sql").read_text(), flags=re.M)
    statements = [each.strip() for each in text.split(";") if each.strip()]
    assert len(statements) == (FILES / "database.sql").read_text().count("\\echo")
    assert {each.split()[0] for each in statements} == {"select"}


def test_redis_has_every_field_that_the_page_asks_for(redis_source_url):
    (command,) = re.findall(r"^(python -c 'import os, redis.*?)\n```", PAGE, re.M | re.S)
    host = redis_source_url.removeprefix("redis://").partition("/")[0]
    name, _, port = host.partition(":")
    command = command.replace("redis.Redis(sys.argv[1],", f"redis.Redis(sys.argv[1], {port},")
    command = command.replace("python -c", f"{sys.executable} -c")
    environment = {**os.environ, "REDIS": name, "REDIS_PASSWORD": ""}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with redis.Redis.from_url(redis_source_url) as client:
        assert "maxmemory_policy" in client.info()
    assert re.search(r"^role master$", done.stdout, re.M)


@pytest.mark.parametrize("code, begins", [(0, ""), (10, "BREACHED"), (4, "NOT MEASURED")])
def test_the_schedule_is_silent_unless_something_is_wrong(tmp_path, code, begins):
    """The script's own part: what it calls, says and exits with, by a pytest that only answers."""
    called = tmp_path / "called"
    pytest_stand_in = tmp_path / "python"
    pytest_stand_in.write_text(
        f'#!/bin/sh\necho "$@" > {called}\necho what was said\nexit {code}\n'
    )
    pytest_stand_in.chmod(0o755)
    done = subprocess.run(
        [FILES / "criteria.sh", "staging", "-k", "api"],
        env={**os.environ, "PYTHON": str(pytest_stand_in)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code
    assert done.stdout.startswith(begins)
    assert ("what was said" in done.stdout) == (code != 0)
    assert "--env staging --benchmark-only" in called.read_text()
    assert called.read_text().endswith("-k api\n")


def test_a_secret_of_an_unknown_environment_is_refused_without_a_traceback():
    done = subprocess.run(
        [sys.executable, FILES / "secret.py", "agent-api-token", "--env", "nosuch"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no environment 'nosuch'.")
