"""The page in a browser, and inside the page that pytest-html really writes."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.report.html import page
from tests.report import examples

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
import pytest
from lib.report.fragment import TITLE, sections
from lib.report.html import page
from tests.report import examples

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if getattr(config.option, "htmlpath", "absent") is None:
        config.option.htmlpath = "migration.html"
        config.option.self_contained_html = True

@pytest.hookimpl(optionalhook=True)
def pytest_html_report_title(report):
    report.title = TITLE

@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(prefix):
    prefix.extend(sections(examples.report(criteria=examples.seven())))
"""


def measure(text: str, folder: Path, width: int) -> tuple[int, str]:
    """The width that the page needs in a frame of ``width``, and the browser's complaints."""
    frame = folder / "frame.html"
    frame.write_text(
        f'<meta charset="utf-8"><iframe width="{width}" height="900" srcdoc="{html.escape(text)}">'
        "</iframe><script>onload = () => { const d = document.querySelector('iframe')"
        ".contentDocument; for (const e of d.querySelectorAll('details')) e.open = true;"
        "document.body.dataset.needs = d.documentElement.scrollWidth }</script>",
        encoding="utf-8",
    )
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1400,1000",
        "--enable-logging=stderr",
        "--dump-dom",
        frame.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r'data-needs="(\d+)"', done.stdout)
    assert found, done.stderr
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return int(found[1]), "\n".join(complaints)


@needs_chromium
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("kind", ["good", "hostile"])
def test_nothing_overflows_and_nothing_complains(tmp_path, kind, width):
    good = examples.report(criteria=examples.seven(), connections=examples.CONNECTIONS)
    report = good if kind == "good" else examples.hostile()
    assert measure(page(report), tmp_path, width) == (width, "")


def run_pytest(folder: Path, *arguments: str) -> str:
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_it.py").write_text("def test_it():\n    pass\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    written = folder / "migration.html"
    return written.read_text(encoding="utf-8") if written.exists() else ""


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=["serial", "xdist"])
def test_pytest_html_writes_the_report_into_its_page(tmp_path, arguments):
    text = run_pytest(tmp_path, *arguments)
    assert "21 of 21 steps done, all 7 criteria met." in text
    assert text.count('<main class="orchestra">') == 1
    assert not re.search(r'(src|<link[^>]*href)="?https?://', text)


def test_without_pytest_html_the_run_still_works(tmp_path):
    assert run_pytest(tmp_path, "-p", "no:html") == ""


@needs_chromium
def test_the_page_of_pytest_html_fits_narrow_windows_too(tmp_path):
    text = run_pytest(tmp_path)
    # In a frame without an address its script can't change the address; it is not under test.
    bare = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert measure(bare, tmp_path, 400) == (400, "")
