"""Environment files: found by name, read into settings, refused with the key that is wrong."""

import difflib
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from lib.errors import SettingsError
from lib.settings import ROOT, Settings


def environment_file(environment: str, root: Path = ROOT) -> Path:
    """The file of an environment given by name or by path; raises ``SettingsError`` if none."""
    if environment.endswith(".toml") or os.sep in environment:
        path = Path(environment)
        if path.is_file():
            return path
        raise SettingsError(
            f"There is no environment file {environment}.",
            expected="the path of a TOML file, or a name from environments/",
            remedy="check the path given to --env",
        )
    folder = root / "environments"
    path = folder / f"{environment}.toml"
    if path.is_file():
        return path
    known = sorted(each.stem for each in folder.glob("*.toml"))
    raise SettingsError(
        f"There is no environment {environment!r}{_near(environment, known)}.",
        expected=f"one of {', '.join(known)}, or the path of a TOML file",
        remedy=f"choose one of these with --env, or write environments/{environment}.toml",
    )


def load_settings(path: Path) -> Settings:
    """Read an environment file; raises ``SettingsError`` naming the file and the key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"{path}: the file can't be read: {error}.",
            expected="a TOML file",
            remedy="mend the file at the place named above",
        ) from error
    settings = _read_section(Settings, document, path, "")
    for name, holds, accepted in _ranges(settings):
        if not holds:
            section, _, key = name.partition(".")
            raise _refused(path, name, getattr(getattr(settings, section), key), accepted)
    return settings


_MOST = 1_000_000


def _ranges(settings: Settings) -> list[tuple[str, bool, str]]:
    """What the types don't tell: a key, whether its value makes sense, and what would."""
    data, vectors, criteria = settings.data_migration, settings.vectors, settings.criteria
    breaker = settings.breaker
    share = "a number above 0 and not above 1"
    return [
        ("data_migration.workers", data.workers >= 1, "a whole number from 1"),
        ("data_migration.chunk_mb", data.chunk_mb >= 1, "a whole number from 1"),
        ("vectors.recall_target", 0 < vectors.recall_target <= 1, share),
        ("vectors.neighbours", vectors.neighbours >= 1, "a whole number from 1"),
        ("criteria.vector_search_recall", 0 < criteria.vector_search_recall <= 1, share),
        ("criteria.api_error_rate", criteria.api_error_rate <= 1, "a number from 0 to 1"),
        (
            "criteria.vector_search_samples",
            200 <= criteria.vector_search_samples <= _MOST,
            f"200 to {_MOST:,}",
        ),
        ("criteria.api_samples", 200 <= criteria.api_samples <= _MOST, f"200 to {_MOST:,}"),
        (
            "criteria.workstation_cold_starts",
            3 <= criteria.workstation_cold_starts <= 1000,
            "3 to 1,000",
        ),
        (
            "breaker.failure_rate_threshold",
            1 <= breaker.failure_rate_threshold <= 100,
            "1 to 100",
        ),
        *(
            (f"breaker.{key}", 1 <= getattr(breaker, key) <= _MOST, f"1 to {_MOST:,}")
            for key in (
                "sliding_window_size",
                "minimum_number_of_calls",
                "permitted_calls_in_half_open_state",
            )
        ),
        ("source.sample_scale", settings.source.sample_scale > 0, "a number above 0"),
        (
            "criteria.left_out",
            set(criteria.left_out) <= set("1234567"),
            'numbers of criteria as strings, such as ["5"]',
        ),
    ]


SectionT = TypeVar("SectionT")


def _read_section(
    section: type[SectionT], document: Mapping[str, object], path: Path, prefix: str
) -> SectionT:
    known = {each.name: each for each in fields(section)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(section)
    values: dict[str, object] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if key not in known:
            raise SettingsError(
                f"{path}: unknown key {name!r}{_near(key, known)}.",
                expected=f"one of {', '.join(sorted(known))}",
                remedy=f"correct or remove {name!r}",
            )
        values[key] = _read_value(hints[key], value, path, name)
    for each in known.values():
        if each.name not in values and each.default is MISSING and each.default_factory is MISSING:
            raise SettingsError(f"{path}: the key {prefix}{each.name!r} is missing.")
    return section(**values)


def _read_value(kind: Any, value: object, path: Path, name: str) -> object:
    if is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, dict):
            return _read_section(kind, value, path, f"{name}.")
        raise _refused(path, name, value, f"a section [{name}]")
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_value(get_args(kind)[0], value, path, name)
    if origin is Literal:
        if value in get_args(kind):
            return value
        raise _refused(path, name, value, "one of " + ", ".join(map(repr, get_args(kind))))
    if origin is tuple:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise _refused(path, name, value, 'a list of strings, such as ["a", "b"]')
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(value, dict) and all(isinstance(each, str) for each in value.values()):
            return types.MappingProxyType(dict(value))
        raise _refused(path, name, value, "a table of strings")
    return _read_scalar(kind, value, path, name)


def _read_scalar(kind: type, value: object, path: Path, name: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        words = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
        raise _refused(path, name, value, words[kind])
    if isinstance(value, int | float) and not 0 <= value < float("inf"):
        raise _refused(path, name, value, "a number not below 0")
    return value


def _refused(path: Path, name: str, value: object, accepted: str) -> SettingsError:
    shown = "a value" if "password" in name or "://" in str(value) else repr(value)
    return SettingsError(
        f"{path}: {name} is {shown}.",
        expected=accepted,
        remedy=f"correct {name!r} in {path.name}",
    )


def _near(word: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=2)
    return f" (did you mean {' or '.join(repr(each) for each in close)}?)" if close else ""
