"""Settings that Google would refuse are refused first, with the reason."""

import dataclasses

import pytest

from lib.cloud import limits
from lib.errors import SettingsError
from lib.settings import Settings

REFUSED = [
    ("workstations", {"machine_type": "n2d-standard-32"}, "family n1"),
    ("workstations", {"accelerator": "nvidia-l4", "accelerator_count": 1}, "family g2"),
    ("workstations", {"accelerator_count": 3}, "1, 2, 4"),
    ("workstations", {"accelerator_count": 1, "machine_type": "n1-standard-64"}, "at most 48"),
    ("workstations", {"accelerator": "nvidia-t4"}, "nvidia-tesla-t4"),
    ("workstations", {"disk_gb": 150}, "100, 200"),
    ("workstations", {"cluster": "AI"}, "lower-case"),
    ("alloydb", {"cpu_count": 3}, "2, 4, 8"),
    ("alloydb", {"read_pool_nodes": 21}, "0 to 20"),
    ("alloydb", {"ip_type": "PSC", "primary": "p" * 60}, "1 to 59"),
    ("alloydb", {"backup": "Before Cutover"}, "lower-case"),
    ("alloydb", {"iam_users": ("user:a@example.com",)}, "addresses of principals"),
    ("redis", {"memory_gb": 301}, "1 to 300"),
    ("redis", {"version": "REDIS_9"}, "REDIS_7_2"),
    ("project", {"id": "short"}, "6 to 30"),
    ("project", {"zone": "europe-west1-b"}, "us-central1"),
    ("project", {"organization": "example.com"}, "number"),
    ("api", {"max_instances": 0}, "at least 1"),
    ("api", {"invoker": "everyone"}, "allUsers"),
    ("vertex", {"machine_type": "n2-standard-2"}, "e2-standard-16"),
    ("vertex", {"shard_size": "SHARD_SIZE_LARGE"}, "SHARD_SIZE_SMALL on e2-standard-2"),
    ("vertex", {"distance": "SQUARED_L2_DISTANCE"}, "COSINE_DISTANCE with metric cosine"),
    ("vertex", {"min_replicas": 3}, "3 to 1000"),
    ("vertex", {"leaf_percent": 101}, "1 to 100"),
    ("vertex", {"endpoint": ""}, "1 to 128"),
]


@pytest.mark.parametrize("section, values, reason", REFUSED)
def test_what_google_refuses_is_refused(section, values, reason):
    changed = dataclasses.replace(getattr(Settings(), section), **values)
    with pytest.raises(SettingsError, match=section) as caught:
        limits.check(dataclasses.replace(Settings(), **{section: changed}))
    assert reason in str(caught.value)


def test_what_is_in_private_service_connect_follows_no_source():
    settings = Settings()
    psc = dataclasses.replace(settings.alloydb, ip_type="PSC")
    online = dataclasses.replace(settings.data_migration, mode="online")
    limits.check(dataclasses.replace(settings, alloydb=psc))
    with pytest.raises(SettingsError, match="reaches no source"):
        limits.check(dataclasses.replace(settings, alloydb=psc, data_migration=online))


@pytest.mark.parametrize(
    "machine, gpu, count",
    [
        ("n1-standard-16", "nvidia-tesla-t4", 2),
        ("g2-standard-24", "nvidia-l4", 2),
        ("a2-highgpu-4g", "nvidia-tesla-a100", 4),
        ("a3-highgpu-8g", "nvidia-h100-80gb", 8),
        ("e2-standard-4", "", 0),
    ],
)
def test_pairs_that_exist_are_accepted(machine, gpu, count):
    chosen = dataclasses.replace(
        Settings().workstations, machine_type=machine, accelerator=gpu, accelerator_count=count
    )
    limits.check(dataclasses.replace(Settings(), workstations=chosen))
