"""Phase 7, Finalization: cleanup, an inventory of what now exists, and the reports."""

from dataclasses import asdict

import pytest

pytestmark = pytest.mark.finalization


@pytest.mark.component("cleanup")
@pytest.mark.dependency(
    name="leftovers-removed", depends=["criteria", "closed-doors"], scope="session"
)
def test_the_runs_leave_nothing_behind(step, relational):
    """What the runs needed for themselves is gone from source and target."""
    if relational is None:
        return step.note("no PostgreSQL source: nothing was left behind")
    step.make(relational.replication_removed())
    step.make(relational.bookkeeping_removed())


@pytest.mark.component("cleanup")
@pytest.mark.dependency(name="backup", depends=["leftovers-removed"], scope="session")
def test_what_was_moved_is_backed_up(step, settings, cloud):
    """A backup of AlloyDB cluster agent-storage stands, where the settings name one."""
    if not settings.alloydb.backup:
        return step.note("no backup is wanted (alloydb.backup)")
    step.make(cloud.alloydb_backup(settings.project, settings.alloydb))


@pytest.mark.component("documentation-update")
@pytest.mark.dependency(name="inventory-written", depends=["backup"], scope="session")
def test_the_inventory_is_written(step, settings, cloud, platform):
    """reports/INVENTORY.md says what now exists and how to connect to it."""
    from lib.orchestra.documents import connections, inventory_file

    rows = step.check("inventory", lambda: connections(cloud, settings), writes=True)
    step.make(inventory_file(rows, platform))
    step.publish(connections=[asdict(row) for row in rows])


@pytest.mark.component("report-generation")
@pytest.mark.dependency(name="report-written", depends=["inventory-written"], scope="session")
def test_the_report_is_written(step, migration):
    """reports/migration.json holds every step and criterion; HTML and JUnit follow at the end."""
    from lib.orchestra.documents import write_steps

    steps, rows = migration.finished_steps(step.name), step.output("criteria", "rows")
    step.check("reports/migration.json", lambda: write_steps(steps, rows), writes=True)
