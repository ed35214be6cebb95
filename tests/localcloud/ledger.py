"""What a conformance run has made and not yet removed, on disk, so that a killed run's is found."""

import base64
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.localcloud.conftest import filled
from tests.localcloud.doors import Door
from tests.localcloud.recording import Watcher
from tests.localcloud.steps import Step

Entry = dict[str, Any]
BUSY = ("ABORTED", "FAILED_PRECONDITION", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL")
"""Codes of a removal that may succeed later: what is being made cannot be removed yet."""

GONE = ("OK", "NOT_FOUND")


class Ledger(Watcher):
    """Entries in the order in which things were made; each says how its thing is removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.entries: list[Entry] = json.loads(path.read_text()) if path.exists() else []

    def begins(self, step: Step, words: dict[str, str]) -> None:
        """Write down what is about to be made, before it is."""
        if step.unmake:
            self._add(self._entry(step, words))

    def ends(self, step: Step, words: dict[str, str]) -> None:
        """The thing has its name, or is gone."""
        if step.unmake:
            self._drop(self._entry(step, {**words, **dict.fromkeys(_learned(step))}))
            self._add(self._entry(step, words))
        request = filled(step.request, words)
        removed = [step.client, step.method, request]
        for each in [each for each in self.entries if each["unmake"] == removed]:
            self._drop(each)

    def clean(self, door: Door, seconds: float) -> list[str]:
        """Remove everything, the newest first; what could not be removed, and why."""
        left = []
        for entry in reversed(self.entries[:]):
            problem = self._removed(door, entry, time.monotonic() + seconds)
            if problem:
                left.append(problem)
            else:
                self._drop(entry)
        return left

    def _entry(self, step: Step, words: dict[str, Any]) -> Entry:
        known = {word: value for word, value in words.items() if value is not None}
        assert step.unmake is not None
        method, request = step.unmake
        found = [step.client, step.find[0], filled(step.find[1], known)] if step.find else None
        return {"unmake": [step.client, method, filled(request, known)], "find": found}

    def _removed(self, door: Door, entry: Entry, end: float) -> str:
        pause = door.place.initial
        for client, method, request in self._calls(door, entry):
            while (answer := door.call(client, method, request)).code not in GONE:
                if answer.code not in BUSY or time.monotonic() > end:
                    return f"{client}.{method} {request}: {answer.code}: {answer.message}"
                print(f"  {method} {request}: {answer.code}; again", file=sys.stderr)
                time.sleep(pause)
                pause = min(pause * 1.5, door.place.maximum)
        return ""

    @staticmethod
    def _calls(door: Door, entry: Entry) -> Iterator[tuple[str, str, Entry]]:
        client, method, request = entry["unmake"]
        if not re.search(r"\{[a-z_-]+\}", json.dumps(request)):
            yield client, method, request
        elif entry["find"]:
            answer = door.call(*entry["find"])
            for page in answer.pages:
                for each in [each for value in page.values() if isinstance(value, list)
                             for each in value]:  # fmt: skip
                    yield client, method, {"name": each["name"]}

    def _add(self, entry: Entry) -> None:
        if entry not in self.entries:
            self.entries.append(entry)
            self._write()

    def _drop(self, entry: Entry) -> None:
        if entry in self.entries:
            self.entries.remove(entry)
            self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self.entries:
            self._path.unlink(missing_ok=True)
            return
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(self.entries, file, default=lambda value: base64.b64encode(value).decode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def _learned(step: Step) -> list[str]:
    return [f"{{{word}}}" for word in step.remember]
