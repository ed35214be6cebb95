"""The tutorial, followed to the letter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tutorial's files."""
    for name, text in re.findall(
        r"<!-- file: (.*?) -->\n```\w+\n(.*?)^```$", TUTORIAL, re.M | re.S
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def follow(folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    words = command.replace("pytest ", f"{sys.executable} -m pytest ", 1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("ORCHESTRA_STATE", None)
    return subprocess.run(
        ["bash", "-c", words], cwd=folder, capture_output=True, text=True, env=environment
    )


def test_every_command_does_what_the_tutorial_says(folder: Path):
    block = re.search(r"<!-- commands -->\n```sh\n(.*?)^```$", TUTORIAL, re.M | re.S)
    assert block is not None
    commands = block[1].splitlines()
    seen = {}
    for place, command in enumerate(commands):
        done = follow(folder, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        seen[place] = done.stdout
    assert "1 to create" in seen[1]
    assert "3 passed" in seen[2]
    assert "3 already done" in seen[3]
    assert "no drift: 3 finished steps hold" in seen[6]
    assert "- delete folder moved" in seen[7]
    assert "3 steps rolled back." in seen[8]
    assert (folder / "moved" / "one.txt").read_text() == "hello\n"


def test_drift_is_found_and_mended_as_it_says(folder: Path):
    follow(folder, "mkdir -p notes && echo hello > notes/one.txt; pytest phases/")
    (folder / "moved" / "one.txt").unlink()
    assert follow(folder, "pytest phases/ --detect-drift").returncode == 11
    assert follow(folder, "pytest phases/ --refresh").returncode == 0
    assert (folder / "moved" / "one.txt").exists()


def test_a_source_without_notes_is_told_with_its_remedy(folder: Path):
    done = follow(folder, "pytest phases/")
    assert done.returncode == 1
    assert "There are no notes in notes." in done.stdout
    assert "Traceback" not in done.stdout
