"""The main job as a hostile user drives it: one clear message, nothing half-made, and recovery."""

import json
import sqlite3
import sys
from contextlib import closing

import psycopg
import pytest
import redis

from lib.environments import load_settings
from lib.errors import SettingsError
from lib.orchestra import limits
from lib.postgres.dump import parse
from tests.cloud.matrix.cells import uncovered
from tests.main_job.conftest import SMALL, MainJob, Migrated

ONCE = (
    "Projects/GetProject", "Projects/GetIamPolicy", "ServiceUsage/BatchGetServices",
    "IAM/GetServiceAccount", "Networks/Get", "Subnetworks/Get", "GlobalAddresses/Get",
    "ServicePeeringManager/ListConnections", "AlloyDBAdmin/GetCluster",
    "AlloyDBAdmin/GetInstance", "Services/GetIamPolicy", "Workstations/GetWorkstation",
    "Workstations/GetWorkstationCluster", "Workstations/GetWorkstationConfig",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[source]\npostgresql = "postgres//me:hidden@h/x"', "source.postgresql"),
        ('[source]\npostgresql = "postgresql://me:hidden@h:port/x"', "source.postgresql"),
        ('[source]\nredis = "h:6379"', "source.redis"),
        ('[source]\nredis = "redis://:hidden@["', "source.redis"),
        ("[source]\nsample_scale = 1000", "source.sample_scale"),
        ("[criteria]\napi_samples = 20", "criteria.api_samples is 20"),
        ("[criteria]\nworkstation_cold_starts = 1", "criteria.workstation_cold_starts"),
        ("[breaker]\nfailure_rate_threshold = 200", "breaker.failure_rate_threshold"),
        ('[alloydb]\ndatabase = "postgres"', "alloydb.database"),
        ('[alloydb]\napplication_role = "pg_monitor"', "alloydb.application_role"),
    ],
)
def test_a_setting_that_can_not_be_used_is_refused_before_anything_is_made(tmp_path, text, told):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        limits.check(load_settings(path))
    assert told in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_refused_setting_leaves_no_state(job: MainJob, tmp_path):
    job.write("wrong", '[source]\nredis = "localhost:6379"')
    seen = job.command(
        sys.executable, "-m", "pytest", "phases/", "--env", "wrong", ORCHESTRA_STATE=str(tmp_path)
    )
    assert seen.code == 4
    assert "ERROR: source.redis is no URL of that kind" in seen.text
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_any_object_has_no_entries():
    assert parse("--\n-- PostgreSQL database dump\n--\n\nSET lock_timeout = 0;\n") == ()


def test_what_a_failed_creation_left_is_not_in_the_way_of_the_next_run(migrated: Migrated):
    assert migrated.obstructed.code == 1
    assert "agent-storage-primary" in migrated.obstructed.text
    assert "Traceback" not in migrated.obstructed.text
    assert migrated.finished.code == 0, migrated.finished.text


def test_a_dry_run_of_a_half_done_migration_makes_no_mutating_call(migrated: Migrated):
    assert migrated.looked.code == 0
    assert "create AlloyDB instance agent-storage-primary" in migrated.looked.text
    assert migrated.calls["mutating"] == {}
    assert migrated.calls["reading"]


def test_every_call_that_changes_something_is_in_the_fault_matrix(migrated: Migrated):
    assert len(migrated.made) > 20
    assert uncovered(migrated.made) == []


def test_a_plan_reads_each_resource_once(migrated: Migrated, tmp_path):
    """Also where no checkpoint says that it is done."""
    migrated.job.cloud_calls()
    seen = migrated.job.pytest("phases/", "--dry-run", "--checkpoint", str(tmp_path / "fresh.db"))
    assert seen.code == 0
    assert "create " not in seen.text
    calls = migrated.job.cloud_calls()
    assert calls["mutating"] == {}
    found = {each.rpartition(".")[2]: number for each, number in calls["reading"].items()}
    assert {each: found.get(each) for each in ONCE} == dict.fromkeys(ONCE, 1), found


def databases(job: MainJob) -> tuple[str, str, list[str]]:
    """URLs of the source's and the target's administrators, and of both Redis servers."""
    told = job.command(sys.executable, "-m", "lib.sample", "status").text.split()
    source = next(each for each in told if each.startswith("postgresql://"))
    memory_source = next(each for each in told if each.startswith("redis://"))
    store = sqlite3.connect(job.state / "small.db")
    with closing(store):
        rows = store.execute("select step, outputs from orchestra_checkpoints")
        outputs = {step: json.loads(text) for step, text in rows}
    memory = outputs["agent-memory"]
    return (
        source,
        outputs["agent-storage-primary"]["address"],
        [memory_source, f"redis://{memory['host']}:{memory['port']}"],
    )


def test_a_dry_run_of_a_finished_migration_writes_into_no_database(migrated: Migrated):
    """Both databases refuse every write meanwhile, and both Redis servers count commands."""
    job = migrated.job
    source, target, redis_urls = databases(job)
    password = secret(job, "agent-storage-admin-password")
    connections = [
        psycopg.connect(source, autocommit=True),
        psycopg.connect(
            host=target, user="postgres", password=password, dbname="postgres", autocommit=True
        ),
    ]
    auth = [None, secret(job, "agent-memory-auth")]
    clients = [redis.Redis.from_url(u, password=p) for u, p in zip(redis_urls, auth, strict=True)]
    try:
        read_only(connections, "on")
        for client in clients:
            client.config_resetstat()
        job.cloud_calls()
        seen = job.pytest("phases/", "--dry-run", "--refresh")
        assert seen.code == 0, seen.text
        assert "no drift" in seen.text, seen.text
        assert job.cloud_calls()["mutating"] == {}
        for client in clients:
            assert not written(client)
    finally:
        read_only(connections, "off")
        for each in (*connections, *clients):
            each.close()


def read_only(connections: list[psycopg.Connection], value: str) -> None:
    for each in connections:
        each.execute("set default_transaction_read_only = off")
        each.execute(f"alter system set default_transaction_read_only = {value}")
        each.execute("select pg_reload_conf()")


def written(client: redis.Redis) -> list[str]:
    """The write commands that a server has run since its statistics were reset."""
    ran = [name.removeprefix("cmdstat_") for name in client.info("commandstats")]
    about = client.command()
    return [name for name in ran if "write" in about.get(name.split("|")[0], {}).get("flags", [])]


def secret(job: MainJob, name: str) -> str:
    """A secret's value, from the embedded cloud's Secret Manager."""
    from lib.orchestra.platform import Platform

    path = job.checkout / "environments" / "small.toml"
    platform = Platform(load_settings(path), job.state)
    try:
        return platform.secret(name)
    finally:
        platform.close()


def test_a_dry_run_of_a_finished_migration_writes_nothing(migrated: Migrated):
    store = migrated.job.state / "small.db"

    def rows() -> list[object]:
        with closing(sqlite3.connect(store)) as connection:
            names = ("runs", "checkpoints", "history", "journal")
            return [
                connection.execute(f"select * from orchestra_{name}").fetchall() for name in names
            ]

    before = rows()
    seen = migrated.job.pytest("phases/", "--dry-run")
    assert seen.code == 0
    assert "Plan: nothing to do." in seen.text
    assert rows() == before


def test_one_changed_setting_makes_only_its_readers_pending(migrated: Migrated, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL + "[redis]\nmemory_gb = 6\n")
    seen = migrated.job.pytest("phases/", "--dry-run", env=str(path))
    assert seen.code == 0
    assert "update Redis instance agent-memory" in seen.text
    assert "project  [done]" in seen.text
    assert "rows  [done]" in seen.text


def test_criteria_fail_where_nothing_is_measured(migrated: Migrated):
    seen = migrated.job.pytest("validation/", "--benchmark-disable", "-k", "1_the or 3_agent")
    assert seen.code == 10
    assert "0 of 1 samples" in seen.text


def test_a_criterion_that_is_left_out_is_skipped_with_its_reason(migrated: Migrated, tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL + 'left_out = ["5"]\n')
    seen = migrated.job.pytest("validation/", "-k", "5_vector", "-rs", env=str(path))
    assert seen.code == 0
    assert "is left out: [criteria] left_out names it" in " ".join(seen.text.split())


def test_the_script_finds_what_its_caller_means_from_any_folder(migrated: Migrated, tmp_path):
    (tmp_path / "mine.toml").write_text("target = 'amazon'")
    script = str(migrated.job.checkout / "run_unified_migration.sh")
    for option in (["--env", "mine.toml"], ["--env=mine.toml"]):
        seen = migrated.job.command(script, "--full", "--dry-run", *option, cwd=tmp_path)
        assert seen.code == 4
        assert f"{tmp_path}/mine.toml: target is 'amazon'" in seen.text
    seen = migrated.job.command(script, "--env=", cwd=tmp_path)
    assert seen.code == 4
    assert "--env needs a value." in seen.text


def test_what_somebody_deleted_is_drift_and_is_made_again(migrated: Migrated):
    from lib.orchestra.platform import Platform

    path = migrated.job.checkout / "environments" / "small.toml"
    platform = Platform(load_settings(path), migrated.job.state)
    try:
        settings = platform.settings
        workstation = platform.cloud.workstation(settings.project, settings.workstations)
        platform.cloud.clients.get("workstations").delete_workstation(
            name=workstation.name
        ).result()
    finally:
        platform.close()
    seen = migrated.job.pytest("phases/", "--detect-drift")
    assert seen.code == 11
    assert "first-workstation has drifted: create workstation" in seen.text
    seen = migrated.job.pytest("phases/test_2_infrastructure.py", "--refresh")
    assert seen.code == 0
    assert "drifted: first-workstation" in seen.text
    assert migrated.job.pytest("phases/", "--detect-drift").code == 0


def test_a_finished_migration_gone_through_again_changes_nothing(migrated: Migrated):
    seen = migrated.job.pytest("phases/test_2_infrastructure.py", "phases/test_3_database.py",
                               "--fresh")  # fmt: skip
    assert seen.code == 0, seen.text
    changes = [
        line for line in seen.text.splitlines() if ": create " in line or ": delete " in line
    ]
    assert changes == []
    assert "already right: rows of orchestra into orchestra" in seen.text


def test_everything_can_be_taken_back_and_the_source_is_as_it_was(migrated: Migrated):
    source, _, redis_urls = databases(migrated.job)
    with psycopg.connect(source) as connection:
        before = connection.execute("select count(*) from agents").fetchone()
    seen = migrated.job.pytest("phases/", "--rollback")
    assert seen.code == 0, seen.text
    assert "steps rolled back" in seen.text
    told = migrated.job.command(sys.executable, "-m", "lib.localcloud", "status", "--json").text
    left = {(each["kind"], each["state"]) for each in json.loads(told)["resources"]}
    # The default network was not made by the migration: it came with the project.
    assert left == {("Project", "DELETE_REQUESTED"), ("Network", ""), ("Subnetwork", "")}
    with psycopg.connect(source) as connection:
        assert connection.execute("select count(*) from agents").fetchone() == before
    with redis.Redis.from_url(redis_urls[0]) as client:
        assert client.dbsize()
