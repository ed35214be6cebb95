"""Tables with unusual keys, or with none: their rows are listed and found all the same."""

from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest

from lib.api.probe import check_endpoints
from tests.api.api_process import TOKEN, prepare


@pytest.fixture
def ask(start_api, make_database) -> Iterator[Callable[[str], httpx.Client]]:
    """A caller of an API whose database holds what these statements make."""
    callers: list[httpx.Client] = []

    def of(statements: str) -> httpx.Client:
        url = make_database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statements)
        prepare(url, platform=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("grant select on all tables in schema public to api_test_role")
        callers.append(start_api(url).client())
        return callers[-1]

    yield of
    for caller in callers:
        caller.close()


def listed(client: httpx.Client, path: str, limit: int = 2) -> list[dict[str, object]]:
    """All rows, page by page."""
    rows, cursor = [], ""
    for _ in range(10):
        answer = client.get(path, params={"limit": limit, "cursor": cursor})
        assert answer.status_code == 200, answer.text
        rows += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if not cursor:
            return rows
    raise AssertionError("the pages never end")


def test_tables_without_any_key(ask) -> None:
    client = ask("""
        create table agents (id bigint, name text);
        create table conversations (title text, agent_id bigint, id int);
        create table messages (id int, conversation_id int, content text) partition by range (id);
        create table messages_low partition of messages for values from (0) to (3);
        create table messages_rest partition of messages default;
        insert into agents select n, 'agent ' || n from generate_series(1, 5) n;
        insert into conversations select 'about ' || n, 1, n from generate_series(1, 5) n;
        insert into messages select n, 1, 'message ' || n from generate_series(1, 5) n;
    """)
    assert [each["id"] for each in listed(client, "/v1/agents")] == [1, 2, 3, 4, 5]
    assert client.get("/v1/agents/4").json() == {"id": 4, "name": "agent 4"}
    assert client.get("/v1/agents/9").status_code == 404
    assert client.get("/v1/agents/nine").json()["code"] == "not_found"
    found = listed(client, "/v1/agents/1/conversations")
    assert [each["id"] for each in found] == [1, 2, 3, 4, 5]
    assert client.get("/v1/conversations/2").json()["conversation"]["title"] == "about 2"
    messages = []  # no row of one partition hides one of another
    answer = client.get("/v1/conversations/1", params={"limit": 2}).json()
    while True:
        messages += [each["id"] for each in answer["messages"]]
        if not answer["next_cursor"]:
            break
        about = {"limit": 2, "cursor": answer["next_cursor"]}
        answer = client.get("/v1/conversations/1", params=about).json()
    assert sorted(messages) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("statements", "key"),
    [
        ("create table agents (x text primary key); insert into agents values ('k'), ('l')", "x"),
        ("create table agents (id char(6) primary key); insert into agents values"
         " ('k'), ('kk'), ('kkk')", "id"),
        ("create table agents (id bit(3) primary key); insert into agents values"
         " ('001'), ('011'), ('111')", "id"),
        ("create table agents (n int, code text not null unique, other int unique);"
         " insert into agents values (1, 'b', null), (1, 'a', null), (1, 'c', null)", "code"),
        ("create table agents (id int, name text, primary key (id) include (name));"
         " insert into agents values (1, null), (2, null), (3, null)", "id"),
    ],
    ids=["a column like an alias", "char", "bit", "a unique column", "a covering key"],
)  # fmt: skip
def test_rows_are_asked_for_by_their_key(ask, statements: str, key: str) -> None:
    client = ask(statements)
    rows = listed(client, "/v1/agents", limit=1)
    assert len(rows) == len({each[key] for each in rows}) >= 2
    for row in rows:
        assert client.get(f"/v1/agents/{str(row[key]).strip()}").json() == row


@pytest.mark.parametrize(
    ("statements", "rows"),
    [
        ("create table agents (); insert into agents default values", [{}]),
        ("create table agents (x xml, name text); insert into agents values (null, 'n')",
         [{"x": None, "name": "n"}]),
        ("create table agents (id json); insert into agents values ('1')", [{"id": 1}]),
        ("create table agents (code text, n int); create unique index on agents (lower(code));"
         " insert into agents values ('a', 1)", [{"code": "a", "n": 1}]),
    ],
    ids=["no column", "no id", "an id of no equality", "an index over an expression"],
)  # fmt: skip
def test_rows_that_nothing_names_are_listed_only(ask, statements: str, rows: object) -> None:
    client = ask(statements)
    assert listed(client, "/v1/agents") == rows
    answer = client.get("/v1/agents/1")
    assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_here")


def test_the_probe_passes_where_ids_are_no_key(start_api, make_database) -> None:
    url = make_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
            create table agents (tenant int, id int, primary key (tenant, id));
            insert into agents values (7, 1), (7, 2);
            create table conversations (id int, agent_id int);
            insert into conversations values (null, 1), (5, 1);
        """)
    prepare(url, platform=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("grant select on all tables in schema public to api_test_role")
    results = check_endpoints(start_api(url).url, TOKEN)
    assert [each for each in results if not each.passed] == []
    asked = {each.endpoint for each in results}
    assert {"GET /v1/agents/{id}", "GET /v1/conversations/{id}"} <= asked


def test_an_owner_of_no_equality_is_told(ask) -> None:
    client = ask("""
        create table agents (id int primary key); insert into agents values (1);
        create table conversations (id int, agent_id json); insert into conversations
            values (1, '1');
    """)
    answer = client.get("/v1/agents/1/conversations")
    assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_here")
