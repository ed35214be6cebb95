"""JSON over HTTP: what Google's clients encode is decoded to the same request, for every method."""

import contextlib
import importlib
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from google.api_core import rest_helpers
from google.auth.credentials import AnonymousCredentials
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.localcloud import contract, errors, transcoding
from lib.localcloud.contract import Rule
from lib.localcloud.core import Core
from tests.localcloud.conftest import CLIENTS, Server
from tests.localcloud.doors import DOORS, Door, Embedded

WITHOUT_REST = {"accounts"}
"""Google's clients that have no REST transport."""

AWKWARD = "a b/c%2F&=+?é"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    """The services without their server."""
    core = Core(tmp_path_factory.mktemp("core"), "127.64.0")
    yield core
    core.close()


def _rules(name: str) -> list[Rule]:
    package, service, kind = CLIENTS[name]
    return list(contract.rules(f"google.cloud.{package}.services.{service}", kind))


class Filler:
    """Fills messages at random with what JSON can carry."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def fill(self, message: Message, *, query: bool, depth: int = 2, leave: tuple = ()) -> None:
        """Set most fields; in a query neither repeated messages nor maps can be told."""
        for field in message.DESCRIPTOR.fields:
            inner = field.message_type
            if field.name in leave or self._chance.random() < 0.3:
                continue
            if inner is None:
                self._scalar(message, field)
            elif inner.full_name == "google.protobuf.FieldMask":
                getattr(message, field.name).paths.extend(["labels", "network_config.network"])
            elif inner.full_name.startswith("google.protobuf."):
                self._well_known(message, field)
            elif depth and not field.is_repeated:
                self.fill(getattr(message, field.name), query=query, depth=depth - 1)
            elif depth and not query and not inner.GetOptions().map_entry:
                self.fill(getattr(message, field.name).add(), query=query, depth=depth - 1)
            elif not query and inner.GetOptions().map_entry:
                self._map(message, field)

    def _map(self, message: Message, field: FieldDescriptor) -> None:
        kinds = field.message_type.fields_by_name
        if kinds["value"].message_type is None:
            getattr(message, field.name)[AWKWARD] = self._value(kinds["value"])

    def _well_known(self, message: Message, field: FieldDescriptor) -> None:
        if field.is_repeated:
            return
        kind, value = field.message_type.name, getattr(message, field.name)
        if kind in ("Timestamp", "Duration"):
            value.seconds, value.nanos = self._chance.randrange(10**9), 5000
        elif kind.endswith("Value") and "value" in field.message_type.fields_by_name:
            value.value = self._value(field.message_type.fields_by_name["value"])

    def _scalar(self, message: Message, field: FieldDescriptor) -> None:
        if field.is_repeated:
            getattr(message, field.name).extend([self._value(field), self._value(field)])
        else:
            setattr(message, field.name, self._value(field))

    def _value(self, field: FieldDescriptor) -> Any:
        if field.enum_type is not None:
            return self._chance.choice([each.number for each in field.enum_type.values][1:] or [0])
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                text = AWKWARD + "".join(self._chance.choices(string.printable, k=3))
                return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
            case FieldDescriptor.CPPTYPE_BOOL:
                return True
            case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
                return self._chance.randrange(1, 1000) / 8
            case _:
                return self._chance.randrange(1, 2**31)


def _filled(method: contract.Method, rule: Rule, chance: random.Random) -> Message:
    request: Any = method.request()
    filler = Filler(chance)
    if rule.body and rule.body != "*":
        filler.fill(getattr(request, rule.body), query=False)
    filler.fill(request, query=rule.body != "*", leave=(rule.body,))
    for match in contract.VARIABLE.finditer(rule.template):
        *above, last = match[1].split(".")
        owner = request
        for part in above:
            owner = getattr(owner, part)
        setattr(owner, last, _named(match[2] or "*", chance))
    return request


def _named(pattern: str, chance: random.Random) -> str:
    """A name as a variable of a path has it."""
    parts = pattern.replace("**", "*").split("*")
    ids = ["".join(chance.choices(string.ascii_lowercase + "@.~-", k=6)) for _ in parts[1:]]
    return parts[0] + "".join(map("".join, zip(ids, parts[1:], strict=True)))


@pytest.mark.parametrize("name", sorted(set(CLIENTS) - WITHOUT_REST))
@settings(max_examples=3)
@given(seed=st.integers())
def test_every_method_that_a_client_encodes_is_decoded(core: Core, name: str, seed: int) -> None:
    """A client release that changes a rule, drops a method or adds one fails here by its name."""
    chance = random.Random(seed)
    package, service, kind = CLIENTS[name]
    module = f"google.cloud.{package}.services.{service}"
    base = importlib.import_module(f"{module}.transports.rest_base")
    found = {
        rpc: _difference(core, method, getattr(base, f"_Base{kind}RestTransport"), chance)
        for rpc, method in contract.load(module, kind).methods.items()
    }
    assert {rpc: what for rpc, what in found.items() if what} == {}


def _difference(core: Core, method: contract.Method, base: Any, chance: random.Random) -> str:
    """What is wrong with how we read what a client sends; empty where nothing is."""
    own = getattr(base, f"_Base{method.name}", None)
    if own is None:
        return "has no HTTP rule in the installed client"
    each = chance.choice(own._get_http_options())
    rule = Rule(method.name, each["method"].upper(), each["uri"], each.get("body", ""))
    request = _filled(method, rule, chance)
    sent, body, query = rest_helpers.transcode_request(
        own._get_http_options(), request,
        required_fields_default_values=getattr(
            own, f"_Base{method.name}__REQUIRED_FIELDS_DEFAULT_VALUES", None
        ),
        rest_numeric_enums=True,
    )  # fmt: skip
    target = transcoding.find(core, sent["method"].upper(), sent["uri"])
    if target is None:
        return f"{sent['method']} {sent['uri']} is no path of ours"
    if (target.method.name, target.method.request) != (method.name, method.request):
        return f"{sent['method']} {sent['uri']} is taken for {target.method.path}"
    told = urlencode(rest_helpers.flatten_query_params(query, strict=True))
    read = transcoding.decode(target, told, (body or "").encode())
    return "" if read == request and transcoding.form(told) else f"{request} is read as {read}"


@pytest.mark.parametrize("name", sorted(set(CLIENTS) - WITHOUT_REST))
def test_every_path_by_which_a_client_asks_for_its_operations_is_known(
    core: Core, name: str
) -> None:
    package, service, kind = CLIENTS[name]
    module = importlib.import_module(f"google.cloud.{package}.services.{service}")
    client = getattr(module, f"{kind}Client")(
        transport="rest", credentials=AnonymousCredentials(),
        client_options={"api_endpoint": "https://localhost:1"},
    )  # fmt: skip
    operations = getattr(client.transport, "operations_client", None)
    if operations is None:  # an API without operations
        return
    for rpc, options in operations.transport._http_options.items():
        rule = options[0]
        path = contract.VARIABLE.sub(lambda found: found[2].replace("*", "x"), rule["uri"])
        target = transcoding.find(core, rule["method"].upper(), path)
        assert target is not None, path
        assert f"{target.service.name}.{target.method.name}" == rpc


def test_a_path_loads_no_service_of_another_version(tmp_path: Path) -> None:
    """Vertex AI alone takes a second and 90 MB."""
    core = Core(tmp_path, "127.64.0")
    assert transcoding.find(core, "GET", "/v3/nowhere") is None
    assert {name.split(".")[-2] for name in core._services} == {"v3"}
    assert transcoding.find(core, "GET", "nowhere") is None
    core.close()


def test_clients_without_rest_still_have_none() -> None:
    """The rules of these are written here; they can go when the client tells them."""
    for name in WITHOUT_REST:
        assert _rules(name) == []


def test_what_the_message_does_not_have_is_refused_in_googles_words(
    http: Any, project: str
) -> None:
    parent = f"/v1/projects/{project}/locations/us-central1/instances"
    own = {"tier": "BASIC", "memorySizeGb": 1}
    cases: list[tuple[str, Any, str]] = [
        ("instanceId=a&nonsense=1", own, 'Unknown name "nonsense": Cannot bind query parameter'),
        ("instanceId=a&instance.nonsense=1", own, "Cannot bind query parameter"),
        ("instanceId=a&instanceId=b", own, "more than once"),
        ("instanceId=a&$alt=xml", own, "not one of json"),
        ("instanceId=a", {**own, "x": 1}, "Unknown name \"x\" at 'instance': Cannot find field"),
        ("instanceId=a", {**own, "memorySizeGb": "many"}, "memorySizeGb"),
        ("instanceId=a", {**own, "tier": "GOLD"}, "GOLD"),
        ("instanceId=a", [], "no JSON object"),
    ]
    for query, body, told in cases:
        status, answer = http("POST", f"{parent}?{query}", json=body)
        assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert told in answer["error"]["message"]
    assert http("GET", parent, json={"x": 1})[0] == 400
    assert http("PUT", parent, json={})[0] == 404
    assert http("GET", f"{parent}?pageSize=5&prettyPrint=false&key=k") == (200, {})


def test_enums_are_names_unless_numbers_are_asked_for(http: Any, project: str) -> None:
    path = f"/v3/projects/{project}"
    assert http("GET", path)[1]["state"] == "ACTIVE"
    assert http("GET", f"{path}?%24alt=json%3Benum-encoding%3Dint")[1]["state"] == 1


def test_service_accounts_have_rest_too(http: Any, project: str) -> None:
    accounts = f"/v1/projects/{project}/serviceAccounts"
    status, made = http("POST", accounts, json={"accountId": "by-http"})
    assert (status, made["email"].partition("@")[0]) == (200, "by-http")
    one = f"/v1/{made['name']}"
    patch = {"serviceAccount": {"displayName": "x"}, "updateMask": "displayName"}
    assert http("PATCH", one, json=patch)[1]["displayName"] == "x"
    assert made["name"] in [each["name"] for each in http("GET", accounts)[1]["accounts"]]
    policy = {"bindings": [{"role": "roles/viewer", "members": ["user:a@example.com"]}]}
    assert http("POST", f"{one}:setIamPolicy", json={"policy": policy})[0] == 200
    assert http("POST", f"{one}:getIamPolicy")[1]["bindings"] == policy["bindings"]
    asked = {"permissions": ["iam.serviceAccounts.get"]}
    assert http("POST", f"{one}:testIamPermissions", json=asked) == (200, asked)
    assert [http(verb, one)[0] for verb in ("DELETE", "GET")] == [200, 404]


def test_faults_counts_and_identities_are_those_of_grpc(
    cloud: Server, http: Any, project: str
) -> None:
    path = f"/v1/projects/{project}/locations/us-central1/clusters"
    cloud.command("calls", "--reset")
    cloud.command("faults", "add", "error", "--method", "alloydb/ListClusters", "--times", "1",
                  "--code", "RESOURCE_EXHAUSTED")  # fmt: skip
    status, told = http("GET", path)
    assert (status, told["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert told["error"]["details"][0]["@type"].endswith("QuotaFailure")
    assert http("GET", path)[0] == 200
    cloud.command("faults", "add", "cut", "--method", "ListClusters", "--times", "1")
    with pytest.raises(requests.ConnectionError):
        http("GET", path)
    cloud.command("faults", "clear")
    assert http("GET", path, "nobody")[0] == 401
    stranger = cloud.command("token", "--principal", "user:nobody@example.com").strip()
    status, told = http("GET", path, stranger)
    assert (status, told["error"]["details"][0]["reason"]) == (403, "IAM_PERMISSION_DENIED")
    counts = json.loads(cloud.command("calls", "--json"))
    assert counts["reading"] == {"google.cloud.alloydb.v1.AlloyDBAdmin/ListClusters": 5}


@pytest.mark.parametrize("door", DOORS)
def test_an_operation_that_fails_is_told_alike(cloud: Server, project: str, door: str) -> None:
    cloud.command("faults", "add", "operation-fails", "--method", "redis/CreateInstance",
                  "--code", "RESOURCE_EXHAUSTED", "--message", "no room")  # fmt: skip
    parent = f"projects/{project}/locations/us-central1"
    request = {"parent": parent, "instance_id": "fails",
               "instance": {"tier": "BASIC", "memory_size_gb": 1}}  # fmt: skip
    place = Embedded(cloud.start())
    with place.trusted(), contextlib.closing(Door(place, door)) as opened:
        answer = opened.call("redis", "create_instance", request)
        gone = opened.call("redis", "get_instance", {"name": f"{parent}/instances/fails"})
    assert (answer.code, answer.message) == ("RESOURCE_EXHAUSTED", "no room")
    assert gone.code == "NOT_FOUND"
    cloud.command("faults", "clear")


def test_a_body_may_come_in_parts(http: Any, project: str) -> None:
    parts = (each for each in [b'{"accountId": ', b'"in-parts"}'])
    status, made = http("POST", f"/v1/projects/{project}/serviceAccounts", data=parts)
    assert (status, made["email"].partition("@")[0]) == (200, "in-parts")


@pytest.mark.parametrize(
    "headers",
    [{"Content-Length": "many"}, {"Content-Length": "-1"}, {"Content-Length": str(1 << 40)}],
)  # fmt: skip
def test_a_body_of_no_length_is_refused(http: Any, headers: dict[str, str]) -> None:
    status, told = http("POST", "/v1/projects/p/serviceAccounts", headers=headers)
    assert (status, "no length" in told["error"]["message"]) == (400, True)


def test_what_is_not_implemented_says_so(http: Any, project: str) -> None:
    path = f"/v1/projects/{project}/locations/us-central1/instances/x:failover"
    status, told = http("POST", path, json={})
    assert (status, told["error"]["status"]) == (501, "UNIMPLEMENTED")


@settings(max_examples=50)
@given(query=st.text(max_size=30), content=st.binary(max_size=40))
def test_any_query_and_body_give_a_request_or_a_refusal(
    core: Core, query: str, content: bytes
) -> None:
    target = transcoding.find(core, "POST", "/v1/projects/p/locations/l/instances")
    assert target is not None
    with contextlib.suppress(errors.RpcError):
        assert transcoding.decode(target, query, content).parent == "projects/p/locations/l"
