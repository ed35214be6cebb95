"""Starting the workstation cold, for real, and stopping it again."""

from typing import TYPE_CHECKING, Any

from lib.errors import VerificationError

if TYPE_CHECKING:
    from lib.cloud.cloud import Cloud
    from lib.cloud.workstations import Started


class ColdStart:
    """The workstation, started from cold each time."""

    def __init__(self, cloud: "Cloud", project: Any, workstations: Any) -> None:
        self._cloud = cloud
        self._project = project
        self._workstations = workstations

    def stop(self) -> None:
        """Stop it, so that the next start is a cold one (network)."""
        self._cloud.stop_workstation(self._project, self._workstations)

    def start(self) -> "Started":
        """Start it and wait until it runs (network); raises where it ran already."""
        started = self._cloud.start_workstation(self._project, self._workstations)
        if not started.cold:
            raise VerificationError("The workstation ran already, so its start shows nothing.")
        return started


def start_and_stop(cloud: "Cloud", project: Any, workstations: Any) -> "Started":
    """Start the workstation from cold, and stop it again whatever came of it (network)."""
    cold = ColdStart(cloud, project, workstations)
    cold.stop()
    try:
        return cold.start()
    finally:
        cold.stop()
