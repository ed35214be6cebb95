"""Fingerprints of what a step read, so that a later change of it makes the step pending."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Set
from typing import Any


def digest(value: object) -> str:
    """A short digest of a value; equal values of plain types give equal digests."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(digest(each) for each in value)
    return repr(value)


class Tracked:
    """A view of frozen settings that tells ``read`` the dotted path and value of each leaf used."""

    __slots__ = ("_path", "_read", "_value")

    def __init__(self, value: object, read: Callable[[str, object], None], path: str = "") -> None:
        self._value = value
        self._read = read
        self._path = path

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._value, name)
        path = f"{self._path}.{name}" if self._path else name
        if dataclasses.is_dataclass(value):
            return Tracked(value, self._read, path)
        self._read(path, value)
        return value

    def __repr__(self) -> str:
        return repr(self._value)


def lookup(settings: object, path: str) -> object:
    """The value under a dotted path; raises AttributeError where there is none any more."""
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings
