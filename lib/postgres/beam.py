"""Apache Beam as it is configured: which runner, its options, and how workers reach both sides.

``apache_beam`` is imported only when something of this module is asked to check or run.
"""

import importlib.util
import ipaddress
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from lib.postgres.database import Database
from lib.postgres.errors import BeamUnavailable
from lib.postgres.reach import Password

DIRECT, DATAFLOW = "DirectRunner", "DataflowRunner"
ON_THIS_MACHINE = (DIRECT, "FnApiRunner", "BundleBasedDirectRunner")
"""Runners whose workers are threads or children of this process, and share its environment."""


@dataclass(frozen=True, slots=True)
class Beam:
    """A runner by its name in Beam, and Beam's pipeline options by theirs.

    An option "true" is a flag, "false" leaves it out; what Beam takes several times is separated
    by commas.  ``source`` and ``target`` are the databases' servers as workers reach them, and
    ``*_password`` tells a worker their passwords; None stands for what this process has.
    """

    runner: str = DIRECT
    options: tuple[tuple[str, str], ...] = ()
    source: Database | None = None
    source_password: Password | None = None
    target: Database | None = None
    target_password: Password | None = None

    @property
    def local(self) -> bool:
        """Whether the pipeline's workers run on this machine, as parts of this process."""
        return self.runner in ON_THIS_MACHINE

    def check(self, source: Database, target: Database, workers: int) -> None:
        """Raise ``BeamUnavailable`` for what would keep a pipeline from being started.

        ``source`` and ``target`` are the databases as this machine reaches them.
        """
        self.pipeline(workers, dry=True)
        if self.local:
            return
        _check_side(self.runner, "source", source, self.source, self.source_password)
        _check_side(self.runner, "target", target, self.target, self.target_password)

    def pipeline(self, workers: int, *, dry: bool = False) -> Any:
        """A new, empty pipeline; nothing is started.

        With ``dry`` it is made without asking the runner's cloud anything.  Raises
        ``BeamUnavailable`` where Beam is not installed, doesn't know the runner, or refuses the
        options.
        """
        if importlib.util.find_spec("apache_beam") is None:
            raise BeamUnavailable(
                'Apache Beam is not installed, but data_migration.engine is "beam".',
                remedy="pip install -e '.[beam]', or set engine = \"local\"",
            )
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        import apache_beam

        # Beam's DirectRunner would first look for another one, and download it.
        runner = "FnApiRunner" if self.runner == DIRECT else self.runner
        options = _options(self._options(workers) | ({"dry_run": "True"} if dry else {}))
        try:
            return apache_beam.Pipeline(runner=runner, options=options)
        except ImportError as error:
            raise BeamUnavailable(
                f"Beam's {self.runner} can't be loaded: {error}.",
                remedy="install what the message names, next to: pip install -e '.[beam]'",
            ) from error
        except (ValueError, AttributeError) as error:
            known = apache_beam.options.pipeline_options.StandardOptions.KNOWN_RUNNER_NAMES
            raise BeamUnavailable(
                f"Beam refuses the pipeline: {' '.join(str(error).split())}",
                expected=f"one of the runners {', '.join(known)}, with the options that it needs",
                remedy="correct runner or options under [data_migration.beam]",
            ) from error

    def _options(self, workers: int) -> dict[str, str]:
        own: dict[str, str] = {}
        if self.runner == DATAFLOW and "temp_location" not in dict(self.options):
            # Beam would make a bucket of its own.
            _refuse(f"{DATAFLOW} needs temp_location")
        if self.runner in (DIRECT, "FnApiRunner"):
            own = {"direct_num_workers": str(workers), "direct_running_mode": "multi_threading"}
        return own | dict(self.options)


def _check_side(
    runner: str, side: str, here: Database, there: Database | None, password: Password | None
) -> None:
    if _is_loopback((there or here).host):
        raise BeamUnavailable(
            f"Workers of {runner} can't reach the {side} at {(there or here).host}: that is an"
            " address of this machine alone.",
            expected="an address that workers reach",
            remedy=f'set {side}_seen_from_workers = "postgresql://user@host:5432/name" under'
            " [data_migration.beam]",
        )
    if here.password and password is None:
        raise BeamUnavailable(
            f"Workers of {runner} don't know the {side}'s password: this machine's environment is"
            " not theirs, and no pipeline carries a password.",
            expected="a place from which workers can read it",
            remedy=f'set {side}_password_from = "projects/PROJECT/secrets/NAME" under'
            " [data_migration.beam]",
        )


def _options(wanted: dict[str, str]) -> Any:
    """The options as Beam has them; one that it doesn't know is refused, not passed over."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parsers: list[Any] = []

    def meet(parser: Any) -> None:
        parser.error = _refuse
        parsers.append(parser)

    single = _flags(wanted)
    known = PipelineOptions(single).get_all_options(add_extra_args_fn=meet)
    if unknown := parsers[0].parse_known_args(single)[1]:
        _refuse(f"unknown options {' '.join(each.partition('=')[0] for each in unknown)}")
    several = {name for name in wanted if isinstance(known.get(name), list)}
    return PipelineOptions(_flags(wanted, several))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")


def _flags(wanted: dict[str, str], several: Collection[str] = ()) -> list[str]:
    flags: list[str] = []
    for name, value in wanted.items():
        if value == "true":
            flags.append(f"--{name}")
        elif value != "false":
            values = value.split(",") if name in several else [value]
            flags += [f"--{name}={each}" for each in values]
    return flags


def _refuse(message: str) -> NoReturn:
    raise BeamUnavailable(
        f"Beam does not take the pipeline options: {message}.",
        expected="options of Apache Beam by name, such as region or temp_location",
        remedy="correct them under [data_migration.beam.options]",
    )
