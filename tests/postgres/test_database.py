"""URLs, and connections that are refused, each with one clear message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.postgres.database import Database, connect
from lib.postgres.dump import entries, find_pg_dump
from lib.postgres.errors import (
    AuthenticationFailed,
    ConnectionRefused,
    NoSuchDatabase,
    PostgresError,
)
from lib.runtime.postgresql import PostgreSQL
from tests.conftest import free_port
from tests.postgres.conftest import run_sql

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1)


@given(
    host=st.sampled_from(["db.example", "::1", "/tmp/Folder of a/socket"]),
    user=TEXT,
    name=TEXT,
    port=st.integers(1, 65535),
    mode=st.sampled_from(["require", "prefer"]),
)
def test_a_url_round_trips(host: str, user: str, name: str, port: int, mode: str) -> None:
    database = Database(host, port, user, name=name, sslmode=mode)
    assert Database.from_url(database.url) == database


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "postgresql:///d",
        "postgresql://h:x/d",
        "postgresql://h/d?sslmode=on",
        "postgresql://h/d?wrong=1",
        "h",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(PostgresError, match="can't be used"):
        Database.from_url(url, "hidden")


def test_a_password_is_shown_nowhere() -> None:
    database = Database.from_url("postgresql://u:hidden@h/d")
    assert database.password == "hidden"
    assert "hidden" not in repr(database) + database.url + str(database)


def test_nobody_answers() -> None:
    with pytest.raises(ConnectionRefused, match="can't be reached") as caught:
        connect(Database("127.0.0.1", free_port()))
    assert caught.value.transient


def test_no_such_database(postgresql_server: PostgreSQL) -> None:
    with pytest.raises(NoSuchDatabase, match="no database of that name"):
        connect(Database.from_url(postgresql_server.url).named("nowhere"))


def test_no_such_user(postgresql_server: PostgreSQL) -> None:
    server = Database.from_url(postgresql_server.url)
    with pytest.raises(AuthenticationFailed, match="nobody"):
        connect(Database(server.host, server.port, "nobody", "secret", "postgres"))


def test_encryption_that_the_server_lacks(postgresql_server: PostgreSQL) -> None:
    server = Database.from_url(postgresql_server.url + "?sslmode=require")
    with pytest.raises(PostgresError):
        connect(server)


def test_pg_dump_that_is_missing_is_said(tmp_path) -> None:
    with pytest.raises(PostgresError, match="pg_dump was not found"):
        find_pg_dump(tmp_path)


def test_pg_dump_failing_is_said(source: Database) -> None:
    run_sql(
        source,
        "create table t (a int); create role nothing login; revoke all on schema"
        " public from public",
    )
    try:
        plain = Database(source.host, source.port, "nothing", name=source.name)
        from lib.runtime.binaries import pg_dump_path

        with pytest.raises(PostgresError, match="permission denied"):
            entries(plain, "pre-data", pg_dump=pg_dump_path())
    finally:
        run_sql(source, "drop role nothing")


def test_no_session_ends_by_a_limit_of_the_database(source: Database) -> None:
    limits = ("statement_timeout", "idle_session_timeout", "transaction_timeout")
    for name in limits:
        run_sql(source, f"alter database {source.name} set {name} = '1h'")
    with connect(source) as connection:
        for name in limits:
            assert connection.execute(f"show {name}".encode()).fetchone() == ("0",)
