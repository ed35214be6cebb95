"""JSON over HTTP for what Google defines in gRPC, by the rules in its own clients.

A rule says where the fields of a request travel: in the path, in the body, the rest in the query.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2

from lib.localcloud import errors
from lib.localcloud.contract import MIXINS, VARIABLE, Method, Rule
from lib.localcloud.core import SERVICES, Core
from lib.localcloud.names import camel
from lib.localcloud.service import Service

UNKNOWN: Final = re.compile(r'has no field named "([^"]*)"(?: at "([^"]*)")?')
BOOLEANS: Final = {"true": True, "false": False}
FORM: Final = ("$alt", "alt")
IGNORED: Final = frozenset({"$prettyPrint", "prettyPrint", "quotaUser", "key", "$userProject"})
"""System parameters that change nothing in an answer."""

UNVERSIONED: Final = "ui"
"""Under which Vertex AI has its operations and locations."""

FORMS: Final = {"json": False, "json;enum-encoding=int": True}


@dataclass(frozen=True, slots=True)
class Target:
    """What a verb and a path mean: the RPC of a service, and the fields in the path."""

    service: Service
    method: Method
    rule: Rule
    values: Mapping[str, str]


def find(core: Core, verb: str, path: str) -> Target | None:
    """What a request is for; None where no service has such a path."""
    for service in _services(core, path.lstrip("/").partition("/")[0]):
        own = [rule for rule in service.rules() if rule.verb == verb]
        for rule in sorted(own, key=lambda each: not each.custom):
            match = _expression(rule.template).fullmatch(path)
            method = _method(core, service, rule.rpc) if match else None
            if match and method:
                values = dict(zip(rule.fields, map(unquote, match.groups()), strict=True))
                return Target(*method, rule, values)
    return None


def _services(core: Core, version: str) -> Iterator[Service]:
    """The services of that version, each loaded only when those before it had no such path."""
    for name in SERVICES:
        if name not in MIXINS and version in (name.split(".")[-2], UNVERSIONED):
            service = core.service(name)
            if service is not None:
                yield service


def _method(core: Core, service: Service, rpc: str) -> tuple[Service, Method] | None:
    """The method itself, or that of the service which is mixed into every API."""
    for each in (service, *map(core.service, MIXINS)):
        method = each.method(rpc) if each is not None else None
        if each is not None and method is not None:
            return each, method
    return None


@cache
def _expression(template: str) -> re.Pattern[str]:
    pattern, last = "", 0
    for match in VARIABLE.finditer(template):
        inner = re.escape(match[2] or "*").replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
        pattern += f"{re.escape(template[last : match.start()])}({inner})"
        last = match.end()
    return re.compile(pattern + re.escape(template[last:]))


def form(query: str) -> bool:
    """Whether enums are to be told as numbers; INVALID_ARGUMENT for a form other than JSON."""
    asked = [value for name, value in _pairs(query) if name in FORM]
    if any(value not in FORMS for value in asked):
        raise errors.invalid("$alt", f"'{asked[-1]}' is not one of {', '.join(FORMS)}")
    return any(FORMS[value] for value in asked)


def decode(target: Target, query: str, content: bytes) -> Message:
    """The request as over gRPC; INVALID_ARGUMENT for what its message does not have."""
    request = target.method.request()
    if target.rule.body == "*":
        _merge(loaded(content), request, "")
    elif target.rule.body:
        _merge(loaded(content), getattr(request, target.rule.body), target.rule.body)
    elif loaded(content):
        raise errors.invalid("body", "Request body is not accepted by this method.")
    given = [pair for pair in _pairs(query) if pair[0] not in (*FORM, *IGNORED)]
    _merge(_nested(request.DESCRIPTOR, given), request, "")
    _merge(_nested(request.DESCRIPTOR, list(target.values.items())), request, "")
    return request


def encode(answer: Any, numbers: bool) -> Any:
    """A response as JSON values; documents are such values already."""
    if not isinstance(answer, Message):
        return answer
    return json_format.MessageToDict(answer, use_integers_for_enums=numbers)


def loaded(content: bytes) -> dict[str, Any]:
    """A body as JSON; INVALID_ARGUMENT where it is no JSON object."""
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise errors.invalid("body", "Invalid JSON payload received: it is no JSON") from error
    if not isinstance(body, dict):
        raise errors.invalid("body", "Invalid JSON payload received: it is no JSON object")
    return body


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _merge(values: Mapping[str, Any], message: Message, where: str) -> None:
    try:
        json_format.ParseDict(values, message)
    except json_format.ParseError as error:
        unknown = UNKNOWN.search(str(error))
        if unknown is None:
            raise errors.invalid(where or "body", str(error)) from error
        inner = (unknown[2] or "").partition(".")[2]
        raise _unknown(unknown[1], ".".join(filter(None, (where, inner)))) from error


def _unknown(name: str, place: str | None = None) -> errors.RpcError:
    """The error for a name that the request does not have, in its query or at a place in the body.

    Its words are Google's: tools look for them.
    """
    where = f" at '{place}'" if place else ""
    what = "bind query parameter" if place is None else "find field"
    text = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot {what}.'
    violation = error_details_pb2.BadRequest.FieldViolation(field=place or "", description=text)
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    return errors.RpcError(code_pb2.INVALID_ARGUMENT, text, detail)


def _nested(root: Descriptor, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Parameters such as ``a.b=1`` as the JSON object that they stand for."""
    found: dict[str, Any] = {}
    for name, text in pairs:
        descriptor, into = root, found
        *above, last = name.split(".")
        for part in above:
            field = _field(descriptor, part)
            if field is None or field.message_type is None or field.is_repeated:
                raise _unknown(name)
            descriptor = field.message_type
            into = into.setdefault(field.json_name, {})
        field = _field(descriptor, last)
        if field is None or not isinstance(into, dict):
            raise _unknown(name)
        value = _value(field, name, text)
        if field.is_repeated:
            into.setdefault(field.json_name, []).append(value)
        elif into.setdefault(field.json_name, value) is not value:
            raise errors.invalid(name, "the parameter is given more than once")
    return found


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    own = descriptor.fields_by_name.get(name)
    return own or next((each for each in descriptor.fields if each.json_name == name), None)


def _value(field: FieldDescriptor, name: str, text: str) -> Any:
    """The JSON value of a parameter: text stands for everything but truth."""
    kind = field.message_type.full_name if field.message_type else ""
    if kind == "google.protobuf.FieldMask":
        return ",".join(".".join(map(camel, path.split("."))) for path in text.split(","))
    if kind == "google.protobuf.BoolValue" or field.type == FieldDescriptor.TYPE_BOOL:
        if text.lower() not in BOOLEANS:
            raise errors.invalid(name, f"'{text}' is neither true nor false")
        return BOOLEANS[text.lower()]
    if kind and not kind.startswith("google.protobuf."):
        raise _unknown(name)
    return text
