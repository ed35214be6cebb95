"""The small migration's world: begun anew for each scenario, and looked at from outside."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.cloud.cloud import Cloud
from lib.cloud.target import Target
from lib.engine.changes import Change, ChangeKind
from lib.engine.store import Store
from lib.settings import NetworkSettings, ProjectSettings, RedisSettings
from tests.chaos.processes import Forks
from tests.chaos.servers import resources
from tests.cloud.small_engine import MemoryJournal

DOOMED = Path(__file__).parent / "doomed"
INI = "[pytest]\naddopts = -p pytest_dependency -p pytest_benchmark.plugin -p xdist.plugin "
INI += "-p no:cacheprovider -W ignore\n"
ONCE = ("CreateProject", "CreateSecret", "AddSecretVersion")
"""Calls that are answered once; instances are counted where they are made, as that may fail."""


@dataclass(frozen=True)
class End:
    """Where a migration ended: files, resources and checkpoints, without times and attempts."""

    files: Mapping[str, str]
    resources: Mapping[str, Any]
    checkpoints: Mapping[str, tuple[str, Any, Any]]


@dataclass
class World:
    """A folder and a project of one scenario."""

    folder: Path
    project: str
    forks: Forks
    about: Mapping[str, str]
    store: str = ".migration/development.db"

    def __post_init__(self) -> None:
        shutil.copytree(DOOMED, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "pytest.ini").write_text(INI)
        (self.folder / "old.txt").write_text("what was there before")

    # -- runs ------------------------------------------------------------------------------------

    def start(self, *arguments: str, moment: str = "") -> int:
        """Begin a run that ends at ``moment``; gives its process."""
        environ = {"PROJECT": self.project, "CLOUD": json.dumps(self.about), "MOMENT": moment}
        command = ["phases", "--checkpoint", self.store, *arguments]
        return self.forks.start(self.folder, command, environ)

    def run(self, *arguments: str, moment: str = "") -> int:
        """A whole run; gives its exit code."""
        self.start(*arguments, moment=moment)
        return self.forks.ended()

    @property
    def said(self) -> str:
        """What the last run printed."""
        return (self.folder / "said.txt").read_text()

    def moments(self) -> list[str]:
        """The moments that the runs came to, in order."""
        return self._lines("moments.txt")

    def made_twice(self) -> dict[str, int]:
        """What was made though it was there, by what the runs know of it themselves."""
        made = Counter(self._lines("made.txt"))
        return {
            thing: count
            for thing, count in made.items()
            if count > 1 and (thing in ONCE or thing.startswith("file "))
        }

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    # -- what is there ---------------------------------------------------------------------------

    def end(self) -> End:
        """What is there now."""
        return End(self.files(), self._resources(), self._checkpoints())

    def files(self) -> dict[str, str]:
        """The files that the steps are about, as far as they are there."""
        found = {name: self.folder / name for name in ("paper.txt", "new.txt", "old.txt")}
        return {name: path.read_text() for name, path in found.items() if path.exists()}

    def standing(self) -> list[str]:
        """The resources that stand in the project, as the embedded cloud's command lists them.

        Without the network ``default`` that each project begins with.
        """
        found = resources(Path(self.about["ca"]).parent)
        own = f"projects/{self.project}/"
        return [each for each in found if own in each and not each.endswith("networks/default")]

    def _checkpoints(self) -> dict[str, tuple[str, Any, Any]]:
        # A URL stays as it is; a path is meant from the folder.
        store = Store(self.store if "://" in self.store else self.folder / self.store, create=False)
        found = store.checkpoints()
        store.close()
        return {name: (each.state, each.inputs, each.outputs) for name, each in found.items()}

    def _settings(self) -> tuple[ProjectSettings, NetworkSettings, RedisSettings]:
        apis = ("redis", "secretmanager", "compute")
        services = tuple(f"{api}.googleapis.com" for api in apis)
        redis = RedisSettings(instance="memory", memory_gb=1, tier="BASIC")
        return ProjectSettings(id=self.project, services=services), NetworkSettings(), redis

    def cloud(self) -> Cloud:
        """A cloud of the test's own, to look from outside."""
        return Cloud(Target.embedded(project=self.project, **self.about))

    def _resources(self) -> dict[str, Any]:
        project, network, redis = self._settings()
        cloud = self.cloud()
        instance = cloud.redis_instance(project, network, redis).observe()
        region = f"projects/{self.project}/locations/{project.region}"
        operations = cloud.clients.get("redis").list_operations({"name": region}).operations
        gave = [each.response.type_url.rpartition(".")[2] for each in operations]
        versions = cloud.clients.get("secrets").list_secret_versions(
            request={"parent": f"projects/{self.project}/secrets/key"}
        )
        found = {
            "project": dict(cloud.project(project).observe().labels),
            "services": cloud.services(project).plan(cloud.services(project).observe()).kind,
            "secret versions": [each.state.name for each in versions],
            "key": cloud.read_secret("key"),
            "instance": (instance.state.name, instance.memory_size_gb, dict(instance.labels)),
            "instances made": gave.count("Instance"),
        }
        cloud.close()
        return found

    def clear(self) -> None:
        """Stop what runs behind the scenario's instance, where there is one."""
        if not any("/instances/" in each for each in self.standing()):
            return
        cloud = self.cloud()
        action = cloud.redis_instance(*self._settings())
        action.undo(Change(ChangeKind.CREATE, action.subject), MemoryJournal())
        cloud.close()
