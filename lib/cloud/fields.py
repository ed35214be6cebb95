"""Fields of a resource: what a wish sets, how it differs from what is there, and masks."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from lib.engine.changes import FieldChange, Json

Body: TypeAlias = Mapping[str, Any]
"""A resource as plain data, under the API's own field names; only what is set is looked at."""

_PROJECT = re.compile(r"^projects/([^/]+)/(.+)$")


def plain(message: Any) -> dict[str, Any]:
    """A resource as plain data: enumerations by name, times and durations as text."""
    return dict(
        type(message).to_dict(
            message, use_integers_for_enums=False, preserving_proto_field_name=True
        )
    )


def normal(kind: Any, body: Body) -> dict[str, Any]:
    """``body`` in the very form in which ``plain`` gives a resource of type ``kind``."""
    return plain(kind(dict(body)))


def differences(kind: Any, wanted: Body, there: Body) -> tuple[FieldChange, ...]:
    """The fields that ``wanted`` sets and that ``there`` (a ``plain`` resource) has otherwise.

    Maps are compared key by key, so that other people's labels and flags stay; lists as wholes.
    """
    found = []
    for path, new in _leaves(kind.pb().DESCRIPTOR, wanted, normal(kind, wanted), ""):
        old = value_at(kind, there, path)
        if not _same(new, old):
            found.append(FieldChange(path, old, new))
    return tuple(found)


def mask(kind: Any, paths: Iterable[str], wholes: Iterable[str] = ()) -> list[str]:
    """The update mask for changed ``paths``: maps as a whole, and ``wholes`` as the API takes."""
    found: dict[str, None] = {}
    for path in paths:
        short = map_prefix(kind, path) or path
        for whole in wholes:
            if short.startswith(whole + "."):
                short = whole
        found[short] = None
    return list(found)


def merged(there: Any, wanted: Any) -> Any:
    """``there`` with what ``wanted`` sets; list elements are merged where the lengths agree."""
    if isinstance(there, Mapping) and isinstance(wanted, Mapping):
        return {**there, **{k: merged(there.get(k), v) for k, v in wanted.items()}}
    if isinstance(there, list) and isinstance(wanted, list) and len(there) == len(wanted):
        return [merged(a, b) for a, b in zip(there, wanted, strict=True)]
    return wanted


def masked(kind: Any, masks: Iterable[str], body: Body) -> dict[str, Any]:
    """The part of ``body`` that the masks name, as an update request carries it."""
    part: dict[str, Any] = {}
    for path in masks:
        value = value_at(kind, body, path)
        if value is not None:
            place(kind, part, path, value)
    return part


def value_at(kind: Any, body: Body, path: str) -> Any:
    """The value under a dotted path (a map's key may have dots), None where there is none."""
    value: Any = body
    for name in _names(kind, path):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def place(kind: Any, body: dict[str, Any], path: str, value: Json) -> None:
    """Set the value under a dotted path; None in a map takes the key away."""
    *parents, last = _names(kind, path)
    for name in parents:
        body = body.setdefault(name, {})
    if value is None and map_prefix(kind, path) is not None:
        body.pop(last, None)
    else:
        body[last] = value


def map_prefix(kind: Any, path: str) -> str | None:
    """The path of the map that ``path`` is an entry of, or None where it is a plain field."""
    names = _names(kind, path)
    prefix = path.split(".")[: len(names) - 1]
    descriptor = kind.pb().DESCRIPTOR
    for name in prefix:
        known = descriptor.fields_by_name[name]
        if _is_map(known):
            return ".".join(prefix)
        descriptor = known.message_type
    return None


def _names(kind: Any, path: str) -> list[str]:
    descriptor = kind.pb().DESCRIPTOR
    parts = path.split(".")
    for position, name in enumerate(parts):
        known = descriptor.fields_by_name[name]
        if _is_map(known):
            rest = parts[position + 1 :]
            return parts[: position + 1] + ([".".join(rest)] if rest else [])
        descriptor = known.message_type
    return parts


def _leaves(
    descriptor: Any, wanted: Body, normalised: Body, prefix: str
) -> Iterator[tuple[str, Any]]:
    for name, value in wanted.items():
        known = descriptor.fields_by_name[name]
        path = f"{prefix}{name}"
        new = normalised.get(name)
        if _is_map(known):
            for key in value:
                yield f"{path}.{key}", (new or {}).get(key)
        elif isinstance(new, Mapping) and isinstance(value, Mapping) and not _is_free(known):
            yield from _leaves(known.message_type, value, new, f"{path}.")
        else:
            yield path, new


def _is_map(known: Any) -> bool:
    return known.message_type is not None and known.message_type.GetOptions().map_entry


def _is_free(known: Any) -> bool:
    """Whether a field takes any structure, so that nothing is known of what is in it."""
    return known.message_type.full_name in ("google.protobuf.Value", "google.protobuf.Struct")


def _same(new: Any, old: Any) -> bool:
    """Equal in all that ``new`` says; what it leaves at its default, the server may have filled."""
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        return all(_is_default(value) or _same(value, old.get(key)) for key, value in new.items())
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_same, new, old))
    if isinstance(new, str) and isinstance(old, str):
        return new == old or _same_name(new, old)
    return bool(new == old) or (_is_default(new) and old is None)


def _same_name(new: str, old: str) -> bool:
    """Whether two resource names differ only in naming the project by id or by number."""
    a, b = _PROJECT.match(new), _PROJECT.match(old)
    if a is None or b is None or a.group(2) != b.group(2):
        return False
    return a.group(1).isdigit() != b.group(1).isdigit()


def _is_default(value: Any) -> bool:
    return not value or (isinstance(value, str) and value.endswith("_UNSPECIFIED"))
