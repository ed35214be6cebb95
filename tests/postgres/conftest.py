"""A source server with the sample platform's schema, and a target server of its own."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from lib.engine.changes import Change, ChangeKind, Json
from lib.postgres.database import Database
from lib.runtime.binaries import psql_path
from lib.runtime.postgresql import PostgreSQL
from tests.conftest import free_port

SAMPLE = Path(__file__).parents[2] / "lib" / "sample"
VALUES = Path(__file__).parent / "values.sql"


class Notes(dict[str, Json]):
    """A journal in memory that counts its safe points."""

    def __init__(self) -> None:
        self.safe_points = 0
        self.told: list[tuple[str, float]] = []

    def put(self, key: str, value: Json) -> None:
        self[key] = value

    def put_many(self, entries: Mapping[str, Json]) -> None:
        self.update(entries)

    def entries(self, prefix: str = "") -> Mapping[str, Json]:
        return {key: value for key, value in self.items() if key.startswith(prefix)}

    def forget(self, prefix: str = "") -> None:
        for key in self.entries(prefix):
            del self[key]

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        self.told.append((label, done))

    def safe_point(self) -> None:
        self.safe_points += 1


def make(action: Any, journal: Notes | None = None) -> Change:
    """Observe, plan, apply and verify, as a step does; gives the change."""
    change: Change = action.plan(action.observe())
    if change.kind is not ChangeKind.NONE:
        action.apply(change, Notes() if journal is None else journal)
    action.verify()
    return change


def planned(action: Any) -> ChangeKind:
    """What the action would do now."""
    kind: ChangeKind = action.plan(action.observe()).kind
    return kind


def run_sql(database: Database, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Execute a statement of the test's own; gives its rows."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        done = connection.execute(statement.encode(), values or None)
        return done.fetchall() if done.description else []


@pytest.fixture(scope="session")
def target_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """The server that is moved to."""
    server = PostgreSQL(
        tmp_path_factory.mktemp("target") / "data",
        "127.0.0.1",
        free_port(),
        settings={"fsync": "off", "max_connections": "60"},
    )
    server.start()
    yield server
    server.stop(immediate=True)


@pytest.fixture(scope="session")
def platform(postgresql_server: PostgreSQL) -> Iterator[Database]:
    """The sample platform's schema and hard cases, with a few rows in each table."""
    server = Database.from_url(postgresql_server.url)
    roles = (SAMPLE / "roles.sql").read_text()
    for statement in roles.split(";\n"):
        if statement.strip():
            run_sql(server, statement)
    database = server.named("orchestra")
    for script in (SAMPLE / "schema.sql", SAMPLE / "edge.sql", VALUES, SAMPLE / "indexes.sql"):
        subprocess.run(
            [
                psql_path(),
                "-v",
                "ON_ERROR_STOP=1",
                "-q",
                "-o",
                "/dev/null",
                "-f",
                script,
                database.url,
            ],
            check=True,
        )
    yield database
    run_sql(server, "drop database orchestra with (force)")
    for role in ('"Data Analyst"', "orchestra_service", "orchestra_readonly", "orchestra_owner"):
        run_sql(server, f"drop role {role}")


@pytest.fixture
def new_target(target_server: PostgreSQL) -> Iterator[Callable[[], Database]]:
    """Makes empty databases on the target server; they and new roles go after the test."""
    server = Database.from_url(target_server.url)
    roles = {row[0] for row in run_sql(server, "select rolname from pg_roles")}
    names: list[str] = []

    def new() -> Database:
        names.append(f"target_{uuid4().hex[:8]}")
        run_sql(server, f"create database {names[-1]}")
        return server.named(names[-1])

    yield new
    for name in names:
        run_sql(server, f"drop database if exists {name} with (force)")
    with psycopg.connect(server.url, autocommit=True) as connection:
        for (role,) in connection.execute("select rolname from pg_roles").fetchall():
            if role not in roles:
                name = sql.Identifier(role)
                connection.execute(sql.SQL("drop owned by {}").format(name))
                connection.execute(sql.SQL("drop role {}").format(name))


@pytest.fixture
def target(new_target: Callable[[], Database]) -> Database:
    """An empty database on the target server."""
    return new_target()


@pytest.fixture
def source(make_database: Callable[[], str]) -> Database:
    """An empty database on the source server."""
    return Database.from_url(make_database())
