"""The sample source: made once, kept, started again when stopped.

A scale has a folder of its own below ``<state>/sample``, and addresses of its own.
"""

import math
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.errors import MigrationError
from lib.runtime.addresses import subnet
from lib.runtime.folders import explained, locked, require_room
from lib.runtime.postgresql import PostgreSQL
from lib.runtime.valkey import Valkey

LARGEST_SCALE = 100.0
_BYTES = 900_000_000  # room that making scale 1.0 takes, write-ahead log included
_BASE_BYTES = 200_000_000
_BUILDING = {"max_wal_size": "4GB", "checkpoint_timeout": "1h", "autovacuum": "off"}


class SampleError(MigrationError):
    """The sample can't be made as asked."""


@dataclass(frozen=True, slots=True)
class Sample:
    """URLs of the two sources; everybody on this machine is trusted, so without passwords."""

    postgresql: str
    redis: str


def ensure(state: Path, scale: float) -> Sample:
    """Make the sample at ``scale`` below ``state`` if it isn't there, and serve it.

    1.0 is about 300 MB of database.  A killed build leaves nothing that the next call would
    take for a sample.  Two processes that ask at once get the same one.  Raises
    ``SampleError`` for a scale that makes no sense, and ``RuntimeFailure``.
    """
    _require_sensible(scale)
    kept = _folder(state, scale)
    with locked(_lock(state)):
        _discard(state, ".unfinished")
        if not kept.exists():
            _build(kept, state, scale)
        database, cache = _servers(kept, state, scale)
        database.start()
        cache.start()
    return sample(state, scale)


def sample(state: Path, scale: float) -> Sample:
    """The URLs of a sample, whether it is there or not."""
    database, cache = _servers(_folder(state, scale), state, scale)
    url = database.url.removesuffix("/postgres") + "/orchestra"
    return Sample(postgresql=url, redis=cache.url)


def scales(state: Path) -> list[float]:
    """The scales of the samples kept below ``state``."""
    return sorted(scale for scale, _ in _folders(state, ""))


def running(state: Path, scale: float) -> bool:
    """Whether both servers of a sample serve."""
    return all(server.running() for server in _servers(_folder(state, scale), state, scale))


def stop(state: Path) -> None:
    """Stop the servers of every sample; the data stays."""
    if not (state / "sample").exists():
        return
    with locked(_lock(state)):
        for scale in scales(state):
            for server in _servers(_folder(state, scale), state, scale):
                server.stop()


def reset(state: Path) -> None:
    """Stop and remove every sample, half-made ones too."""
    if not (state / "sample").exists():
        return
    with locked(_lock(state)):
        _discard(state, ".unfinished")
        _discard(state, "")


def _build(kept: Path, state: Path, scale: float) -> None:
    """Fill new servers under another name; the last rename makes it a sample."""
    from lib.sample import cache, database  # numpy and the drivers, only when something is made

    building = kept.with_name(f"{kept.name}.unfinished")
    with explained(building):
        require_room(building.parent, _BASE_BYTES + int(_BYTES * scale))
        building.mkdir()
    postgresql, valkey = _servers(building, state, scale, _BUILDING)
    try:
        postgresql.start()
        valkey.start()
        database.fill(postgresql.url, scale)
        cache.fill(valkey.url, scale)
        postgresql.stop()
        valkey.stop()
        building.rename(kept)
    except BaseException:
        _discard(state, ".unfinished")
        raise


def _discard(state: Path, suffix: str) -> None:
    """Remove every kept sample (no suffix) or every half-made one, servers first."""
    for scale, folder in _folders(state, suffix):
        for server in _servers(folder, state, scale):
            server.discard()
        shutil.rmtree(folder)


def _folders(state: Path, suffix: str) -> list[tuple[float, Path]]:
    found = []
    for folder in (state.absolute() / "sample").glob(f"scale-*{suffix}"):
        with suppress(ValueError):  # a stranger's folder, or one with another suffix
            name = folder.name.removeprefix("scale-").removesuffix(suffix)
            found.append((float(name), folder))
    return found


def _servers(
    folder: Path, state: Path, scale: float, settings: Mapping[str, str] | None = None
) -> tuple[PostgreSQL, Valkey]:
    host = f"{subnet(state, f'sample {float(scale)!r}')}.1"
    database = PostgreSQL(folder / "postgresql", host, settings=settings or {})
    return database, Valkey(folder / "valkey", host)


def _folder(state: Path, scale: float) -> Path:
    return state.absolute() / "sample" / f"scale-{float(scale)!r}"


def _lock(state: Path) -> Path:
    return state.absolute() / "sample" / ".lock"


def _require_sensible(scale: float) -> None:
    if not math.isfinite(scale) or not 0 < scale <= LARGEST_SCALE:
        raise SampleError(
            f"A sample at scale {scale:g} can't be made.",
            expected=f"a number above 0 and up to {LARGEST_SCALE:g}; 1.0 is about 300 MB",
            remedy="set sample_scale under [source], or give --scale",
        )
