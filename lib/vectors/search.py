"""Nearest-neighbour search as the API and validation do it: prepared, binary, pooled."""

import queue
from collections.abc import Sequence
from typing import Any

import numpy
import psycopg
from psycopg import sql

from lib.vectors import search_settings
from lib.vectors.columns import VectorColumn
from lib.vectors.database import Connection, VectorDatabase
from lib.vectors.design import OPERATORS, SEARCH_PARAMETERS, IndexDesign
from lib.vectors.errors import VectorError
from lib.vectors.search_settings import SearchSettings
from lib.vectors.wire import Matrix, register


class Searcher:
    """Searches one column over a few open connections; safe from any thread.

    Follows the settings that ``TuneSearch`` left for the column.  Give a ``design`` to search
    before there are any, with ``value`` for its search parameter (the server's default if None).
    Raises ``DatabaseUnreachable`` and ``VectorError``.
    """

    def __init__(
        self,
        database: VectorDatabase,
        column: VectorColumn,
        *,
        design: IndexDesign | None = None,
        value: int | None = None,
        connections: int = 1,
    ) -> None:
        self.database = database
        self.column = column
        self._idle: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(connections):
            self._idle.put(None)
        self._value = value
        if design is not None:
            self.metric, self._parameter = design.metric, design.search_parameter
            self._indexed = f"{design.cast}({column.dimensions})" if design.cast else ""
        else:
            settings = self._settings()
            self.metric, self._parameter = settings.metric, settings.parameter
            self._indexed = settings.indexed_as
            self._value = settings.value if value is None else value

    def __enter__(self) -> "Searcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections; they open again when needed."""
        for _ in range(self._idle.qsize()):
            connection = self._idle.get()
            if connection is not None:
                connection.close()
            self._idle.put(None)

    def search(self, vector: Sequence[float] | Matrix, k: int = 10) -> list[tuple[Any, float]]:
        """The ``k`` rows nearest to ``vector``: (key, distance), nearest first.

        The key is the primary key where that is one column, else the row's place.
        """
        array = numpy.asarray(vector, dtype=numpy.float32)
        connection = self._idle.get()
        try:
            if connection is None or connection.closed:
                connection = self._open()
            with connection.cursor(binary=True) as cursor:
                cursor.execute(self._statement(k), {"query": array}, prepare=True)
                return cursor.fetchall()
        except psycopg.Error as error:
            raise self.database.failure(error) from error
        finally:
            self._idle.put(connection)

    def plan(self, vector: Sequence[float] | Matrix, k: int = 10) -> str:
        """How the server would search: the plan's text."""
        with self.database.session() as connection:
            self._prepare(connection)
            array = numpy.asarray(vector, dtype=numpy.float32)
            statement = sql.SQL("explain ") + self._statement(k)
            return "\n".join(
                row[0] for row in connection.execute(statement, {"query": array}).fetchall()
            )

    def set_value(self, value: int) -> None:
        """Search with another value of the search parameter from now on."""
        self._value = value
        self.close()

    def _statement(self, k: int) -> sql.Composed:
        """The query; ``k`` is a literal, so that a generic plan knows it and keeps the index."""
        name = sql.Identifier(self.column.column)
        operator = sql.SQL(OPERATORS[self.metric])
        query: sql.Composable = sql.SQL("%(query)s::vector")
        indexed: sql.Composable = name
        if self._indexed:
            cast = sql.SQL("::") + sql.SQL(self._indexed)
            indexed, query = name + cast, sql.SQL("%(query)s::vector") + cast
        elif self.column.type == "halfvec":
            query = sql.SQL("%(query)s::vector::halfvec")
        return sql.SQL(
            "select {identity}, ({name}::vector {operator} %(query)s::vector)::float8"
            " from {table} where {name} is not null order by ({indexed}) {operator} ({query})"
            " limit {k}"
        ).format(
            identity=self.column.identity,
            name=name,
            operator=operator,
            table=self.column.relation,
            indexed=indexed,
            query=query,
            k=sql.Literal(k),
        )

    def _open(self) -> Connection:
        connection = self.database.connect()
        self._prepare(connection)
        return connection

    def _prepare(self, connection: Connection) -> None:
        register(connection)
        # The planner counts no cost for vectors that are stored out of line, and so would rather
        # read a whole table of long ones than use the index (pgvector README, Performance).
        connection.execute("set enable_seqscan = off")
        if self._value is not None:
            connection.execute(
                "select set_config(%s, %s, false)", (self._parameter, str(self._value))
            )

    def _settings(self) -> SearchSettings:
        with self.database.session() as connection:
            settings = search_settings.read(connection, self.column)
        if settings is None or settings.parameter not in SEARCH_PARAMETERS.values():
            raise VectorError(
                f"{self.column.name} has no search settings.",
                expected="a row in orchestra.vector_search_settings",
                remedy="run the component vector-optimization",
            )
        return settings
