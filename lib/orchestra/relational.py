"""The move of PostgreSQL, put together: actions of ``lib.postgres`` from settings."""

from typing import Any

from lib.engine.unknown import Unknown
from lib.orchestra import summary
from lib.orchestra.beam import pipeline
from lib.postgres import bookkeeping
from lib.postgres.application_role import ApplicationRole
from lib.postgres.beam import Beam
from lib.postgres.comparison import CompareOptions, Comparison
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.cutover import Cutover
from lib.postgres.database import Database, connect
from lib.postgres.databases import CreateDatabase, RemoveBookkeeping
from lib.postgres.extensions import Extensions
from lib.postgres.following import Followed
from lib.postgres.large_objects import LargeObjects
from lib.postgres.leftovers import ReplicationRemoved
from lib.postgres.online import Online, replication_name
from lib.postgres.publication import Published
from lib.postgres.roles import Roles
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.selection import Selection
from lib.postgres.sequences import Sequences
from lib.postgres.verified import Verified
from lib.postgres.views import MaterialisedViews
from lib.runtime.binaries import pg_dump_path


class Relational:
    """Source and target of the rows; each method gives an action and touches nothing.

    ``settings`` are the environment's, or the tracked view that a step has of them.
    """

    def __init__(
        self,
        source: Database,
        target: Database,
        settings: Any,
        *,
        seen_from_target: Database | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self._settings = settings
        self._seen_from_target = seen_from_target

    @property
    def is_online(self) -> bool:
        """Whether changes are followed until a cutover."""
        return bool(self._settings.data_migration.mode == "online")

    @property
    def _online(self) -> Online:
        settings = self._settings
        return Online(
            replication_name(
                settings.project.id, settings.alloydb.cluster, settings.alloydb.database
            ),
            keyless=settings.data_migration.keyless_tables,
            seen_from_target=self._seen_from_target,
        )

    @property
    def _workers(self) -> int:
        return int(self._settings.data_migration.workers)

    @property
    def _selection(self) -> Selection:
        data = self._settings.data_migration
        return Selection(
            include=tuple(data.include_tables),
            exclude=tuple(data.exclude_tables),
            rows=tuple(sorted(data.rows.items())),
        )

    def _schema(self) -> SchemaOptions:
        return SchemaOptions(jobs=self._workers, selection=self._selection, pg_dump=pg_dump_path())

    def extensions(self) -> Extensions:
        """The extensions that the source uses."""
        return Extensions(self.source, self.target)

    def roles(self) -> Roles:
        """Roles and memberships."""
        return Roles(self.source, self.target)

    def pre_data(self) -> PreDataSchema:
        """Everything that has to stand before the rows."""
        return PreDataSchema(self.source, self.target, self._schema())

    def post_data(self) -> PostDataSchema:
        """Indexes, constraints and triggers; vector indexes have a phase of their own."""
        return PostDataSchema(self.source, self.target, self._schema())

    def rows(self) -> CopyRows:
        """The rows of every table."""
        online = self._online if self.is_online else None
        return CopyRows(self.source, self.target, self._copy(), online, self.post_data())

    def _copy(self) -> CopyOptions:
        data = self._settings.data_migration
        return CopyOptions(
            workers=self._workers,
            chunk_bytes=data.chunk_mb * 1024 * 1024,
            rate=int(data.rate_mb_per_second * 1_000_000),
            cores=self._settings.alloydb.cpu_count,
            selection=self._selection,
            beam=self.beam(),
        )

    def summary(self, verified: Comparison | Unknown | None = None) -> str | Unknown:
        """What the copy came to, a line for each table (network); unknown in a dry run."""
        if isinstance(verified, Unknown):
            return verified
        with connect(self.target) as target:
            there = bookkeeping.exists(target)
            return summary.table(bookkeeping.moved(target) if there else (), verified)

    def beam(self) -> Beam | None:
        """The pipeline whose workers copy rows; None where this process does."""
        return pipeline(self._settings)

    def published(self) -> Published:
        """Online: the source can tell what changes."""
        return Published(self.source, self._online, self._selection)

    def followed(self) -> Followed:
        """Online: the target applies what changes."""
        return Followed(self.source, self.target, self._online, self._selection)

    def cutover(self) -> Cutover:
        """Online: the target takes over the writes."""
        return Cutover(self.source, self.target, self._online, self._copy())

    def replication_removed(self) -> ReplicationRemoved:
        """Nothing is left of an online move, in whichever run and mode it was begun."""
        return ReplicationRemoved(
            self.source, self.target, self._online.name, needed=self.is_online
        )

    def large_objects(self) -> LargeObjects:
        """Large objects with their owners and comments."""
        return LargeObjects(self.source, self.target)

    def sequences(self) -> Sequences:
        """Sequences at their exact positions."""
        return Sequences(self.source, self.target, self._selection)

    def materialised_views(self) -> MaterialisedViews:
        """Materialised views, filled in the order in which they read one another."""
        return MaterialisedViews(self.source, self.target, self._selection)

    def verified(self, *, schema: bool) -> Verified:
        """Every row, sequence and large object agrees; with ``schema`` the catalogue too."""
        return Verified(
            self.source, self.target, self.compare_options(), schema=schema, pg_dump=pg_dump_path()
        )

    def compare_options(self) -> CompareOptions:
        """How both sides are compared: the target may have tables of its own, such as the API's."""
        return CompareOptions(workers=self._workers, selection=self._selection, additions=True)

    def bookkeeping_removed(self) -> RemoveBookkeeping:
        """The copy's own tables are gone from the target."""
        return RemoveBookkeeping(self.target)


def create_database(server: Database, name: str) -> CreateDatabase:
    """The database on the primary instance."""
    return CreateDatabase(server, name)


def application_role(target: Database, settings: Any, password: Any) -> ApplicationRole:
    """The application's own role, which may read and write rows and nothing else."""
    # The API's own schema comes later, with grants of its own.
    return ApplicationRole(
        target, settings.alloydb.application_role, password, without=("orchestra",)
    )
