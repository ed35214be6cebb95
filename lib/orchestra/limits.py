"""Settings that no migration could work with, refused before anything is made."""

import re
from typing import Any
from urllib.parse import urlsplit

from lib.errors import SettingsError

PASSWORD_PLACE = re.compile(
    r"projects/(?P<project>[^/]+)/secrets/(?P<secret>[^/]+)(/versions/latest)?"
    r"|env:(?P<variable>[A-Za-z_][A-Za-z0-9_]*)|file:(?P<file>/.+)"
)
"""Where a worker of a pipeline may read a password."""


def check(settings: Any) -> None:
    """Raise ``SettingsError`` for the first setting that can't be used."""
    _check_source(settings.source)
    _check_beam(settings.data_migration.beam)
    _check_names(settings.alloydb)


def _check_source(source: Any) -> None:
    _check_url("source.postgresql", source.postgresql, ("postgresql", "postgres"))
    _check_url(
        "source.postgresql_seen_from_target",
        source.postgresql_seen_from_target,
        ("postgresql", "postgres"),
    )
    _check_url("source.redis", source.redis, ("redis", "rediss"))
    if not (source.postgresql or source.redis) and not 0 < source.sample_scale <= 100:
        raise _refused(
            "source.sample_scale",
            repr(source.sample_scale),
            "above 0 and up to 100; 1.0 is about 300 MB",
        )


def _check_beam(beam: Any) -> None:
    for side in ("source", "target"):
        key = f"data_migration.beam.{side}_seen_from_workers"
        url = getattr(beam, f"{side}_seen_from_workers")
        _check_url(key, url, ("postgresql", "postgres"))
        if urlsplit(url).password:
            raise _refused(key, "a URL with a password", f"it without; {side}_password_from has it")
        place = getattr(beam, f"{side}_password_from")
        if place and not PASSWORD_PLACE.fullmatch(place):
            raise _refused(
                f"data_migration.beam.{side}_password_from",
                "no such place",
                "projects/PROJECT/secrets/NAME, env:VARIABLE or file:/path",
            )


def _check_url(path: str, url: str, schemes: tuple[str, ...]) -> None:
    """The value isn't shown, as it may hold a password."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname or parts.query)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        port = 5432 if "postgresql" in schemes else 6379
        raise _refused(path, "no URL of that kind", f"{schemes[0]}://user@host:{port}/name")


def _check_names(alloydb: Any) -> None:
    if alloydb.database in ("", "postgres", "template0", "template1"):
        raise _refused("alloydb.database", repr(alloydb.database), "a database of its own")
    role = alloydb.application_role
    if role in ("", "postgres", "public", "none") or role.startswith("pg_"):
        raise _refused(
            "alloydb.application_role", repr(role), "a role of the application's own, not pg_..."
        )


def _refused(path: str, shown: str, accepted: str) -> SettingsError:
    return SettingsError(
        f"{path} is {shown}, which can't be used.",
        expected=accepted,
        remedy=f"correct {path} in the environment file",
    )
