"""The checkpoint store: what finished steps left, in SQLite or PostgreSQL."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lib.engine import tables
from lib.engine.changes import Change, Json
from lib.engine.storage import LOCK_NAME, Storage

NOTES = "notes:"
"""Where a checkpoint's outputs keep what the step said; no output can have such a name."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the last attempt at a step left behind; times are seconds since the epoch."""

    step: str
    state: str
    run: int
    attempt: int
    started_at: float
    finished_at: float | None
    inputs: Mapping[str, str]
    outputs: Mapping[str, Json]
    changes: tuple[Change, ...]
    error: str | None

    @property
    def seconds(self) -> float:
        """How long the attempt took; 0 where it did not end."""
        return (self.finished_at or self.started_at) - self.started_at

    @property
    def notes(self) -> tuple[str, ...]:
        """What the step said for terminal and report, so that later reports have it, too."""
        kept = self.outputs.get(NOTES)
        return tuple(map(str, kept)) if isinstance(kept, list) else ()


@dataclass(frozen=True, slots=True)
class Intent:
    """A change that was about to be made, or was made, by one of the runs."""

    id: int
    step: str
    subject: str
    change: Change
    state: str


class Store(Storage):
    """One environment's checkpoints, intents, journal, runs and lock."""

    # -- runs --------------------------------------------------------------------------------

    def begin_run(self, holder: Mapping[str, Json], arguments: Sequence[str]) -> int:
        """Record that a run began; gives its number."""
        with self.fenced() as connection:
            result = connection.execute(
                sa.insert(tables.RUNS).values(
                    started_at=time.time(), holder=dict(holder), arguments=list(arguments)
                )
            )
            return _key(result)

    def end_run(self, run: int, outcome: str) -> None:
        """Record how a run ended."""
        with self.transaction() as connection:
            connection.execute(
                sa.update(tables.RUNS)
                .where(tables.RUNS.c.id == run)
                .values(finished_at=time.time(), outcome=outcome)
            )

    def runs(self) -> list[dict[str, Any]]:
        """Every run, oldest first."""
        with self.transaction() as connection:
            rows = connection.execute(sa.select(tables.RUNS).order_by(tables.RUNS.c.id))
            return [dict(row) for row in rows.mappings()]

    # -- checkpoints -------------------------------------------------------------------------

    def checkpoints(self) -> dict[str, Checkpoint]:
        """Every step's checkpoint, by step name."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(tables.CHECKPOINTS)).mappings().all()
            return {row["step"]: _checkpoint(dict(row)) for row in rows}

    def checkpoint(self, step: str) -> Checkpoint | None:
        """One step's checkpoint."""
        query = sa.select(tables.CHECKPOINTS).where(tables.CHECKPOINTS.c.step == step)
        with self.reading() as connection:
            row = connection.execute(query).mappings().first()
            return _checkpoint(dict(row)) if row else None

    def history(self, step: str | None = None) -> list[dict[str, Any]]:
        """Every attempt at a step (or at all of them), oldest first."""
        query = sa.select(tables.HISTORY).order_by(tables.HISTORY.c.id)
        if step is not None:
            query = query.where(tables.HISTORY.c.step == step)
        with self.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def intend(self, step: str, run: int, attempt: int, started_at: float, change: Change) -> int:
        """Record durably that ``change`` is about to be made; gives the intent's number."""
        with self.fenced() as connection:
            begun = Checkpoint(step, "running", run, attempt, started_at, None, {}, {}, (), None)
            connection.execute(self._upsert, _values(begun))
            result = connection.execute(
                sa.insert(tables.INTENTS).values(
                    step=step,
                    subject=change.subject,
                    change=change.to_json(),
                    run=run,
                    at=time.time(),
                    state="intended",
                )
            )
            return _key(result)

    def finish(self, checkpoint: Checkpoint, *, began: bool = True) -> None:
        """Write a step's result, settle its intents and drop its journal, in one transaction.

        ``began`` is false where no attempt at the step can have left intents or a journal, as it
        changed nothing; such a result need not be waited for, as it can be seen again.
        """
        values = _values(checkpoint)
        with self.fenced(synced=began) as connection:
            connection.execute(self._upsert, values)
            connection.execute(_ADD_HISTORY, {name: values[name] for name in _IN_HISTORY})
            if not began:
                return
            if checkpoint.state == "done":
                connection.execute(_SETTLE, {"its_step": checkpoint.step})
            if checkpoint.state in ("done", "rolled back"):
                connection.execute(_DROP_JOURNAL, {"its_step": checkpoint.step})

    @cached_property
    def _upsert(self) -> Any:
        """Writes a checkpoint in the place of the step's former one."""
        # Imported here, as the other database's dialect would cost every start its time.
        insert_into: Any
        if self.dialect == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as insert_into
        else:
            from sqlalchemy.dialects.sqlite import insert as insert_into
        insert = insert_into(tables.CHECKPOINTS)
        others = [each.name for each in tables.CHECKPOINTS.c if each.name != "step"]
        return insert.on_conflict_do_update(
            index_elements=["step"], set_={name: insert.excluded[name] for name in others}
        )

    def forget_checkpoints(self, steps: Collection[str]) -> None:
        """Let these steps count as not started, without a journal; history and intents stay."""
        with self.fenced() as connection:
            for table in (tables.CHECKPOINTS, tables.JOURNAL):
                connection.execute(sa.delete(table).where(table.c.step.in_(list(steps))))

    def mark(self, step: str, state: str, reason: str) -> None:
        """Give a step's checkpoint another state (drifted, running) and say why."""
        with self.fenced() as connection:
            connection.execute(
                sa.update(tables.CHECKPOINTS)
                .where(tables.CHECKPOINTS.c.step == step)
                .values(state=state, error=reason)
            )

    # -- intents -----------------------------------------------------------------------------

    def intents(self, step: str) -> list[Intent]:
        """The changes that runs made or meant to make in a step and that stand, oldest first."""
        query = _STANDING.where(tables.INTENTS.c.step == step)
        with self.reading() as connection:
            rows = connection.execute(query).mappings().all()
            return [
                Intent(r["id"], r["step"], r["subject"], Change.from_json(r["change"]), r["state"])
                for r in rows
            ]

    def steps_with_intents(self) -> set[str]:
        """The steps in which a change of some run stands."""
        with self.reading() as connection:
            rows = connection.execute(_STANDING).mappings().all()
            return {row["step"] for row in rows}

    def undone(self, intent: int) -> None:
        """Record that a change was taken back."""
        with self.fenced() as connection:
            connection.execute(
                sa.update(tables.INTENTS)
                .where(tables.INTENTS.c.id == intent)
                .values(state="undone")
            )

    # -- journal -----------------------------------------------------------------------------

    def journal_entries(self, step: str, subject: str, prefix: str) -> dict[str, Json]:
        """The journal of a step's action, narrowed to keys that begin with ``prefix``."""
        j = tables.JOURNAL.c
        query = sa.select(j.key, j.value).where(j.step == step, j.subject == subject)
        if prefix:
            query = query.where(j.key.startswith(prefix, autoescape=True))
        with self.transaction() as connection:
            return {row.key: row.value for row in connection.execute(query)}

    def journal_put(self, step: str, subject: str, entries: Mapping[str, Json]) -> None:
        """Add or replace journal entries in one durable transaction."""
        if not entries:
            return
        j = tables.JOURNAL.c
        with self.fenced() as connection:
            connection.execute(
                sa.delete(tables.JOURNAL).where(
                    j.step == step, j.subject == subject, j.key.in_(list(entries))
                )
            )
            connection.execute(
                sa.insert(tables.JOURNAL),
                [
                    {"step": step, "subject": subject, "key": key, "value": value}
                    for key, value in entries.items()
                ],
            )

    def journal_forget(self, step: str, subject: str, prefix: str) -> None:
        """Delete the journal entries whose key begins with ``prefix``."""
        j = tables.JOURNAL.c
        statement = sa.delete(tables.JOURNAL).where(j.step == step, j.subject == subject)
        if prefix:
            statement = statement.where(j.key.startswith(prefix, autoescape=True))
        with self.fenced() as connection:
            connection.execute(statement)

    # -- lock --------------------------------------------------------------------------------

    def read_lock(self) -> tuple[int, dict[str, Any], float] | None:
        """The lock's token, holder and seconds left, or None where nobody ever held it."""
        with self.transaction() as connection:
            row = connection.execute(
                sa.select(tables.LOCKS).where(tables.LOCKS.c.name == LOCK_NAME)
            ).first()
            if row is None:
                return None
            return row.token, row.holder, row.expires_at - self._now(connection)

    def take_lock(self, expected: int, holder: Mapping[str, Json], lease: float) -> bool:
        """Take the lock if its token still is ``expected`` (0 where there is none)."""
        locks = tables.LOCKS
        with self.transaction() as connection:
            values = {
                "token": expected + 1,
                "holder": dict(holder),
                "expires_at": self._now(connection) + lease,
            }
            if expected == 0:
                try:
                    connection.execute(sa.insert(locks).values(name=LOCK_NAME, **values))
                    taken = True
                except sa.exc.IntegrityError:
                    connection.rollback()
                    return False
            else:
                result = connection.execute(
                    sa.update(locks)
                    .where(locks.c.name == LOCK_NAME, locks.c.token == expected)
                    .values(**values)
                )
                taken = result.rowcount == 1
        if taken:
            self.token = expected + 1
        return taken

    def renew_lock(self, lease: float) -> None:
        """Push the end of the lease out; raises ``LockLost`` where another took over."""
        with self.fenced() as connection:
            connection.execute(
                sa.update(tables.LOCKS)
                .where(tables.LOCKS.c.name == LOCK_NAME)
                .values(expires_at=self._now(connection) + lease)
            )

    def release_lock(self) -> None:
        """Let the next run begin at once; harmless where the lock was lost."""
        if self.token is None:
            return
        with self.transaction() as connection:
            connection.execute(
                sa.update(tables.LOCKS)
                .where(tables.LOCKS.c.name == LOCK_NAME, tables.LOCKS.c.token == self.token)
                .values(expires_at=0.0)
            )
        self.token = None

    def _now(self, connection: Connection) -> float:
        """The clock that all holders share: the server's, or this machine's for a file."""
        if connection.dialect.name == "postgresql":
            return float(
                connection.execute(
                    sa.text("select extract(epoch from clock_timestamp())")
                ).scalar_one()
            )
        return time.time()


_IN_HISTORY = ("step", "state", "run", "attempt", "started_at", "finished_at", "changes", "error")
_ADD_HISTORY = sa.insert(tables.HISTORY)
_SETTLE = (
    sa.update(tables.INTENTS)
    .where(tables.INTENTS.c.step == sa.bindparam("its_step"))
    .where(tables.INTENTS.c.state == "intended")
    .values(state="applied")
)
_DROP_JOURNAL = sa.delete(tables.JOURNAL).where(tables.JOURNAL.c.step == sa.bindparam("its_step"))

_STATES = ("done", "running", "failed", "drifted", "rolled back")
_STANDING = (
    sa.select(tables.INTENTS)
    .where(tables.INTENTS.c.state != "undone")
    .order_by(tables.INTENTS.c.id)
)


def _key(result: sa.CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _values(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "step": checkpoint.step,
        "state": checkpoint.state,
        "run": checkpoint.run,
        "attempt": checkpoint.attempt,
        "started_at": checkpoint.started_at,
        "finished_at": checkpoint.finished_at,
        "inputs": dict(checkpoint.inputs),
        "outputs": dict(checkpoint.outputs),
        "changes": [each.to_json() for each in checkpoint.changes],
        "error": checkpoint.error,
    }


def _checkpoint(row: Mapping[str, Any]) -> Checkpoint:
    values = dict(row)
    if values["state"] not in _STATES:
        raise ValueError(f"step {values['step']!r} has the state {values['state']!r}")
    values["inputs"], values["outputs"] = dict(values["inputs"]), dict(values["outputs"])
    values["changes"] = tuple(Change.from_json(each) for each in values["changes"])
    return Checkpoint(**values)
