"""Files: one that is made, one that is made and one that is changed in the same step."""

import pytest


@pytest.mark.component("files")
@pytest.mark.dependency(name="paper", depends=[], scope="session")
def test_paper(step, settings, text_file):
    """The paper says what is wanted."""
    text = step.make(text_file("paper.txt", settings.text))
    step.publish(length=len(text))


@pytest.mark.component("files")
@pytest.mark.dependency(name="notes", depends=["paper"], scope="session")
def test_notes(step, text_file):
    """The notes tell of the paper."""
    length = step.output("paper", "length")
    step.make(text_file("new.txt", f"a new note of {length}"))
    step.make(text_file("old.txt", f"the old note of {length}"))
    step.publish(notes=["new.txt", "old.txt"])
