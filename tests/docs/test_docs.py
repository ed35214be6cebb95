"""What the pages say exists: links, commands, options, metrics, queries, the example."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    DOCS / f"{name}.md"
    for name in (
        "architecture",
        "monitoring",
        "troubleshooting",
        "benchmarks",
        "google-cloud",
        "embedded-cloud",
    )
]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """The words of each command in a page's ``sh`` blocks; what ``$(...)`` runs is one too."""
    found = []
    for block in blocks(page, "sh"):
        block = block.replace("\\\n", " ")
        block += "\n" + "\n".join(re.findall(r"\$\((.*?)\)\"?$", block, re.M))
        found += [shlex.split(line, comments=True) for line in _whole(block)]
    return [words for words in found if words]


def _whole(block: str) -> list[str]:
    """Lines, joined where a quote is open at their end."""
    lines: list[str] = []
    for line in block.splitlines():
        if lines and lines[-1].count("'") % 2:
            lines[-1] += "\n" + line
        else:
            lines.append(line)
    return lines


@cache
def run(*words: str) -> "subprocess.CompletedProcess[str]":
    """A program's end; the same words are run once."""
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_are_named_exist(page):
    named = re.findall(
        r"`((?:docs|lib|phases|validation|benchmarks|tests)/[\w./-]+)", page.read_text()
    )
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_pytest_knows_every_option_and_component():
    known = run(sys.executable, "-m", "pytest", "--help").stdout
    phases = "".join(each.read_text() for each in (ROOT / "phases").glob("test_*.py"))
    calls = [c for page in PAGES for c in commands(page) if c[0] == "pytest"]
    assert len(calls) >= 4
    for call in calls:
        for word in call[1:]:
            if word.startswith("--"):
                assert re.search(rf"{re.escape(word.split('=')[0])}\b", known), (call, word)
            elif word.endswith(("/", ".py")):
                assert (ROOT / word).exists(), (call, word)
        for option, value in pairwise(call):
            assert option != "--component" or f'component("{value}")' in phases, value


def test_programs_and_modules_exist_with_their_options():
    calls = [c for page in PAGES for c in commands(page)]
    called = [c for c in calls if c[0] == "python" and c[1] != "-c"]
    assert len(called) >= 6
    for call in called:
        if call[1] == "-m":
            module, rest = call[2], call[3:]
            assert importlib.util.find_spec(module), call
            start = ["-m", module]
        else:
            start, rest = [call[1]], call[2:]
            assert (ROOT / call[1]).is_file(), call
        told = run(sys.executable, *start, "--help").stdout
        own = [*takewhile(str.isalpha, rest)]  # options of a command stand in the command's help
        told += run(sys.executable, *start, *own, "--help").stdout if own else ""
        for word in rest:
            if word.startswith("--"):
                assert word in told, (call, word)
        if start[0] == "-m":
            assert rest[0] in told, call


def test_the_script_knows_its_options():
    told = run(str(ROOT / "run_unified_migration.sh"), "--help").stdout
    calls = [c for page in PAGES for c in commands(page) if c[0].endswith("migration.sh")]
    assert calls
    for call in calls:
        assert all(word in told for word in call[1:]), call


def test_troubleshooting_is_complete():
    page = (DOCS / "troubleshooting.md").read_text()
    assert "| `LockHeld` | Another run works on this environment. |" in page
    kinds = r"^class (\w+)\((?:\w*Error|RuntimeFailure)[,)]"
    for source in (ROOT / "lib").rglob("errors.py"):
        for name in re.findall(kinds, source.read_text(), re.M):
            assert f"| `{name}` |" in page, name


def test_an_outdated_page_is_noticed(tmp_path):
    for page in ("troubleshooting.md", "settings.md"):
        (tmp_path / page).write_text((DOCS / page).read_text())
    with (tmp_path / "troubleshooting.md").open("a") as page:
        page.write("more\n")
    code = (
        "import pathlib, sys; sys.path.insert(0, 'docs'); import generate;"
        f"generate.DOCS = pathlib.Path({str(tmp_path)!r}); sys.argv = ['generate', '--check'];"
        "sys.exit(generate.main())"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 1
    assert "docs/troubleshooting.md is out of date" in done.stderr


def test_the_example_step_runs(tmp_path):
    """The page's example as a migration of its own: done once, recognised afterwards."""
    (example,) = blocks(DOCS / "architecture.md", "python")
    (tmp_path / "phases").mkdir()
    (tmp_path / "phases/test_1_example.py").write_text(example)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["lib.plugin.plugin"]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    notice = tmp_path / "notice.txt"
    call = [sys.executable, "-m", "pytest", "phases", "-p", "no:cacheprovider"]
    environment = {**os.environ, "NOTICE": str(notice), "PYTHONPATH": str(ROOT)}

    def pytest_run(*more):
        return subprocess.run(
            [*call, *more], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    planned = pytest_run("--dry-run")
    assert planned.returncode == 0, planned.stdout
    assert "+ create notice of the move" in planned.stdout
    assert not notice.exists()
    assert pytest_run().returncode == 0
    assert notice.read_text() == "We are moving."
    assert "1 already done" in pytest_run().stdout
