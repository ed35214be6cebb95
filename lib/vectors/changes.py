"""What was written since: rows of vector columns that changed, noted with the change itself.

A trigger of the database notes the key of every row whose vector, key or restricts change, in the
same transaction and whoever writes.  ``drain`` brings the noted rows to the service as they are by
then, and forgets the notes.
"""

from dataclasses import dataclass

from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError
from lib.vectors.database import Connection, VectorDatabase
from lib.vectors.served import PointStore, Served, row_id, rows_of

_LOG = """
    create schema if not exists orchestra;
    create table if not exists orchestra.vector_changes (
        number bigint generated always as identity primary key,
        collection text not null, id text not null);
    create index if not exists vector_changes_collection
        on orchestra.vector_changes (collection, number);
"""
_STATE = """
    select count(*) filter (where tgenabled = 'A') = 2 from pg_trigger
    where tgrelid = %s::regclass and tgname = any(%s)
"""
_RIGHT = """
    select coalesce(has_table_privilege(%s::name,
        to_regclass('orchestra.vector_changes'), 'delete'), false)
    where exists (select from pg_roles where rolname = %s)
"""


@dataclass(frozen=True, slots=True)
class Noting:
    """Whether both triggers stand and fire always, and the application may read the notes."""

    triggers: bool
    granted: bool


@dataclass(frozen=True, slots=True)
class NoteChanges:
    """Every change of a collection is noted from now on; ``role`` may read and forget notes.

    The triggers fire for replicated changes too.  Raises ``VectorError`` kinds.
    """

    database: VectorDatabase
    what: Served
    role: str

    @property
    def subject(self) -> str:
        """``notes of changes of <schema.table.column>``."""
        return f"notes of changes of {self.what.name}"

    def observe(self) -> Noting | None:
        """What of it stands; None where there are no triggers."""
        with self.database.session() as connection:
            relation = self.what.column.relation.as_string(connection)
            found = connection.execute(_STATE, (relation, list(self._triggers))).fetchone()
            right = connection.execute(_RIGHT, (self.role, self.role)).fetchone()
        if not found or not found[0]:
            return None
        return Noting(True, bool(right and right[0]))

    def plan(self, observed: Noting | None) -> Change:
        """Create, grant, or nothing."""
        if observed is None:
            return Change(ChangeKind.CREATE, self.subject)
        if not observed.granted:
            return Change(ChangeKind.UPDATE, self.subject, reason=f"{self.role} may not read them")
        return Change(ChangeKind.NONE, self.subject)

    def apply(self, change: Change, journal: Journal) -> None:
        """Make log, function, triggers and grants, all or nothing."""
        del change, journal
        with self.database.session() as connection, connection.transaction():
            connection.execute("select pg_advisory_xact_lock(hashtext('orchestra.vector_changes'))")
            connection.execute(_LOG)
            for statement in self._statements():
                connection.execute(statement)

    def verify(self) -> Noting:
        """Both triggers stand."""
        found = self.observe()
        if found is None or not found.granted:
            raise VerificationError(
                f"The {self.subject} are not taken.",
                expected=f"two triggers on {self.what.column.schema}.{self.what.column.table}",
                remedy="run the step again",
            )
        return found

    def undo(self, change: Change, journal: Journal) -> None:
        """Take triggers and function away, the notes of this collection, and a log left empty."""
        del journal
        if change.kind is not ChangeKind.CREATE:
            return
        with self.database.session() as connection, connection.transaction():
            connection.execute("select pg_advisory_xact_lock(hashtext('orchestra.vector_changes'))")
            for name in (self._function("row"), self._function("all")):
                connection.execute(sql.SQL("drop function if exists {} cascade").format(name))
            there = connection.execute(
                "select to_regclass('orchestra.vector_changes') is not null"
            ).fetchone()
            if not there or not there[0]:
                return
            connection.execute(
                "delete from orchestra.vector_changes where collection = %s", (self.what.name,)
            )
            functions = connection.execute(
                "select count(*) from pg_proc where pronamespace = 'orchestra'::regnamespace"
                r" and proname like 'note\_row\_%'"
            ).fetchone()
            if functions and functions[0] == 0:
                connection.execute("drop table orchestra.vector_changes")

    @property
    def _triggers(self) -> tuple[str, str]:
        return f"orchestra_row_{self.what.label}", f"orchestra_all_{self.what.label}"

    def _function(self, which: str) -> sql.Identifier:
        return sql.Identifier("orchestra", f"note_{which}_{self.what.label}")

    def _statements(self) -> list[sql.Composed]:
        """Functions run with their owner's rights, as writers may not know of the log."""
        column = self.what.column
        parts = {
            "row": self._function("row"),
            "all": self._function("all"),
            "name": sql.Literal(self.what.name),
            "old": row_id(column.key, "old"),
            "new": row_id(column.key, "new"),
            "id": row_id(column.key),
            "table": column.relation,
            "row_trigger": sql.Identifier(self._triggers[0]),
            "all_trigger": sql.Identifier(self._triggers[1]),
            "columns": sql.SQL(", ").join(
                map(
                    sql.Identifier,
                    dict.fromkeys((column.column, *column.key, *self.what.restricts)),
                )
            ),
            "role": sql.Identifier(self.role),
        }
        return [sql.SQL(each).format(**parts) for each in _STATEMENTS]


_STATEMENTS = (
    """create or replace function {row}() returns trigger language plpgsql security definer
        set search_path = pg_catalog as $$
    begin
        if tg_op <> 'INSERT' then
            insert into orchestra.vector_changes (collection, id) values ({name}, {old});
        end if;
        if tg_op = 'INSERT' or (tg_op = 'UPDATE' and {new} is distinct from {old}) then
            insert into orchestra.vector_changes (collection, id) values ({name}, {new});
        end if;
        return null;
    end $$""",
    """create or replace function {all}() returns trigger language plpgsql security definer
        set search_path = pg_catalog as $$
    begin
        insert into orchestra.vector_changes (collection, id) select {name}, {id} from {table};
        return null;
    end $$""",
    "drop trigger if exists {row_trigger} on {table}",
    "drop trigger if exists {all_trigger} on {table}",
    """create trigger {row_trigger} after insert or delete or update of {columns} on {table}
        for each row execute function {row}()""",
    """create trigger {all_trigger} before truncate on {table}
        for each statement execute function {all}()""",
    # Replicated changes fire only what always fires.
    "alter table {table} enable always trigger {row_trigger}",
    "alter table {table} enable always trigger {all_trigger}",
    "grant usage on schema orchestra to {role}",
    "grant select, delete on orchestra.vector_changes to {role}",
)


def drain(connection: Connection, what: Served, store: PointStore, *, wait: bool = True) -> int:
    """Bring one page of noted rows to the store; how many notes were forgotten.

    One caller at a time, as two could overtake each other: others wait, or with ``wait`` False
    get 0.  A row is brought as it is now, so a note too many does no harm.
    """
    with connection.transaction():
        lock = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
        held = connection.execute(
            sql.SQL("select {}(hashtext(%s))").format(sql.Identifier(lock)),
            (f"drain {what.name}",),
        ).fetchone()
        if held and held[0] is False:
            return 0
        notes = connection.execute(
            "select number, id from orchestra.vector_changes where collection = %s"
            " order by number limit %s",
            (what.name, what.page),
        ).fetchall()
        ids = list(dict.fromkeys(id for _, id in notes))
        points = rows_of(connection, what, ids)
        gone = set(ids) - {each.id for each in points}
        if points:
            store.upsert(points)
        if gone:
            store.remove(sorted(gone))
        connection.execute(
            "delete from orchestra.vector_changes where number = any(%s)",
            ([number for number, _ in notes],),
        )
        return len(notes)


def noted(connection: Connection, what: Served) -> int:
    """How many notes of a collection wait."""
    there = connection.execute("select to_regclass('orchestra.vector_changes')").fetchone()
    if there is None or there[0] is None:
        return 0
    found = connection.execute(
        "select count(*) from orchestra.vector_changes where collection = %s", (what.name,)
    ).fetchone()
    return int(found[0]) if found else 0
