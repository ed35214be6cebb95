"""The report of a run: plain data, and its renderings as HTML, text, Markdown and JUnit."""
