"""The command line of faults: ``python -m lib.localcloud faults add|list|clear|load``."""

import argparse
import json
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from lib.localcloud.faults import CODES, EFFECTS, WHEN, Fault, Faults, read
from lib.localcloud.rehearsal import Rehearsal

COMMAND: Final = "python -m lib.localcloud faults"
EXAMPLES: Final = f"""\
effects:
{{effects}}

examples:
  the second creation of anything in AlloyDB is made, but its answer never arrives:
    {COMMAND} add error --method 'alloydb/Create*' --when after --skip 1 --times 1
  every tenth read of Redis fails for a minute, beginning in ten seconds:
    {COMMAND} add error --code UNAVAILABLE --method 'redis/Get*' --rate 0.1 --begin 10 --last 60
  the quota of workstation clusters is used up:
    {COMMAND} add error --code RESOURCE_EXHAUSTED --method CreateWorkstationCluster
  the operation that makes agent-storage-primary fails:
    {COMMAND} add operation-fails --code INTERNAL --resource agent-storage-primary --times 1
  somebody takes a permission away:
    {COMMAND} add deny --permission 'redis.instances.*'
"""
FILE: Final = f"""\
The file is TOML. Its keys are the options of '{COMMAND} add' without the dashes:

  [[fault]]
  effect = "error"
  code = "UNAVAILABLE"
  when = "after"
  method = "alloydb/CreateCluster"
  times = 1

  [[fault]]
  effect = "delay"
  seconds = 2.5
  method = "Get*"
  rate = 0.2
"""
OPTIONS: Final = {
    "method": "glob of RPCs, or of SERVICE/RPC as alloydb/Create* (default: all)",
    "resource": "glob of resources by full name or by id (default: all)",
    "code": f"one of {', '.join(CODES)} (default UNAVAILABLE)",
    "when": "before or after the effect (default before)",
    "seconds": "how long a delay lasts",
    "message": "the text of the error",
    "reason": "ErrorInfo reason, as RATE_LIMIT_EXCEEDED; else an exhausted resource is a quota",
    "permission": "glob of permissions, for deny",
    "times": "strike so often at most (default 0: without end)",
    "skip": "let so many matching calls pass first",
    "rate": "strike this part of the matching calls, 0 to 1",
    "begin": "strike from so many seconds from now on",
    "last": "strike for so many seconds (default 0: without end)",
}


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command ``faults`` with its own commands."""
    raw = argparse.RawDescriptionHelpFormatter
    about = (
        "Make the embedded cloud fail on purpose, to rehearse what a run does then. Faults are "
        "kept in the state folder and hold from the next call on, until they are cleared."
    )
    faults = commands.add_parser(
        "faults", parents=[common], help="make it fail on purpose", description=about
    )
    own = faults.add_subparsers(dest="faults_command", required=True)
    effects = "\n".join(f"  {name:16} {told}" for name, told in EFFECTS.items())
    add = own.add_parser(
        "add", parents=[common], help="add a fault", description=about, formatter_class=raw,
        epilog=EXAMPLES.format(effects=effects),
    )  # fmt: skip
    add.add_argument("effect", choices=EFFECTS, metavar="EFFECT", help="see below")
    kinds: dict[str, Any] = {
        each.name: type(each.default) for each in fields(Fault) if each.name in OPTIONS
    }
    choices: dict[str, Any] = {"code": CODES, "when": WHEN}
    for name, told in OPTIONS.items():
        add.add_argument(
            f"--{name}", type=kinds[name], choices=choices.get(name), metavar=name.upper(),
            help=told.replace("%", "%%"), default=argparse.SUPPRESS,
        )  # fmt: skip
    own.add_parser("list", parents=[common], help="what is set, and how often it struck")
    clear = own.add_parser("clear", parents=[common], help="take faults back")
    clear.add_argument("id", type=int, nargs="*", help="numbers from the list (default: all)")
    load = own.add_parser(
        "load", parents=[common], help="add the faults of a file", description=FILE,
        formatter_class=raw,
    )  # fmt: skip
    load.add_argument("file", type=Path, metavar="FILE")
    load.add_argument("--replace", action="store_true", help="clear all other faults first")


def run(options: argparse.Namespace, state: Path) -> None:
    """Run one of the commands; raises ``EmbeddedCloudError``."""
    with closing(Rehearsal(state)) as rehearsal:
        faults = Faults(rehearsal)
        match options.faults_command:
            case "add":
                given = {name: getattr(options, name) for name in OPTIONS if name in options}
                _added(faults, [Fault(options.effect, **given)])
            case "list":
                _list(faults, options.json)
            case "clear":
                print(f"cleared {faults.clear(options.id)}")
            case "load":
                found = read(options.file)
                if options.replace:
                    faults.clear()
                _added(faults, found)


def _added(faults: Faults, wanted: list[Fault]) -> None:
    for number, fault in zip(faults.add(wanted), wanted, strict=True):
        print(f"fault {number}: {fault.told()}")


def _list(faults: Faults, as_json: bool) -> None:
    found = faults.all()
    if as_json:
        print(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        used = " (used up)" if each.fault.times and each.struck >= each.fault.times else ""
        print(f"{each.id}: {each.fault.told()}: struck {each.struck} of {each.seen}{used}")
    if not found:
        print("no fault is set")
