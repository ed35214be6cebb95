"""The whole migration by the other ways: connector, encryption, readers, a backup, Vertex AI."""

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


VERTEX = """
[vectors]
backend = "vertex"
"""


@pytest.mark.full_chaos
def test_vertex_searches_and_is_taken_back(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, ENVIRONMENT + VERTEX)
    try:
        rehearsal.run()
        rehearsal.run("--detect-drift")
        rehearsal.run("--rollback")
        rehearsal.run()
    finally:
        rehearsal.remove()


PSC = """
[alloydb]
ip_type = "PSC"
connection = "{connection}"
read_pool_nodes = {nodes}
"""


@pytest.mark.full_chaos
@pytest.mark.parametrize(("connection", "nodes"), [("direct", 1), ("connector", 0)])
def test_rows_move_by_an_endpoint_of_private_service_connect(
    tmp_path: Path, connection: str, nodes: int
) -> None:
    rehearsal = Rehearsal(tmp_path, ENVIRONMENT + PSC.format(connection=connection, nodes=nodes))
    try:
        rehearsal.run("--dry-run")
        rehearsal.run()
        endpoint, address = "Private Service Connect endpoint", "internal address"
        primary = "AlloyDB instance agent-storage-primary"
        assert f"create {endpoint} agent-storage-primary-psc" in rehearsal.said
        rehearsal.run("--detect-drift")
        rehearsal.run()
        assert "create " not in rehearsal.said
        rehearsal.run("--rollback")
        undone = [rehearsal.said.index(f"undo: create {each}") for each in (
            f"{endpoint} agent-storage-primary-psc", f"{address} agent-storage-primary-psc", primary
        )]  # fmt: skip
        assert undone == sorted(undone)
    finally:
        rehearsal.remove()
