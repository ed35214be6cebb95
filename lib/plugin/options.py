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
            approved=frozenset(get("migration_approve")),
            debug=get("migration_debug"),
        )
        if options.fresh and get("migration_resume"):
            raise pytest.UsageError("--fresh begins anew and --resume goes on: give one of them.")
        if options.fresh and options.dry_run:
            raise pytest.UsageError("--fresh forgets checkpoints, and a dry run changes nothing.")
        plan = options.plan_out
        if plan is not None and (plan.is_dir() or not plan.parent.is_dir()):
            raise pytest.UsageError(
                f"--plan-out: {plan} can't be written.\n"
                "  expected: a file in a folder that exists\n"
                f"  to mend it: mkdir -p {plan.parent}, or name another file"
            )
        return options


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
        help="with --dry-run: also save the plan as JSON.",
    )
    group.addoption(
        "--status",
        dest="migration_status",
        action="store_true",
        help="print how every step stands (done, pending, interrupted, failed, not started) and "
        "run nothing.",
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
        help="let one irreversible change of a protected environment happen; --dry-run prints "
        "the ids. May be given again.",
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
    "deadline(seconds): a step that takes longer fails at its next safe point.",
)
