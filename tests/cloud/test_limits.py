"""Settings that Google would refuse are refused first, with the reason."""

import dataclasses

import pytest

from lib.cloud import limits
from lib.errors import SettingsError
from lib.settings import Settings

REFUSED = [
    ("workstations", {"machine_type": "n2d-standard-32"}, "series n1"),
    ("workstations", {"machine_type": "big"}, "as n1-standard-16"),
    ("workstations", {"accelerator": "nvidia-l4", "accelerator_count": 1}, "g2-standard"),
    ("workstations", {"accelerator_count": 3}, "1, 2, 4"),
    ("workstations", {"accelerator_count": 1, "machine_type": "n1-standard-64"}, "at most 48"),
    ("workstations", {"accelerator": "nvidia-t4"}, "nvidia-tesla-t4"),
    ("workstations", {"accelerator": "nvidia-tesla-p100", "accelerator_count": 1,
                      "machine_type": "n1-standard-32"}, "at most 16"),
    ("workstations", {"accelerator": "nvidia-l4", "accelerator_count": 2,
                      "machine_type": "g2-standard-48"}, "4, as g2-standard-48 has"),
    ("workstations", {"accelerator": "nvidia-tesla-a100", "accelerator_count": 1,
                      "machine_type": "a2-ultragpu-1g"}, "a2-highgpu or a2-megagpu"),
    ("workstations", {"boosts": {"Big": "n1-standard-32"}}, "lower-case"),
    ("workstations", {"boosts": {"big": "n1-standard-32 with GPUs"}}, "MACHINE with COUNT GPU"),
    ("workstations", {"boosts": {"big": "n1-standard-64 with 1 nvidia-tesla-t4"}}, "at most 48"),
    ("workstations", {"disk_gb": 150}, "100, 200"),
    ("network", {"subnetwork_range": "8.8.0.0/16"}, "10.0.0.0/8"),
    ("network", {"subnetwork_range": "10.0.0.1/16"}, "10.0.0.0/8"),
    ("network", {"subnetwork_range": "10.0.0.0/27"}, "/26 or larger"),
    ("network", {"services_prefix": 25}, "8 to 24"),
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
]  # fmt: skip


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
        ("a2-megagpu-16g", "nvidia-tesla-a100", 16),
        ("a2-ultragpu-2g", "nvidia-a100-80gb", 2),
        ("a3-highgpu-8g", "nvidia-h100-80gb", 8),
        ("n1-custom-6-20480", "nvidia-tesla-v100", 1),
        ("e2-standard-4", "", 0),
    ],
)
def test_pairs_that_exist_are_accepted(machine, gpu, count):
    boosts = {"same": f"{machine} with {count} {gpu}" if gpu else machine}
    chosen = dataclasses.replace(
        Settings().workstations,
        machine_type=machine, accelerator=gpu, accelerator_count=count, boosts=boosts,
    )  # fmt: skip
    limits.check(dataclasses.replace(Settings(), workstations=chosen))


@pytest.mark.parametrize("cidr", ["10.0.0.0/26", "172.16.0.0/12", "100.64.0.0/16"])
def test_ranges_that_a_subnetwork_may_have_are_accepted(cidr):
    network = dataclasses.replace(Settings().network, subnetwork_range=cidr)
    limits.check(dataclasses.replace(Settings(), network=network))
