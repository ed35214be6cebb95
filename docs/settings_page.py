"""The reference of the environment files, made from ``lib/settings.py``."""

import dataclasses
import typing
from collections.abc import Mapping

from lib.settings import Settings

_HEAD = """# Settings

An environment file is TOML: `environments/NAME.toml`, chosen with `--env NAME`, or any other
file with `--env PATH`. What it leaves out has the default below; what it should not hold is
refused with the file, the key and the accepted values. Passwords are never written here:
`*_password_env` names the environment variable that holds one.

This page is made from `lib/settings.py` by `python docs/generate.py`.
"""


def settings() -> str:
    """Every section and key with its type, default and section's meaning, as Markdown."""
    lines = [_HEAD, "## The top of the file", ""]
    hints = typing.get_type_hints(Settings)
    keys = dataclasses.fields(Settings)
    sections = [each for each in keys if dataclasses.is_dataclass(hints[each.name])]
    own = [each for each in keys if each not in sections]
    lines += _table([(each.name, hints[each.name], each.default) for each in own])
    for each in sections:
        lines += _section(each.name, hints[each.name])
    return "\n".join(lines) + "\n"


def _section(name: str, section: typing.Any) -> list[str]:
    doc = " ".join((section.__doc__ or "").replace("``", "`").split())
    kinds = typing.get_type_hints(section)
    default = section()
    keys = [each.name for each in dataclasses.fields(section)]
    inner = [key for key in keys if dataclasses.is_dataclass(kinds[key])]
    rows = [(key, kinds[key], getattr(default, key)) for key in keys if key not in inner]
    lines = ["", f"## [{name}]", "", doc, "", *_table(rows)]
    for key in inner:
        lines += _section(f"{name}.{key}", kinds[key])
    return lines


def _table(rows: list[tuple[str, object, object]]) -> list[str]:
    told = [f"| `{name}` | {_kind(kind)} | `{_toml(value)}` |" for name, kind, value in rows]
    return ["| key | accepts | default |", "| --- | --- | --- |", *told]


def _kind(kind: object) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f'`"{each}"`' for each in typing.get_args(kind))
    words = {str: "a string", int: "a whole number", float: "a number", bool: "`true`, `false`"}
    if isinstance(kind, type) and kind in words:
        return words[kind]
    return "a list of strings" if typing.get_origin(kind) is tuple else "a table of strings"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }"
    return str(value)
