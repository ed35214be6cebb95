"""Drift: a finished step whose result no longer holds in the world."""

from lib.engine.changes import ChangeKind
from lib.engine.errors import EngineError
from lib.engine.step import Step, describe
from lib.engine.unknown import UnknownUntilApplied

DRIFTED = 11
"""The exit code where ``--detect-drift`` found some and all else went well."""


class Drifted(EngineError):
    """The world is no longer as a finished step left it."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(
            f"{step} has drifted: {reason}.",
            expected="the world as the finished step left it",
            remedy="run the same command with --refresh in place of --detect-drift, "
            "which makes it so again",
        )


def reason(step: Step, error: BaseException | None) -> str:
    """Why a finished step that was looked at has drifted; empty where it holds.

    What can't be seen because a step before it has drifted counts too: it may be gone with it.
    """
    if error is not None and not isinstance(error, UnknownUntilApplied):
        return describe(error).split("\n")[0].rstrip(".")
    changes = [each for each in step.changes if each.kind is not ChangeKind.NONE]
    if not step.waits_for_others:
        changes = [each for each in changes if each.kind is not ChangeKind.UNKNOWN]
    return ", ".join(each.describe() for each in changes)
