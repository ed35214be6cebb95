"""The page and its fragment: whole, self-contained, and unharmed by awkward data."""

import re
from html.parser import HTMLParser

import pytest

from lib.report.fragment import sections
from lib.report.html import page
from lib.report.model import CriterionRow
from tests.report import examples


class Elements(HTMLParser):
    """Collects elements and attributes, and checks that what opens also closes."""

    VOID = frozenset(("meta", "link", "br", "line", "circle", "path", "img"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def whole() -> str:
    return page(examples.report(criteria=examples.seven(), connections=examples.CONNECTIONS))


@pytest.mark.parametrize("make", [whole, lambda: page(examples.failed())], ids=["good", "failed"])
def test_the_page_fetches_nothing_and_runs_no_script(make):
    elements = Elements(make()).found
    assert not {"script", "iframe", "img", "object"} & {tag for tag, _ in elements}
    links = [a[k] for _, a in elements for k in ("src", "href") if k in a]
    assert links == ["data:,"]
    assert not re.search(r"url\(|@import|https?://", make())


def test_the_page_shows_every_step_criterion_and_connection():
    text = " ".join(Elements(whole()).text)
    for row in examples.steps():
        assert row.name in text
    for each in examples.seven():
        assert each.subject in text
    for each in examples.CONNECTIONS:
        assert each.connect in text
    assert "412,345 rows" in text
    assert "301.0 MB" in text
    assert "Run 6 (earlier run, kept)" in text


def test_hostile_text_stays_text():
    elements = Elements(page(examples.hostile()))
    assert not {"script", "img"} & {tag for tag, _ in elements.found}
    assert not any(name.startswith("on") for _, a in elements.found for name in a)
    shown = "".join(elements.text)
    assert shown.count("<script>alert(1)</script>") > 10
    assert "49" not in re.findall(r"\{\{ 7 \* 7 \}\}|\b49\b", shown)


def test_an_empty_report_says_so():
    text = " ".join(Elements(page(examples.report([], environment={}))).text)
    assert "No step ran and no criterion was measured." in text
    assert "No steps." in text


def test_a_report_without_criteria_names_the_command_that_measures_them():
    assert "pytest validation/ --benchmark-only" in page(examples.report())


def test_a_failure_is_open_and_keeps_its_lines():
    text = page(examples.failed())
    assert '<pre class="error" tabindex="0">The disk is full.\n  expected: 310 MB free\n' in text
    assert text.count('<details class="step bad" open>') == 1


def test_many_steps_and_huge_samples_stay_small():
    rows = examples.steps(per_component=3)
    assert len(rows) == 63
    huge = examples.criterion(examples.latencies(100_000, 5.0))
    text = page(examples.report(rows, (huge,)))
    assert "100,000" in text
    assert len(text) < 200_000


@pytest.mark.parametrize(
    "samples",
    [(0.0,), (5.0, 5.0), (-3.0, 2.0), (1e-9, 1e9), (float("nan"), 3.0), (float("inf"),)],
    ids=str,
)
def test_odd_samples_are_drawn_inside_the_frame(samples):
    row = CriterionRow(5, "odd", "p99", 30.0, "ms", "<", 1.0, samples)
    text = page(examples.report([], (row,)))
    assert "nan" not in re.sub(r"<style>.*</style>", "", text, flags=re.S).replace("finance", "")
    for _, attributes in Elements(text).found:
        for name in ("x", "cx", "x1", "x2"):
            if name in attributes:
                assert 0 <= float(attributes[name] or 0) <= 620


def test_the_fragment_is_the_style_and_the_same_report():
    report = examples.report(criteria=examples.seven())
    style, shown = sections(report)
    assert style.startswith("<style>")
    assert "#results-table" in style
    assert shown in page(report)
    Elements(style + shown)
