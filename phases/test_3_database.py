"""Phase 3, Database: AlloyDB, the schema, and the data of PostgreSQL and Redis."""

import pytest

pytestmark = pytest.mark.database


@pytest.mark.component("alloydb-setup")
@pytest.mark.dependency(name="agent-storage", depends=["network"], scope="session")
def test_agent_storage_exists(step, settings, cloud, platform):
    """AlloyDB cluster agent-storage exists; its administrator's password is in Secret Manager."""
    from lib.orchestra.platform import ADMIN_PASSWORD, new_secret

    step.make(cloud.secret(ADMIN_PASSWORD, new_secret))
    step.make(
        cloud.alloydb_cluster(
            settings.project,
            settings.network,
            settings.alloydb,
            lambda: platform.secret(ADMIN_PASSWORD),
        )
    )


@pytest.mark.component("alloydb-setup")
@pytest.mark.dependency(name="agent-storage-primary", depends=["agent-storage"], scope="session")
def test_agent_storage_has_a_primary_instance(step, settings, cloud):
    """AlloyDB cluster agent-storage has a primary instance, and an endpoint where it needs one."""
    from lib.orchestra.reach import address_of

    primary = step.make(cloud.alloydb_instance(settings.project, settings.alloydb))
    step.publish(address=address_of(step, cloud, settings, settings.alloydb.primary, primary))


@pytest.mark.component("alloydb-setup")
@pytest.mark.dependency(
    name="agent-storage-readers", depends=["agent-storage-primary"], scope="session"
)
def test_agent_storage_has_its_readers(step, settings, cloud):
    """AlloyDB cluster agent-storage has the read pool that the settings want, if any."""
    if not settings.alloydb.read_pool_nodes:
        return step.note("no read pool is wanted (alloydb.read_pool_nodes)")
    from lib.orchestra.reach import address_of

    readers = step.make(cloud.alloydb_read_pool(settings.project, settings.alloydb))
    step.publish(address=address_of(step, cloud, settings, settings.alloydb.read_pool, readers))


@pytest.mark.component("alloydb-setup")
@pytest.mark.dependency(name="database", depends=["agent-storage-primary"], scope="session")
def test_the_database_exists(step, settings, platform):
    """The primary instance has the database that the rows will live in."""
    from lib.orchestra.relational import create_database

    server = platform.database(step, "postgres")
    step.make(create_database(server, settings.alloydb.database))


@pytest.mark.component("alloydb-setup")
@pytest.mark.dependency(
    name="extensions", depends=["database", "source-postgresql"], scope="session"
)
def test_the_extensions_are_there(step, relational):
    """The database has every extension that the source uses."""
    if relational is None:
        return step.note("no PostgreSQL source: no extensions to move")
    step.make(relational.extensions())


@pytest.mark.component("schema-migration")
@pytest.mark.dependency(name="roles", depends=["extensions"], scope="session")
def test_the_roles_are_there(step, relational):
    """The source's roles and their memberships are on the target."""
    if relational is None:
        return step.note("no PostgreSQL source: no roles to move")
    step.make(relational.roles())


@pytest.mark.component("schema-migration")
@pytest.mark.dependency(name="tables", depends=["roles"], scope="session")
def test_the_tables_are_there(step, relational):
    """Types, functions, tables, views and sequences are on the target, still without indexes."""
    if relational is None:
        return step.note("no PostgreSQL source: no tables to move")
    step.make(relational.pre_data())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(name="changes-published", depends=["tables"], scope="session")
def test_the_source_can_tell_what_changes(step, relational):
    """The source publishes every table whose changes can be followed."""
    if relational is None:
        return step.note("no PostgreSQL source: no changes to follow")
    if not relational.is_online:
        return step.note("offline: nothing to follow")
    step.make(relational.published())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(
    name="rows", depends=["tables", "disk", "changes-published"], scope="session"
)
def test_the_rows_are_copied(step, relational):
    """Every row of the source is on the target."""
    if relational is None:
        return step.note("no PostgreSQL source: no rows to move")
    step.make(relational.rows())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(name="large-objects", depends=["tables"], scope="session")
def test_the_large_objects_are_copied(step, relational):
    """Every large object of the source is on the target."""
    if relational is None:
        return step.note("no PostgreSQL source: no large objects to move")
    step.make(relational.large_objects())


@pytest.mark.component("schema-migration")
@pytest.mark.dependency(name="indexes-and-constraints", depends=["rows"], scope="session")
def test_indexes_and_constraints_are_there(step, relational):
    """Indexes, constraints and triggers are on the target, made after the rows."""
    if relational is None:
        return step.note("no PostgreSQL source: no indexes to move")
    step.make(relational.post_data())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(name="sequences", depends=["rows"], scope="session")
def test_sequences_stand_where_they_stood(step, relational):
    """Every sequence gives the number next that it would have given on the source."""
    if relational is None:
        return step.note("no PostgreSQL source: no sequences to move")
    if relational.is_online:
        return step.note("online: sequences are set at the cutover")
    step.make(relational.sequences())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(
    name="materialised-views", depends=["indexes-and-constraints"], scope="session"
)
def test_materialised_views_are_filled(step, relational):
    """Every materialised view that is filled on the source is filled on the target."""
    if relational is None:
        return step.note("no PostgreSQL source: no materialised views to fill")
    step.make(relational.materialised_views())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(
    name="changes-followed",
    depends=["rows", "large-objects", "materialised-views"],
    scope="session",
)
def test_the_target_follows_the_source(step, relational):
    """The target has caught up with the source once, and applies each change from now on."""
    if relational is None:
        return step.note("no PostgreSQL source: no changes to follow")
    if not relational.is_online:
        return step.note("offline: nothing to follow")
    step.make(relational.followed())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(
    name="rows-verified",
    depends=["rows", "large-objects", "sequences", "materialised-views", "changes-followed"],
    scope="session",
)
def test_source_and_target_hold_the_same_rows(step, relational):
    """Every row, sequence, large object and definition agrees between source and target."""
    if relational is None:
        return step.note("no PostgreSQL source: no rows to compare")
    if relational.is_online:
        step.check("definitions agree", relational.verified(schema=True).require_same_schema)
        step.note(relational.summary())
        return step.note("online: definitions agree; rows are compared at the cutover")
    found = step.check("rows agree", relational.verified(schema=True).verify)
    step.note(relational.summary(found))
    step.note(f"{found.rows:,} rows in {len(found.tables)} tables agree")


@pytest.mark.component("data-migration")
@pytest.mark.dependency(name="keys", depends=["agent-memory-auth", "source-redis"], scope="session")
def test_the_keys_are_copied(step, keyspace):
    """Every Redis key of the source is on the target, with its type and expiry."""
    if keyspace is None:
        return step.note("no Redis source: no keys to move")
    step.make(keyspace.moved())


@pytest.mark.component("data-migration")
@pytest.mark.dependency(name="keys-verified", depends=["keys"], scope="session")
def test_source_and_target_hold_the_same_keys(step, keyspace, platform):
    """Every Redis key agrees, from both sides until the API serves and keeps keys of its own."""
    if keyspace is None:
        return step.note("no Redis source: no keys to compare")
    if keyspace.is_online:
        return step.note("online: compared at the cutover, when the last change is in")
    found = step.check("Redis keys agree", lambda: keyspace.compare(in_use=platform.in_use))
    step.note(found.describe())
