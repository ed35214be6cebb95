"""Whatever comes in, no answer is a 500, and what was stored is what is read."""

import json
from urllib.parse import quote

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.api.values import CONTROL
from tests.api.api_process import Api

FEW = settings(max_examples=40, derandomize=True, database=None)
WORDS = st.text(max_size=40)
NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(2**62, 2**200))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "BREW"])
PATHS = st.sampled_from(
    ["memories", "memories/k", "search", "collections", "agents", "agents/1", "conversations/1"]
)


def accepted(value: object) -> bool:
    """Whether the documented rules take this value."""
    if isinstance(value, str):
        return "\x00" not in value
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63
    if isinstance(value, list):
        return all(map(accepted, value))
    if isinstance(value, dict):
        return all(map(accepted, [*value.keys(), *value.values()]))
    return True


def as_doubles(value: object) -> object:
    """The value as JSON means it: PostgreSQL writes 1e3 as 1000, which is the same number."""
    if isinstance(value, list):
        return [as_doubles(each) for each in value]
    if isinstance(value, dict):
        return {key: as_doubles(each) for key, each in value.items()}
    return float(value) if type(value) in (int, float) else value


@FEW
@given(key=st.text(min_size=1, max_size=60), value=VALUES)
def test_a_value_comes_back_as_it_was_or_is_refused(
    client: httpx.Client, key: str, value: object
) -> None:
    path = f"/v1/memories/fuzz/{quote(key, safe='')}"
    body = json.dumps({"value": value}).encode()
    stored = client.put(path, content=body, headers={"content-type": "application/json"})
    if not accepted(value) or CONTROL.search(key):
        assert stored.status_code in (400, 422)
        return
    assert stored.status_code == 200, stored.text
    assert as_doubles(client.get(path).json()["value"]) == as_doubles(value)
    assert stored.json()["key"] == f"fuzz/{key}"


@FEW
@given(
    method=METHODS,
    path=PATHS,
    query=st.dictionaries(
        st.sampled_from(["limit", "cursor", "prefix", "x"]), WORDS | st.integers().map(str)
    ),
    body=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()),
)
def test_no_request_ends_in_500(
    client: httpx.Client, method: str, path: str, query: dict[str, str], body: bytes
) -> None:
    answer = client.request(
        method,
        f"/v1/{path}",
        params=query,
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code < 500, answer.text


@FEW
@given(raw=st.binary(max_size=40))
def test_no_path_ends_in_500(api: Api, client: httpx.Client, raw: bytes) -> None:
    path = quote(raw, safe="")
    for place in ("/v1/memories/", "/v1/agents/", "/v1/conversations/", "/"):
        assert client.get(place + path).status_code < 500


@FEW
@given(
    body=st.fixed_dictionaries({}, optional={"vector": VALUES, "k": VALUES, "collection": WORDS})
)
def test_no_search_ends_in_500(client: httpx.Client, body: dict[str, object]) -> None:
    answer = client.post(
        "/v1/search",
        content=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in (200, 400, 404, 422), answer.text
