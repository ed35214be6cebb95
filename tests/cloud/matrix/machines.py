"""Rows of Cloud Workstations and Cloud Run."""

from typing import Any

from lib.engine.changes import Change, ChangeKind
from tests.cloud.matrix.mutation import Mutation, project, relabelled, undoing
from tests.cloud.matrix.world import Case

IMAGE = "embedded://tests.localcloud.sample_service"


def _cluster(case: Case, project: Any = None, **own: Any) -> Any:
    workstations = case.settings("workstations", **own)
    network = case.world.settings.network
    return case.cloud.workstation_cluster(project or case.project, network, workstations)


def _with_cluster(case: Case) -> list[Any]:
    return [*project(case), _cluster(case)]


def _config(case: Case, **own: Any) -> Any:
    return case.cloud.workstation_config(case.project, case.settings("workstations", **own))


def _with_config(case: Case) -> list[Any]:
    return [*_with_cluster(case), _config(case)]


def _workstation(case: Case, project: Any = None) -> Any:
    own = case.settings("workstations", workstation=case.id)
    return case.cloud.workstation(project or case.project, own)


def _with_workstation(case: Case) -> list[Any]:
    return [*_with_config(case), _workstation(case)]


class Switched:
    """A workstation that runs or stands, told as an action."""

    def __init__(self, case: Case, *, on: bool) -> None:
        self._case = case
        self._on = on
        self._settings = case.settings("workstations", workstation=case.id)

    def observe(self) -> Any:
        """The workstation."""
        return self._case.cloud.workstation(self._case.project, self._settings).observe()

    def plan(self, observed: Any) -> Change:
        """Switch it, or nothing."""
        there = observed.state.name == ("STATE_RUNNING" if self._on else "STATE_STOPPED")
        return Change(ChangeKind.NONE if there else ChangeKind.UPDATE, "workstation")

    def apply(self, _change: Any, journal: Any) -> None:
        """Switch it, and wait."""
        cloud = self._case.cloud
        switch = cloud.start_workstation if self._on else cloud.stop_workstation
        switch(self._case.project, self._settings, journal)

    def verify(self) -> Any:
        """It runs, or stands."""
        observed = self.observe()
        assert self.plan(observed).kind is ChangeKind.NONE
        return observed


def _run(case: Case, **env: str) -> Any:
    api = case.settings("api", service=case.id, image=IMAGE)
    return case.cloud.run_service(case.project, api, env, {}, "")


MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "workstations/CreateWorkstationCluster",
        "workstations.workstationClusters.create",
        lambda c: _cluster(c, cluster=c.id),
        project,
    ),
    Mutation(
        "workstations/UpdateWorkstationCluster",
        "workstations.workstationClusters.update",
        lambda c: _cluster(c, relabelled(c), cluster=c.id),
        lambda c: [*project(c), _cluster(c, cluster=c.id)],
        short=False,
    ),
    undoing(
        "workstations/DeleteWorkstationCluster",
        "workstations.workstationClusters.delete",
        lambda c: _cluster(c, cluster=c.id),
        project,
    ),
    Mutation(
        "workstations/CreateWorkstationConfig",
        "workstations.workstationConfigs.create",
        lambda c: _config(c, config=c.id),
        _with_cluster,
    ),
    Mutation(
        "workstations/UpdateWorkstationConfig",
        "workstations.workstationConfigs.update",
        lambda c: _config(c, config=c.id, machine_type="n1-standard-8", accelerator_count=1),
        lambda c: [*_with_cluster(c), _config(c, config=c.id)],
    ),
    undoing(
        "workstations/DeleteWorkstationConfig",
        "workstations.workstationConfigs.delete",
        lambda c: _config(c, config=c.id),
        _with_cluster,
    ),
    Mutation(
        "workstations/CreateWorkstation",
        "workstations.workstations.create",
        _workstation,
        _with_config,
    ),
    Mutation(
        "workstations/UpdateWorkstation",
        "workstations.workstations.update",
        lambda c: _workstation(c, relabelled(c)),
        _with_workstation,
        short=False,
    ),
    undoing(
        "workstations/DeleteWorkstation",
        "workstations.workstations.delete",
        _workstation,
        _with_config,
    ),
    Mutation(
        "workstations/StartWorkstation",
        "workstations.workstations.start",
        lambda c: Switched(c, on=True),
        _with_workstation,
        short=False,
    ),
    Mutation(
        "workstations/StopWorkstation",
        "workstations.workstations.stop",
        lambda c: Switched(c, on=False),
        lambda c: [*_with_workstation(c), Switched(c, on=True)],
        short=False,
    ),
    Mutation("run/CreateService", "run.services.create", _run, project, short=False),
    Mutation(
        "run/UpdateService",
        "run.services.update",
        lambda c: _run(c, VERSION="2"),
        lambda c: [*project(c), _run(c)],
        short=False,
    ),
    Mutation(
        "run/SetIamPolicy",
        "run.services.setIamPolicy",
        lambda c: c.cloud.run_invoker(c.project, c.settings("api", service=c.id)),
        lambda c: [*project(c), _run(c)],
        operation=False,
        short=False,
    ),
    undoing("run/DeleteService", "run.services.delete", _run, project),
)
