"""Prints a secret of an environment's target: ``python docs/monitoring/secret.py NAME --env ENV``.

It works alike on Google and on the embedded cloud, with the rights of whoever calls it.  Use it
inside ``$(...)``, so that the value reaches a command and not a screen.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.environments import environment_file, load_settings  # noqa: E402
from lib.errors import MigrationError  # noqa: E402
from lib.orchestra import platform  # noqa: E402

NAMES = (
    platform.API_TOKEN,
    platform.REDIS_AUTH,
    platform.ADMIN_PASSWORD,
    platform.APPLICATION_PASSWORD,
)


def main() -> int:
    """Print the value; a failure is told on standard error with exit code 1."""
    parser = argparse.ArgumentParser(description="Print a secret of an environment's target.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--env", default="development", metavar="ENV")
    chosen = parser.parse_args()
    state = Path(os.environ.get("ORCHESTRA_STATE") or ROOT / ".migration").absolute()
    try:
        settings = platform.resolved(load_settings(environment_file(chosen.env)))
        target = platform.Platform(settings, state)
        try:
            print(target.secret(chosen.name))
        finally:
            target.close()
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
