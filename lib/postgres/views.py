"""Materialised views, filled in the order in which they read each other."""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from lib.engine.actions import Journal
from lib.engine.changes import Change, ChangeKind
from lib.errors import VerificationError
from lib.postgres import bookkeeping, failures
from lib.postgres.database import Database, connect
from lib.postgres.errors import CopyFailed
from lib.postgres.selection import ALL, Selection, left_out


@dataclass(frozen=True, slots=True)
class ViewsState:
    """The views to fill, in order, and whether all are filled after the last row came."""

    views: tuple[str, ...]
    filled: bool


@dataclass(frozen=True, slots=True)
class MaterialisedViews:
    """Every materialised view that is filled on the source is filled from the target's rows."""

    source: Database
    target: Database
    selection: Selection = ALL

    @property
    def subject(self) -> str:
        """The database."""
        return f"materialised views of {self.target.name}"

    def observe(self) -> ViewsState:
        """The views in order, and whether they are filled."""
        views = self._views()
        with connect(self.target) as target:
            filled = {(schema, name) for schema, name, there in target.execute(_VIEWS) if there}
            current = not (bookkeeping.exists(target) and bookkeeping.views_are_older(target))
        return ViewsState(
            tuple(".".join(view) for view in views), set(views) <= filled and (current or not views)
        )

    def plan(self, observed: ViewsState | None) -> Change:
        """UPDATE unless all are filled from the rows that are there now."""
        if observed is not None and observed.filled:
            return Change(ChangeKind.NONE, self.subject)
        count = len(observed.views) if observed else 0
        return Change(ChangeKind.UPDATE, self.subject, quantities={"views": count})

    def apply(self, change: Change, journal: Journal) -> None:
        """Refresh them one after the other."""
        del change
        views = self._views()
        with connect(self.target) as target:
            for done, view in enumerate(views):
                journal.safe_point()
                journal.progress(".".join(view), done, len(views), "views")
                try:
                    target.execute(
                        sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(*view))
                    )
                except psycopg.Error as error:
                    what = f"Filling {'.'.join(view)}"
                    raise failures.working(what, error, CopyFailed) from error
            if bookkeeping.exists(target):
                bookkeeping.refreshed(target)

    def verify(self) -> ViewsState:
        """All are filled."""
        state = self.observe()
        if not state.filled:
            raise VerificationError("A materialised view is not filled on the target.")
        return state

    def undo(self, change: Change, journal: Journal) -> None:
        """Empty them again: they were made without rows."""
        del change, journal
        with connect(self.target) as target:
            for view in reversed(self._views()):
                target.execute(
                    sql.SQL("REFRESH MATERIALIZED VIEW {} WITH NO DATA").format(
                        sql.Identifier(*view)
                    )
                )

    def _views(self) -> tuple[tuple[str, str], ...]:
        with connect(self.source) as source:
            rows = source.execute(_VIEWS).fetchall()
            out = left_out(source, self.selection)
        return tuple(
            (schema, name) for schema, name, filled in rows if filled and (schema, name) not in out
        )


# Views depend on what they read through their rewrite rule; plain views stand between.
_VIEWS = """
WITH RECURSIVE reads AS (
    SELECT DISTINCT r.ev_class AS reader, d.refobjid AS read FROM pg_rewrite r
      JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
       AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
      JOIN pg_class c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
), depth AS (
    SELECT oid AS relation, 0 AS level FROM pg_class WHERE relkind IN ('v', 'm')
  UNION
    SELECT reads.reader, depth.level + 1 FROM reads JOIN depth ON depth.relation = reads.read
)
SELECT n.nspname, c.relname, c.relispopulated FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace JOIN depth ON depth.relation = c.oid
 WHERE c.relkind = 'm' GROUP BY 1, 2, 3 ORDER BY max(depth.level), 1, 2
"""
