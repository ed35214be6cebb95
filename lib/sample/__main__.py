"""``python -m lib.sample``: start, look at, stop and remove the sample source."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.errors import MigrationError
from lib.sample import source

_EXAMPLES = """\
examples:
  python -m lib.sample start               make the sample (about 300 MB) and serve it
  python -m lib.sample start --scale 0.02  a small one, in a few seconds
  python -m lib.sample status              which samples there are, and where they answer
  python -m lib.sample stop                stop the servers, keep the data
  python -m lib.sample reset               remove every sample; the next start makes it anew

Each scale is kept beside the others, at addresses of its own. There are no passwords: the
servers listen on loopback only. Use the printed URLs with psql, pg_dump or redis-cli, or put
them under [source] of an environment file.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 for a failure that the message explains."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.sample",
        description="A deterministic AI Orchestra (PostgreSQL with pgvector, and Redis) to "
        "migrate when no source of your own is configured.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["start", "status", "stop", "reset"])
    parser.add_argument(
        "--state",
        type=Path,
        default=_default_state(),
        metavar="DIR",
        help="state folder (default: ORCHESTRA_STATE, else .migration in the checkout)",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size, for start; 1.0 is about 300 MB (default)"
    )
    chosen = parser.parse_args(arguments)
    try:
        _run(chosen.command, chosen.state, chosen.scale)
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _run(command: str, state: Path, scale: float) -> None:
    if command == "start":
        source.ensure(state, scale)
    elif command == "stop":
        source.stop(state)
    elif command == "reset":
        source.reset(state)
    _show(state)


def _show(state: Path) -> None:
    kept = source.scales(state)
    if not kept:
        print(f"no sample in {state}")
    for scale in kept:
        serves = "running" if source.running(state, scale) else "stopped"
        urls = source.sample(state, scale)
        print(f"scale {scale:g} ({serves})\n  {urls.postgresql}\n  {urls.redis}")


def _default_state() -> Path:
    checkout = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("ORCHESTRA_STATE") or checkout / ".migration")


if __name__ == "__main__":
    sys.exit(main())
