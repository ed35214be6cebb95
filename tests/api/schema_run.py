"""Runs schemathesis against the API's own OpenAPI document, over a database with a platform.

    python -m tests.api.schema_run --schemathesis VENV/bin/schemathesis

It wants an environment of its own, since its dependencies and the project's need not agree.
Ends with schemathesis's exit status: not 0 when any request was answered with 500 or worse, or
with what the document does not tell.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

from tests.api.api_process import TOKEN, serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def main() -> int:
    """Serve, run, and give schemathesis's exit status."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--schemathesis", default="schemathesis", help="the command")
    options.add_argument("--examples", default="200", help="most examples for an operation")
    options.add_argument("--seed", default="7")
    given = options.parse_args()
    program = shutil.which(given.schemathesis)
    if program is None:
        sys.exit(
            f"There is no {given.schemathesis}: pip install schemathesis, in a venv of its own."
        )
    with serving() as api:
        command = [os.path.abspath(program), "run", f"{api.url}/openapi.json"]
        command += ["--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(CHECKS)]
        command += ["--max-examples", given.examples, "--seed", given.seed]
        with tempfile.TemporaryDirectory() as folder:  # it leaves files where it runs
            return subprocess.run([*command, "--continue-on-failure"], cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
