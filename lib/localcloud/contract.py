"""What an API looks like, read from the installed Google client.

proto-plus clients register no service descriptors, so methods come from the transport's stubs,
the types of operations from the source of ``client.py``, resource names from the path functions
field rules from the documentation of the messages and HTTP rules from the REST base classes.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.iam.v1 import iam_policy_pb2
from google.protobuf.message import Message

from lib.localcloud.names import snake

RULE = re.compile(
    r"^ {8}(\w+) \([^\n]*?(?:\n {12}[^\n]*?)?\):\n\s+(Required|Output only|Immutable)\.", re.M
)
PATTERN = re.compile(r'"((?:\w+/\{\w+\}/?)+[\w/]*)"')
VARIABLE = re.compile(r"\{([\w.]+)(?:=([^}]*))?\}")
OPERATION_VERBS = ("Get", "List", "Cancel", "Delete", "Wait")
MIXINS = (
    "google.longrunning.Operations",
    "google.cloud.location.Locations",
    "google.iam.v1.IAMPolicy",
)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its path on the wire, its protobuf classes and what its operation yields."""

    path: str
    request: type[Message]
    response: type[Message]
    proto_request: Any = None
    result: type[Message] | None = None
    metadata: type[Message] | None = None

    @property
    def name(self) -> str:
        """The RPC's own name, as ``CreateCluster``."""
        return self.path.rsplit("/", 1)[1]

    @property
    def is_operation(self) -> bool:
        """Whether the RPC answers with a long-running operation."""
        return bool(self.response.DESCRIPTOR.full_name == "google.longrunning.Operation")


@dataclass(frozen=True, slots=True)
class Api:
    """A service of one client: methods by RPC name, resource name patterns by kind.

    ``operations`` are the methods of google.longrunning.Operations that the API has.
    """

    name: str
    methods: Mapping[str, Method]
    patterns: Mapping[str, str]
    operations: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FieldRules:
    """The rules that a message's documentation states for its own fields."""

    required: frozenset[str]
    output_only: frozenset[str]
    immutable: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one RPC is called: a verb and a path template, and the field that is the body.

    ``body`` is ``*`` where the whole request is, empty where there is none.
    """

    rpc: str
    verb: str
    template: str
    body: str = ""

    @property
    def fields(self) -> list[str]:
        """The fields in the path, as ``cluster.name``."""
        return [match[1] for match in VARIABLE.finditer(self.template)]

    @property
    def custom(self) -> bool:
        """Whether the path ends with a verb of its own, as ``:setIamPolicy``."""
        return ":" in self.template.rpartition("}")[2]


class _Recorder:
    """A channel that keeps what the transport asks for instead of calling anybody."""

    def __init__(self) -> None:
        self.stubs: list[tuple[str, Any, Any]] = []

    def unary_unary(
        self, path: str, request_serializer: Any, response_deserializer: Any, **_: Any
    ) -> Callable[..., None]:
        self.stubs.append((path, request_serializer, response_deserializer))
        return lambda *_args, **_kwargs: None

    unary_stream = stream_unary = stream_stream = unary_unary


def plain(message: Any) -> type[Message]:
    """The protobuf class of a proto-plus class, or the class itself where it is one already."""
    found: type[Message] = message if issubclass(message, Message) else message.pb()
    return found


@cache
def load(module: str, service: str) -> Api:
    """Read the API ``service`` (as ``AlloyDBAdmin``) of a client's service ``module``."""
    transports = importlib.import_module(f"{module}.transports.grpc")
    transport_class = getattr(transports, f"{service}GrpcTransport")
    client = importlib.import_module(f"{module}.client")
    operations = _operation_types(client)
    methods: dict[str, Method] = {}
    prefix = ""
    for path, serialize, deserialize in _stubs(transport_class):
        owner, _, rpc = path.strip("/").partition("/")
        if owner in MIXINS or owner.startswith("google.longrunning"):
            continue
        prefix = owner
        result, metadata = operations.get(rpc, (None, None))
        proto_request = getattr(serialize, "__self__", None)
        methods[rpc] = Method(
            path,
            plain(proto_request) if proto_request else getattr(iam_policy_pb2, f"{rpc}Request"),
            plain(deserialize.__self__),
            proto_request,
            plain(result) if result else None,
            plain(metadata) if metadata else None,
        )
    client_class = getattr(client, f"{service}Client")
    mixed_in = (f"{verb}Operation" + "s" * (verb == "List") for verb in OPERATION_VERBS)
    offered = frozenset(rpc for rpc in mixed_in if hasattr(client_class, snake(rpc)))
    return Api(prefix, methods, _patterns(client_class), offered)


def _stubs(transport_class: Any) -> list[tuple[str, Any, Any]]:
    """Every stub of a transport; it wraps its channel lazily, so the wrapper is replaced."""
    channel = grpc.insecure_channel("localhost:1")
    transport = transport_class(channel=channel)
    recorder = _Recorder()
    transport._stubs = {}
    transport._logged_channel = recorder
    for name, member in inspect.getmembers(transport_class):
        if isinstance(member, property) and name not in ("operations_client", "kind"):
            getattr(transport, name)
    channel.close()
    return recorder.stubs


def _operation_types(client: Any) -> dict[str, tuple[Any, Any]]:
    """RPC name to the classes given to ``operation.from_gapic`` in the client's source."""
    tree = ast.parse(inspect.getsource(client))
    found: dict[str, tuple[Any, Any]] = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".from_gapic"):
                metadata = [k.value for k in node.keywords if k.arg == "metadata_type"]
                rpc = "".join(part.capitalize() for part in function.name.split("_"))
                found[rpc] = (
                    _resolve(client, node.args[2]),
                    _resolve(client, metadata[0]) if metadata else None,
                )
    return found


def _resolve(module: Any, expression: ast.expr) -> Any:
    value: Any = module
    for part in ast.unparse(expression).split("."):
        value = getattr(value, part)
    return value


def _patterns(client_class: Any) -> dict[str, str]:
    """Kind to pattern, as ``cluster`` to ``projects/{project}/locations/{location}/...``."""
    found = {}
    for name, function in inspect.getmembers(client_class, inspect.isfunction):
        if name.endswith("_path") and not name.startswith(("parse_", "common_")):
            match = PATTERN.search(inspect.getsource(function))
            if match:
                found[name.removesuffix("_path")] = match[1]
    return found


@cache
def rules(module: str, service: str) -> tuple[Rule, ...]:
    """The rules in a client's REST base class, mixins too; none where it has no such class."""
    try:
        loaded: Any = importlib.import_module(f"{module}.transports.rest_base")
    except ModuleNotFoundError as error:
        if error.name != f"{module}.transports.rest_base":
            raise
        return ()
    base = getattr(loaded, f"_Base{service}RestTransport")
    return tuple(
        Rule(name.removeprefix("_Base"), each["method"].upper(), each["uri"], each.get("body", ""))
        for name, nested in inspect.getmembers(base, inspect.isclass)
        if name.startswith("_Base") and hasattr(nested, "_get_http_options")
        for each in nested._get_http_options()
    )


@cache
def field_rules(message: Any) -> FieldRules:
    """The documented rules of a proto-plus class; partial, a seed for a service's own checks."""
    rules: dict[str, set[str]] = {"Required": set(), "Output only": set(), "Immutable": set()}
    for field, rule in RULE.findall(message.__doc__ or ""):
        rules[rule].add(field)
    return FieldRules(
        frozenset(rules["Required"]),
        frozenset(rules["Output only"]),
        frozenset(rules["Immutable"]),
    )


def clear_output_only(pb: Message, message: Any) -> None:
    """Drop what a caller may not set, here and in nested messages."""
    rules = field_rules(message)
    for descriptor, value in pb.ListFields():
        nested = message.meta.fields.get(descriptor.name)
        if descriptor.name in rules.output_only:
            pb.ClearField(descriptor.name)
        elif nested is not None and hasattr(nested.message, "meta") and isinstance(value, Message):
            clear_output_only(value, nested.message)


def is_set(pb: Message, field: str) -> bool:
    """Whether a field has a value: present for messages, not the default for the others."""
    return any(descriptor.name == field for descriptor, _ in pb.ListFields())
