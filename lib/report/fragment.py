"""The report as sections of a page that pytest-html writes, with the styles of both."""

from lib.report.html import body, stylesheet
from lib.report.model import Report

TITLE = "AI Orchestra migration"
"""What the page is called; the report's own header stands in the place of pytest-html's."""


def sections(report: Report) -> list[str]:
    """HTML for the prefix list of pytest-html's summary hook: the style, then the report."""
    css = stylesheet("report.css") + stylesheet("pytest_html.css")
    return [f"<style>{css}</style>", body(report)]
