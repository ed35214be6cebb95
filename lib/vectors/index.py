"""The action that builds a vector index, after the data and before traffic."""

import json
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind, FieldChange
from lib.engine.errors import CannotUndo
from lib.errors import VerificationError
from lib.vectors.database import Connection, VectorDatabase
from lib.vectors.design import IndexDesign

_INDEXES = """
    select c.relname as name, m.amname as method, o.opcname as opclass,
           coalesce(a.attname, pg_get_indexdef(c.oid, 1, true)) as expression,
           coalesce(c.reloptions, '{}') as parameters, x.indisvalid as valid,
           pg_get_indexdef(c.oid) as definition,
           pg_relation_size(c.oid) as bytes
    from pg_index x
    join pg_class c on c.oid = x.indexrelid
    join pg_am m on m.oid = c.relam
    join pg_opclass o on o.oid = x.indclass[0]
    left join pg_attribute a on a.attrelid = x.indrelid and a.attnum = nullif(x.indkey[0], 0)
    where x.indrelid = %s::regclass and x.indpred is null and x.indnatts = 1
    order by c.relname
"""


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index as the catalogue has it; ``definition`` is its DDL, ``bytes`` its size."""

    name: str
    method: str
    opclass: str
    expression: str
    parameters: list[str]
    valid: bool
    definition: str
    bytes: int


class CreateVectorIndex:
    """Makes a valid index of this design exist.

    Builds plainly, not concurrently: there is no traffic yet, one pass is faster and a killed
    build leaves nothing.  An index of the same name that differs, or that a killed concurrent
    build left invalid, is replaced; an equal one under any name will do.  ``memory_mb`` bounds
    maintenance_work_mem and ``workers`` the parallel ones.  Raises ``VectorError`` kinds.
    """

    def __init__(
        self,
        database: VectorDatabase,
        design: IndexDesign,
        *,
        memory_mb: int = 1_024,
        workers: int = 2,
    ) -> None:
        self.database = database
        self.design = design
        self.memory_mb = memory_mb
        self.workers = workers

    @property
    def subject(self) -> str:
        """``vector index <name> on <schema.table.column>``."""
        return f"vector index {self.design.name} on {self.design.column.name}"

    def observe(self) -> VectorIndex | None:
        """The index that fits, else the one that bears the name, else None."""
        with self.database.session() as connection:
            return self._find(connection)

    def plan(self, observed: VectorIndex | None) -> Change:
        """Create, replace (with what differs), or nothing."""
        design = self.design
        if observed is None:
            return Change(
                ChangeKind.CREATE,
                self.subject,
                reason=design.reason,
                quantities={"rows": design.column.rows},
            )
        if self._fits(observed):
            return Change(ChangeKind.NONE, self.subject, reason=f"{observed.name} is equal")
        old = observed.definition if observed.valid else ""
        return Change(
            ChangeKind.REPLACE,
            self.subject,
            fields=(FieldChange("definition", old, self._wanted()),),
            reason="its definition differs" if observed.valid else "a killed build left it invalid",
            quantities={"rows": design.column.rows},
        )

    def apply(self, change: Change, journal: Journal) -> None:
        """Drop what is in the way and build; waits for a build that a killed run left going."""
        del change
        with self.database.session() as connection, ThreadPoolExecutor(1) as pool:
            connection.execute("set client_connection_check_interval = '2s'")
            self._follow(pool.submit(self._lock, connection), connection, journal)
            found = self._find(connection)
            if found is not None and self._fits(found):
                return
            self._size(connection)
            with connection.transaction():
                self._follow(pool.submit(self._replace, connection), connection, journal)

    def verify(self) -> VectorIndex:
        """The index, valid and as designed."""
        found = self.observe()
        if found is None or not self._fits(found):
            raise VerificationError(
                f"There is no valid {self.subject} as designed.",
                expected=self._wanted(),
                remedy="run the step again; if it stays so, look into the database's log",
            )
        return found

    def undo(self, change: Change, journal: Journal) -> None:
        """Drop the index, and build again the one that it replaced."""
        del journal
        name = sql.Identifier(self.design.column.schema, self.design.name)
        if change.kind is ChangeKind.NONE:
            raise CannotUndo(f"Nothing was changed about {self.subject}.")
        with self.database.session() as connection, connection.transaction():
            connection.execute(sql.SQL("drop index if exists {}").format(name))
            for each in change.fields:
                if each.path == "definition" and each.old:
                    connection.execute(str(each.old).encode())

    # -- inside --------------------------------------------------------------------------------

    def _wanted(self) -> str:
        return json.dumps(
            [self.design.method, self.design.opclass, self.design.cast, *self._options()]
        )

    @property
    def _expression(self) -> str:
        column, cast = self.design.column, self.design.cast
        return f"{column.column}::{cast}({column.dimensions})" if cast else column.column

    def _options(self) -> list[str]:
        return sorted(f"{name}={value}" for name, value in self.design.parameters.items())

    def _fits(self, index: VectorIndex) -> bool:
        design = self.design
        return (
            index.valid
            and (index.method, index.opclass) == (design.method, design.opclass)
            and _bare(index.expression) == _bare(self._expression)
            and sorted(index.parameters) == self._options()
        )

    def _find(self, connection: Connection) -> VectorIndex | None:
        relation = self.design.column.relation.as_string(connection)
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_INDEXES, (relation,)).fetchall()
        found = [VectorIndex(**row) for row in rows]
        fitting = [each for each in found if self._fits(each)]
        named = [each for each in found if each.name == self.design.name]
        return next(iter(fitting or named), None)

    def _lock(self, connection: Connection) -> None:
        connection.execute("select pg_advisory_lock(%s)", (zlib.crc32(self.subject.encode()),))

    def _size(self, connection: Connection) -> None:
        """Memory for the whole graph where it fits the bound, and the parallel workers."""
        column = self.design.column
        width = 4 * column.dimensions + 400
        needed = int(column.rows * width * 1.2) // 2**20 + 64
        memory = f"{min(needed, self.memory_mb)}MB"
        connection.execute("select set_config('maintenance_work_mem', %s, false)", (memory,))
        connection.execute(
            "select set_config('max_parallel_maintenance_workers', %s, false)",
            (str(self.workers),),
        )

    def _replace(self, connection: Connection) -> None:
        """Drop what bears the name and build; both wait for whoever writes to the table."""
        name = sql.Identifier(self.design.column.schema, self.design.name)
        connection.execute(sql.SQL("drop index if exists {}").format(name))
        self._build(connection)

    def _build(self, connection: Connection) -> None:
        try:
            with connection.transaction():
                connection.execute(self.design.ddl)
        except psycopg.errors.DiskFull:
            # Parallel workers share the graph through /dev/shm, which containers keep small.
            connection.execute("set max_parallel_maintenance_workers = 0")
            connection.execute(self.design.ddl)

    def _follow(self, work: "Future[None]", connection: Connection, journal: Journal) -> None:
        """Wait for the server while telling how far it is; stopping cancels it there."""
        with self.database.session() as watcher:
            try:
                while not _ended(work):
                    _tell(watcher, connection, self.design.name, journal.progress)
                    journal.safe_point()
            except BaseException:
                if not work.done():
                    connection.cancel_safe()
                    work.exception()
                raise
        work.result()


def _bare(expression: str) -> str:
    """An expression without the parentheses and quotes that the catalogue adds."""
    return expression.translate(str.maketrans("", "", '()" '))


def _ended(work: "Future[None]") -> bool:
    try:
        work.exception(timeout=0.25)
    except NotYet:
        return False
    return True


def _tell(
    watcher: Connection,
    connection: Connection,
    label: str,
    progress: Callable[[str, float, float | None, str], None],
) -> None:
    row = watcher.execute(
        "select tuples_done, tuples_total from pg_stat_progress_create_index where pid = %s",
        (connection.info.backend_pid,),
    ).fetchone()
    if row is not None:
        progress(label, float(row[0]), float(row[1]) or None, "rows")
