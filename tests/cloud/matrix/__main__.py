"""Run the whole matrix and write its table; exit code 1 where a cell is wrong."""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.cloud.matrix import page
from tests.cloud.matrix.cells import FAULTS, MUTATIONS, applies, run_case
from tests.cloud.matrix.world import world


def main() -> int:
    """Run the cells of the rows that are asked for; all of them make the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.cloud.matrix", description=__doc__)
    parser.add_argument("only", nargs="*", help="parts of the names of rows; the page stays then")
    only = parser.parse_args().only
    rows = [each for each in MUTATIONS if not only or any(word in each.method for word in only)]
    found: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory() as folder, world(Path(folder) / "state") as made:
        for mutation in rows:
            for name, fault in FAULTS.items():
                if not applies(mutation, fault):
                    continue
                begun = time.monotonic()
                try:
                    told = run_case(made, mutation, fault)
                except Exception as error:
                    told = "WRONG"
                    print(f"{mutation.method} x {name}: {type(error).__name__}: {error}"[:600])
                    made.faults.clear()
                    made.revive()
                found[mutation.method, name] = told
                took = time.monotonic() - begun
                print(f"{took:6.2f} {mutation.method} x {name}: {told}", flush=True)
    wrong = list(found.values()).count("WRONG")
    if not only and not wrong:
        page.write(found)
    print(f"{len(found)} cells, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main())
