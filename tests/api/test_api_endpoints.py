"""Each endpoint, over HTTP, of a real process."""

import json
from datetime import datetime

import httpx
import psycopg
import pytest

from lib.api.probe import check_endpoints, measure
from tests.api.api_process import TOKEN, Api, prepare

JSON = {"content-type": "application/json"}


def test_every_endpoint_passes_the_probe(api: Api) -> None:
    results = check_endpoints(api.url, TOKEN)
    assert len(results) >= 18
    assert [each for each in results if not each.passed] == []


def test_the_probe_fails_where_an_api_is_wrong(api: Api) -> None:
    assert any(not each.passed for each in check_endpoints(api.url, "wrong"))
    assert not any(each.passed for each in check_endpoints("http://127.0.0.1:1", TOKEN))


def test_a_measurement_counts_every_request(api: Api) -> None:
    measured = measure(api.url, TOKEN, 60, clients=4, rate=200, warm_up=5)
    assert measured.errors == ()
    assert len(measured.latencies_ms) == 60
    assert set(measured.by_operation) == {"read", "write", "search", "list"}
    assert sum(map(len, measured.by_operation.values())) == 60


def test_a_memory_is_stored_replaced_and_deleted(client: httpx.Client) -> None:
    first = client.put("/v1/memories/a/b c/é", json={"value": {"n": 1}}).json()
    second = client.put("/v1/memories/a/b c/é", json={"value": [None, "🧠"]}).json()
    assert second["version"] > first["version"]
    assert second["key"] == "a/b c/é"
    assert client.get("/v1/memories/a/b c/é").json() == second
    assert client.delete("/v1/memories/a/b c/é").status_code == 204
    assert client.get("/v1/memories/a/b c/é").status_code == 404
    assert client.delete("/v1/memories/a/b c/é").json()["code"] == "not_found"


def test_a_memory_ends_when_its_time_is_over(client: httpx.Client, platform_url: str) -> None:
    made = client.put("/v1/memories/short", json={"value": 1, "ttl_seconds": 500}).json()
    left = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["updated_at"])
    assert left.total_seconds() == 500
    with psycopg.connect(platform_url, autocommit=True) as connection:
        connection.execute(
            "insert into orchestra.kv_memories (key, value, expires_at)"
            " values ('over', '1', now() - interval '1 second')"
        )
    assert client.get("/v1/memories/over").status_code == 404
    assert client.get("/v1/memories", params={"prefix": "over"}).json()["items"] == []
    assert client.delete("/v1/memories/over").status_code == 404


def test_memories_are_listed_by_prefix_in_pages(client: httpx.Client) -> None:
    keys = [f"list/{n:02}" for n in range(7)]
    for key in [*keys, "lisu", "lis"]:
        client.put(f"/v1/memories/{key}", json={"value": key})
    seen, cursor = [], ""
    while True:
        page = client.get(
            "/v1/memories", params={"prefix": "list/", "limit": 3, "cursor": cursor}
        ).json()
        seen += [each["key"] for each in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == keys


def test_search_finds_the_nearest_by_the_index_metric(client: httpx.Client) -> None:
    body = {"collection": "memories", "vector": [10.2, 1, 0], "k": 3}
    found = client.post("/v1/search", json=body).json()
    assert found["metric"] == "l2"
    assert [each["key"]["id"] for each in found["matches"]] == [10, 11, 9]
    assert found["matches"][0]["distance"] == pytest.approx(0.2, abs=1e-5)


def test_search_returns_k_even_beyond_the_default_of_the_index(client: httpx.Client) -> None:
    body = {"collection": "public.memories.embedding", "vector": [1, 1, 0], "k": 200}
    assert len(client.post("/v1/search", json=body).json()["matches"]) == 200


def test_search_works_with_odd_names_and_compound_keys(client: httpx.Client) -> None:
    body = {"vector": [2, 0, 0, 1], "k": 1}
    found = client.post("/v1/search", json=body).json()
    assert found["collection"] == 'public.Odd "Table".Vec tor'
    assert found["matches"][0]["key"] == {"The Key": "it's 2", "part": 2}


def test_search_uses_the_settings_that_were_tuned(start_api, make_database) -> None:
    url = make_database()
    prepare(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create table orchestra.vector_search_settings (table_schema text, table_name text,"
            " column_name text, method text, metric text, parameter text, value text,"
            " recall float8)"
        )
        connection.execute(
            "insert into orchestra.vector_search_settings values"
            " ('public', 'memories', 'embedding', 'hnsw', 'l2', 'hnsw.ef_search', '77', 0.99)"
        )
    api = start_api(url)
    with api.client() as client:
        [tuned] = [
            each
            for each in client.get("/v1/collections").json()
            if each["name"] == "public.memories.embedding"
        ]
        assert (tuned["parameter"], tuned["value"]) == ("hnsw.ef_search", "77")
        assert client.post("/v1/search", json={"collection": "memories", "vector": [1, 1, 0]})


def test_agents_and_their_conversations_are_paged(client: httpx.Client) -> None:
    first = client.get("/v1/agents", params={"limit": 4}).json()
    rest = client.get("/v1/agents", params={"limit": 4, "cursor": first["next_cursor"]}).json()
    assert [each["id"] for each in first["items"] + rest["items"]] == [1, 2, 3, 4, 5, 6, 7]
    assert rest["next_cursor"] == ""
    assert first["items"][0] == {"id": 1, "name": "agent 1", "score": "NaN"}
    conversations = client.get("/v1/agents/2/conversations").json()["items"]
    assert [each["id"] for each in conversations] == [1, 3, 5, 7, 9]
    found = client.get("/v1/conversations/1", params={"limit": 3}).json()
    assert found["conversation"]["title"] == "about 1"
    assert [each["content"] for each in found["messages"]] == [f"message {n}" for n in (1, 2, 3)]
    more = client.get("/v1/conversations/1", params={"cursor": found["next_cursor"]}).json()
    assert [each["content"] for each in more["messages"]] == ["message 4", "message 5"]


@pytest.mark.parametrize(
    "path",
    ["agents/99", "agents/not-a-number", "agents/99/conversations", "conversations/99"],
)
def test_what_does_not_exist_is_not_found(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_database_of_another_kind_says_that_the_collection_is_not_here(
    start_api, make_database
) -> None:
    url = make_database()
    prepare(url, platform=False)
    api = start_api(url)
    with api.client() as client:
        for path in ("agents", "agents/1", "agents/1/conversations", "conversations/1"):
            answer = client.get(f"/v1/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_here")
        answer = client.post("/v1/search", json={"vector": [1, 2, 3]})
        assert (answer.status_code, answer.json()["code"]) == (404, "collection_not_here")
        assert client.put("/v1/memories/k", json={"value": 1}).status_code == 200
        assert client.get("/v1/memories/k").json()["value"] == 1
    assert [each for each in check_endpoints(api.url, TOKEN) if not each.passed] == []


@pytest.mark.parametrize("path", ["/v1/memories", "/metrics", "/openapi.json", "/mcp", "/none"])
@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "é"])
def test_nothing_but_health_answers_without_the_token(api: Api, path: str, token: str) -> None:
    headers = {"authorization": f"Bearer {token}".encode()} if token else {}
    answer = httpx.get(f"{api.url}{path}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_request_ids_are_kept_or_made(client: httpx.Client) -> None:
    kept = client.get("/v1/memories/none", headers={"x-request-id": "mine-1"})
    assert kept.headers["x-request-id"] == kept.json()["request_id"] == "mine-1"
    made = client.get("/v1/memories/none", headers={"x-request-id": "not\tmine"})
    assert len(made.headers["x-request-id"]) == 32


def test_logs_are_json_and_hold_neither_token_nor_values(api: Api, client: httpx.Client) -> None:
    client.put("/v1/memories/logged", json={"value": "what nobody may read"})
    lines = [json.loads(line) for line in api.log.read_text().splitlines()]
    assert any(line.get("route") == "/v1/memories/{key:path}" for line in lines)
    text = api.log.read_text()
    assert TOKEN not in text
    assert "nobody may read" not in text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"value": NaN}',
        b'{"value": [Infinity]}',
        b'{"value": 1e999}',
        b'{"value": 99999999999999999999999999}',
        b'{"value": ' + b"9" * 5000 + b"}",
        b'{"value": "a\\u0000b"}',
        b'{"value": {"a\\u0000b": 1}}',
        b'{"value": "\\ud800"}',
        b'{"value": "\xff"}',
        b'{"value": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"value": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"value": 1, "ttl_seconds": 0}',
        b'{"value": 1, "ttl_seconds": -1}',
        b'{"value": 1, "ttl_seconds": 1e300}',
        b'{"value": 1, "ttl_seconds": NaN}',
        b'{"value": 1, "ttl_seconds": "5"}',
        b'{"value": 1, "unknown": 5}',
    ],
)
def test_a_value_that_cannot_be_kept_is_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.put("/v1/memories/bad", content=content, headers=JSON)
    assert answer.status_code in (400, 422), answer.text
    assert client.get("/v1/memories/bad").status_code == 404


@pytest.mark.parametrize(
    "vector",
    [
        "[]",
        "[NaN, 1, 1]",
        "[1e999, 1, 1]",
        "[1e300, 1, 1]",
        '["1", 1, 1]',
        "[true, 1, 1]",
        "[1, 1]",
        "null",
        "[" + "1," * 20_000 + "1]",
    ],
)
def test_a_vector_that_cannot_be_compared_is_refused(client: httpx.Client, vector: str) -> None:
    body = f'{{"collection": "memories", "vector": {vector}}}'.encode()
    answer = client.post("/v1/search", content=body, headers=JSON)
    assert answer.status_code == 422, answer.text


def test_a_zero_vector_has_no_cosine(client: httpx.Client) -> None:
    answer = client.post("/v1/search", json={"vector": [0, 0, 0, 0]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_value")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/memories/a%00b",
        "/v1/memories/a%0A",
        "/v1/memories/%ff",
        "/v1/memories/",
        "/v1/memories/" + "k" * 513,
        "/v1/memories?limit=0",
        "/v1/memories?limit=99999999999999999999",
        "/v1/memories?limit=x",
        "/v1/memories?cursor=%ff",
        "/v1/memories?cursor=abc",
        "/v1/memories?cursor=AAAA",
        "/v1/memories?prefix=%00",
        "/v1/agents?cursor=WyIxIiwgIjIiXQ==",
        "/v1/agents?cursor=WyJ4Il0=",
        "/v1/agents?cursor=e30=",
        "/v1/agents/%00",
    ],
)
def test_a_bad_path_or_query_is_refused(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_beyond_the_limit_is_refused_with_and_without_its_length(api: Api) -> None:
    with api.client() as client:
        large = b'{"value": "' + b"x" * (2 << 20) + b'"}'
        assert client.put("/v1/memories/l", content=large, headers=JSON).status_code == 413
    with api.client() as client:
        parts = (large[n : n + 65536] for n in range(0, len(large), 65536))
        answer = client.put("/v1/memories/l", content=parts, headers=JSON)
        assert answer.status_code == 413


def test_metrics_tell_routes_not_keys(client: httpx.Client) -> None:
    client.put("/v1/memories/secret-key", json={"value": 1})
    client.get("/v1/memories/secret-key")
    text = client.get("/metrics").text
    assert 'api_requests_total{method="GET",route="/v1/memories/{key:path}",status="200"}' in text
    assert 'api_cache_total{outcome="hit"}' in text
    assert "api_cache_up 1" in text
    assert "secret-key" not in text


def test_the_openapi_document_tells_of_token_and_problems(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["security"] == [{"bearer": []}]
    answers = document["paths"]["/v1/search"]["post"]["responses"]
    for status in ("401", "404", "422", "503"):
        assert list(answers[status]["content"]) == ["application/problem+json"]
    metrics = document["paths"]["/metrics"]["get"]["responses"]["200"]
    assert list(metrics["content"]) == ["text/plain"]


def test_a_failure_of_the_server_itself_is_a_problem_too(start_api, make_database) -> None:
    url = make_database()
    prepare(url, platform=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter table orchestra.kv_memories drop column value")
    api = start_api(url)
    with api.client() as client:
        answer = client.get("/v1/memories/k")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "value" not in answer.text
