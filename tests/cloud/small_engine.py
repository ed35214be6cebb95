"""A journal in memory, and the engine in miniature."""

import time

from lib.engine.changes import Change, ChangeKind


class MemoryJournal:
    """A journal that a test can look into; ``at_safe_point`` may stop the work there."""

    def __init__(self) -> None:
        self.values = {}
        self.at_safe_point = lambda: None

    def get(self, key):
        return self.values.get(key)

    def put(self, key, value):
        self.values[key] = value

    def put_many(self, entries):
        self.values.update(entries)

    def entries(self, prefix=""):
        return {k: v for k, v in self.values.items() if k.startswith(prefix)}

    def forget(self, prefix=""):
        for key in list(self.entries(prefix)):
            del self.values[key]

    def progress(self, label, done, total, unit):
        pass

    def safe_point(self):
        self.at_safe_point()


def converge(action, journal=None) -> tuple[Change, object]:
    """Make an action true as the engine does; gives the change and the state."""
    journal = journal or MemoryJournal()
    observed = action.observe()
    change = action.plan(observed)
    if change.kind is ChangeKind.NONE:
        return change, observed
    for attempt in range(5):
        try:
            action.apply(change, journal)
            break
        except Exception as error:
            if not getattr(error, "transient", False) or attempt == 4:
                raise
            time.sleep(0.02 * 3**attempt)
    return change, action.verify()
