"""The plugin's command line and ini options, and their values as one frozen object."""

from dataclasses import dataclass
from pathlib import Path

import pytest

DEFAULT_ENVIRONMENT = "development"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks of the migration."""

    environment: str
    components: tuple[str, ...]
    checkpoint: str | None
    dry_run: bool
    status: bool
    fresh: bool
    force: bool
    prerequisites: bool
    plan_out: Path | None
    plan: Path | None
    refresh: bool
    detect_drift: bool
    rollback: bool
    to: str | None
    approved: frozenset[str]
    debug: bool

    @classmethod
    def of(cls, config: pytest.Config) -> "Options":
        """Read them; raises ``UsageError`` where two contradict each other."""
        get = config.getoption
        options = cls(
            environment=get("migration_env"),
            components=tuple(get("migration_component")),
            checkpoint=get("migration_checkpoint"),
            dry_run=get("migration_dry_run") or get("migration_plan_out") is not None,
            status=get("migration_status"),
            fresh=get("migration_fresh"),
            force=get("migration_force"),
            prerequisites=not get("migration_no_prerequisites"),
            plan_out=Path(get("migration_plan_out")) if get("migration_plan_out") else None,
            plan=Path(get("migration_plan")) if get("migration_plan") else None,
            refresh=get("migration_refresh"),
            detect_drift=get("migration_detect_drift"),
            rollback=get("migration_rollback"),
            to=get("migration_to"),
            approved=frozenset(get("migration_approve")),
            debug=get("migration_debug"),
        )
        options._refuse_contradictions(resume=get("migration_resume"))
        plan = options.plan_out
        if plan is not None and (plan.is_dir() or not plan.parent.is_dir()):
            raise pytest.UsageError(
                f"--plan-out: {plan} can't be written.\n"
                "  expected: a file in a folder that exists\n"
                f"  to mend it: mkdir -p {plan.parent}, or name another file"
            )
        return options

    def _refuse_contradictions(self, *, resume: bool) -> None:
        given = {
            "--resume": resume,
            "--fresh": self.fresh,
            "--dry-run": self.dry_run,
            "--plan": self.plan is not None,
            "--refresh": self.refresh,
            "--detect-drift": self.detect_drift,
            "--rollback": self.rollback,
            "--to": self.to is not None,
            "--status": self.status,
        }
        for one, other, why in _CONTRADICTIONS:
            if given[one] and given[other]:
                raise pytest.UsageError(
                    f"{one} and {other} contradict each other: {why}.\n"
                    "  to mend it: give one of them"
                )
        if self.to is not None and not self.rollback:
            raise pytest.UsageError("--to says where --rollback ends: give both, or none.")


_CONTRADICTIONS = (
    ("--fresh", "--resume", "one begins anew, the other goes on"),
    ("--fresh", "--dry-run", "one forgets checkpoints, the other changes nothing"),
    ("--fresh", "--refresh", "what is forgotten can't have drifted"),
    ("--fresh", "--detect-drift", "what is forgotten can't have drifted"),
    ("--fresh", "--rollback", "one does everything anew, the other takes it back"),
    ("--fresh", "--plan", "a plan knows which steps are done"),
    ("--plan", "--dry-run", "one applies a plan, the other makes one"),
    ("--plan", "--rollback", "a plan says what is made, not what is taken back"),
    ("--plan", "--refresh", "a plan already looked at the world"),
    ("--plan", "--detect-drift", "one applies a plan, the other changes nothing"),
    ("--detect-drift", "--rollback", "one only looks"),
    ("--detect-drift", "--dry-run", "--detect-drift changes nothing either: leave --dry-run away"),
    ("--detect-drift", "--status", "--status --refresh shows drift beside everything else"),
    ("--refresh", "--rollback", "one makes finished steps whole, the other takes them back"),
    ("--status", "--rollback", "one only looks"),
    ("--status", "--plan", "one only looks"),
)


def add_options(parser: pytest.Parser) -> None:
    """Register the options; their help is the reference that ``pytest --help`` prints."""
    group = parser.getgroup("migration", "migration: steps, checkpoints and criteria")
    group.addoption(
        "--env",
        dest="migration_env",
        metavar="ENV",
        default=DEFAULT_ENVIRONMENT,
        help="the environment: a name from environments/ (development, staging, production) or "
        "the path of a TOML file. Default: %(default)s.",
    )
    group.addoption(
        "--component",
        dest="migration_component",
        metavar="NAME",
        action="append",
        default=[],
        help="run this component's steps, with the prerequisites that are not done yet. "
        "May be given again.",
    )
    group.addoption(
        "--resume",
        dest="migration_resume",
        action="store_true",
        help="go on where the last run ended: finished steps are skipped. This is the default.",
    )
    group.addoption(
        "--fresh",
        dest="migration_fresh",
        action="store_true",
        help="forget which steps are done and go through all of them again; what already is as "
        "wanted is recognised and left alone.",
    )
    group.addoption(
        "--dry-run",
        dest="migration_dry_run",
        action="store_true",
        help="print what would be changed, change nothing, write no checkpoint.",
    )
    group.addoption(
        "--plan-out",
        dest="migration_plan_out",
        metavar="FILE",
        help="make the plan (as --dry-run does) and save it as JSON, for --plan.",
    )
    group.addoption(
        "--plan",
        dest="migration_plan",
        metavar="FILE",
        help="apply exactly what a saved plan says; refused, naming what differs, where the world "
        "or the settings have changed since.",
    )
    group.addoption(
        "--refresh",
        dest="migration_refresh",
        action="store_true",
        help="first look whether finished steps still hold in the world; those that drifted run "
        "again. With --status or --dry-run it only shows them.",
    )
    group.addoption(
        "--detect-drift",
        dest="migration_detect_drift",
        action="store_true",
        help="only report which finished steps no longer hold in the world; exit code 11 where "
        "one does not. Changes nothing.",
    )
    group.addoption(
        "--rollback",
        dest="migration_rollback",
        action="store_true",
        help="take back, newest first, what the runs made in the selected steps and in those that "
        "need them; what was there before stays. --dry-run shows it first.",
    )
    group.addoption(
        "--to",
        dest="migration_to",
        metavar="STEP|PHASE",
        help="with --rollback: go back to where this step, or the last step of this phase, had "
        "just been done; it stays, with all that came before it.",
    )
    group.addoption(
        "--status",
        dest="migration_status",
        action="store_true",
        help="print how every step stands (done, pending, drifted, interrupted, failed, rolled "
        "back, not started) and run nothing.",
    )
    group.addoption(
        "--force",
        dest="migration_force",
        action="store_true",
        help="run the selected steps whether or not their prerequisites are done.",
    )
    group.addoption(
        "--no-prerequisites",
        dest="migration_no_prerequisites",
        action="store_true",
        help="refuse, naming them, when a selected step has prerequisites that are not done.",
    )
    group.addoption(
        "--approve",
        dest="migration_approve",
        metavar="ID",
        action="append",
        default=[],
        help="let irreversible changes of a protected environment happen: the id of a plan "
        "(all of its changes) or of one change; --dry-run prints both. May be given again.",
    )
    group.addoption(
        "--checkpoint",
        dest="migration_checkpoint",
        metavar="PATH|URL",
        help="where checkpoints are kept: a file, or a postgresql:// URL that a team shares. "
        "Default: .migration/ENV.db.",
    )
    group.addoption(
        "--migration-debug",
        dest="migration_debug",
        action="store_true",
        help="log at debug level and show tracebacks of expected failures too.",
    )
    parser.addini("migration_steps", "folder of the migration's steps", default="phases")
    parser.addini("migration_validation", "folder of the criteria", default="validation")
    parser.addini("migration_report", "the HTML report", default="reports/migration.html")
    parser.addini("migration_log", "the log file", default="migration_execution.log")


MARKERS = (
    "component(name): the component that a step belongs to; --component selects by it.",
    "phase(name): the phase of a step, where its module's name does not tell it.",
    "deadline(seconds): a step that takes longer fails at its next safe point, or is cut off.",
    "retries(attempts): how often a step's calls are made before a passing error counts.",
)
