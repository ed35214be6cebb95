"""Where a cell of the matrix runs: an embedded cloud of its own, and what one cell makes in it."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.cloud.cloud import Cloud
from lib.cloud.target import Polling, Target
from lib.localcloud.faults import Faults
from lib.localcloud.rehearsal import Rehearsal
from lib.localcloud.store import Store
from lib.settings import Settings
from tests.cloud.small_engine import MemoryJournal

COMMAND = [sys.executable, "-m", "lib.localcloud"]
HURRIED = Polling(initial=0.01, maximum=0.1, deadline=15.0, call=20.0, patience=0.3)


class World:
    """An embedded cloud of the matrix's own, and the facade that a run has on it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.faults = Faults(Rehearsal(state))
        redis = dataclasses.replace(Settings().redis, tier="BASIC", memory_gb=1)
        self.settings = dataclasses.replace(Settings(), redis=redis)
        self.cloud = self.connect()

    def connect(self) -> Cloud:
        """Start the server where it does not run."""
        done = subprocess.run(
            [*COMMAND, "start", "--json", "--state", str(self.state), "--operation-seconds", "0"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        about = json.loads(done.stdout)
        project = self.settings.project.id
        target = Target.embedded(about["endpoint"], about["ca"], about["token"], project=project)
        return Cloud(dataclasses.replace(target, polling=HURRIED))

    def revive(self) -> None:
        """Start the server again and forget the connections to the one that was killed."""
        self.cloud.close()
        self.cloud = self.connect()

    def close(self) -> None:
        """Remove the server with all that it holds."""
        self.cloud.close()
        reset = [*COMMAND, "reset", "--yes", "--state", str(self.state)]
        subprocess.run(reset, check=True, capture_output=True)

    def successes(self, rpc: str, id: str) -> int:
        """How many operations of an RPC on what a case made did their work."""
        store = Store(self.state / "state.db")
        try:
            rows = store.operations(None, "")
        finally:
            store.close()
        return sum(
            1
            for row in rows
            if row.rpc == rpc and (id in row.target or id.encode() in row.payload) and not row.error
        )


@contextlib.contextmanager
def world(state: Path) -> Iterator[World]:
    """A world that is gone afterwards."""
    made = World(state)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Case:
    """One cell as it runs: settings with ids of its own, and a journal that outlives a run."""

    world: World
    id: str = field(default_factory=lambda: f"c{uuid.uuid4().hex[:8]}")
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    @property
    def cloud(self) -> Cloud:
        """The facade, also after the server was started again."""
        return self.world.cloud

    @property
    def project(self) -> Any:
        """The project that all cells share."""
        return self.world.settings.project

    @property
    def own_project(self) -> Any:
        """A project of this case alone."""
        return self.settings("project", id=f"orchestra-{self.id}")

    def settings(self, section: str, **changed: Any) -> Any:
        """A section of the settings with other values."""
        return dataclasses.replace(getattr(self.world.settings, section), **changed)


Build = Callable[[Case], Any]
