"""A journal in memory, with a way to stop a copy at a safe point."""

from collections.abc import Mapping

from lib.engine.changes import Json


class Stopped(Exception):
    """Stands for a run that was interrupted."""


class MemoryJournal:
    """Keeps entries between attempts; stops once ``stop_after`` entries were put."""

    def __init__(self) -> None:
        self.kept: dict[str, Json] = {}
        self.stop_after: int | None = None
        self.reported: list[tuple[str, float, float | None, str]] = []

    def get(self, key: str) -> Json:
        return self.kept.get(key)

    def put(self, key: str, value: Json) -> None:
        self.put_many({key: value})

    def put_many(self, entries: Mapping[str, Json]) -> None:
        self.kept.update(entries)
        if self.stop_after is not None:
            self.stop_after -= 1
            if self.stop_after < 0:
                raise Stopped

    def entries(self, prefix: str = "") -> Mapping[str, Json]:
        return {k: v for k, v in self.kept.items() if k.startswith(prefix)}

    def forget(self, prefix: str = "") -> None:
        for key in self.entries(prefix):
            del self.kept[key]

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        self.reported.append((label, done, total, unit))

    def safe_point(self) -> None:
        pass
