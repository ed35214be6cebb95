"""The whole migration by the other ways: connector, encryption, readers, IAM users, a backup."""

from pathlib import Path

import pytest

from tests.chaos.test_rehearsal import ENVIRONMENT, Rehearsal

VARIANT = """
[alloydb]
connection = "connector"
ip_type = "PUBLIC"
read_pool_nodes = 1
iam_users = ["someone@example.com"]
backup = "after-migration"
[redis]
transit_encryption = "SERVER_AUTHENTICATION"
[data_migration]
mode = "{mode}"
"""


@pytest.mark.full_chaos
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_every_byte_takes_the_other_way(tmp_path: Path, mode: str) -> None:
    rehearsal = Rehearsal(tmp_path, ENVIRONMENT + VARIANT.format(mode=mode))
    try:
        rehearsal.run()
        rehearsal.run("--detect-drift")
    finally:
        rehearsal.remove()
