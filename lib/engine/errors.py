"""The engine's own expected failures."""

from lib.errors import MigrationError


class EngineError(MigrationError):
    """Something about the run itself is wrong: its graph, checkpoints, lock or plan."""


class GraphError(EngineError):
    """The steps do not form a graph: a cycle, an unknown prerequisite or a name used twice."""


class CheckpointError(EngineError):
    """The checkpoint store can't be used: corrupt, foreign, newer, read-only or unreachable."""


class LockHeld(EngineError):
    """Another run works on this environment."""


class LockLost(EngineError):
    """This run's lease ended and another took over; nothing more may be changed."""


class PlanStale(EngineError):
    """A saved plan no longer describes what would be done, or was edited."""


class ApprovalNeeded(EngineError):
    """An irreversible change in a protected environment waits for ``--approve``."""


class Interrupted(EngineError):
    """The run was asked to stop and reached a safe point."""


class DeadlineExceeded(EngineError):
    """A step went past its deadline."""


class CannotUndo(EngineError):
    """A change has no way back; the message says why and what remains to be done by hand."""
