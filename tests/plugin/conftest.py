"""A tiny migration in a folder of its own, run by a pytest of its own."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
    import os
    from dataclasses import dataclass
    import pytest

    pytest_plugins = ["lib.plugin.plugin"]

    @dataclass(frozen=True)
    class Settings:
        size: int = 1
        colour: str = "red"
        protected: bool = False

    def pytest_migration_settings(config, environment):
        return Settings(
            int(os.environ.get("SIZE", "1")),
            os.environ.get("COLOUR", "red"),
            os.environ.get("PROTECTED") == "1",
        )
"""
STEPS = """
    import os
    from pathlib import Path
    import pytest
    from lib.engine.changes import Change, ChangeKind, FieldChange
    from lib.errors import MigrationError

    class TextFile:
        def __init__(self, name, text, irreversible=False):
            self.path, self.text, self.irreversible = Path(name), text, irreversible
            self.subject = f"file {name}"
        def observe(self):
            return self.path.read_text() if self.path.exists() else None
        def plan(self, observed):
            kind = ChangeKind.NONE if observed == self.text else (
                ChangeKind.CREATE if observed is None else ChangeKind.UPDATE)
            fields = (FieldChange("text", observed, self.text),) if observed is not None else ()
            return Change(kind, self.subject, fields, irreversible=self.irreversible)
        def stays(self, change):
            return "it is carved in stone" if os.environ.get("STONE") == str(self.path) else ""
        def apply(self, change, journal):
            with open("applied.txt", "a") as log:
                log.write(f"{self.path} {change.kind}\\n")
            if os.environ.get("DIE_IN") == str(self.path):
                os.kill(os.getpid(), int(os.environ.get("SIGNAL", "9")))
                journal.safe_point()
            self.path.write_text(self.text)
        def verify(self):
            return self.path.read_text()
        def undo(self, change, journal):
            with open("undone.txt", "a") as log:
                log.write(f"{self.path} {change.kind}\\n")
            if os.environ.get("DIE_UNDOING") == str(self.path):
                os.kill(os.getpid(), 9)
            if os.environ.get("KEEP") == str(self.path):
                raise MigrationError(f"{self.path} is in use.", remedy="free it")
            if change.kind is ChangeKind.UPDATE:
                self.path.write_text(change.fields[0].old)
            else:
                self.path.unlink()
"""
FIRST = """
    @pytest.mark.component("paper")
    @pytest.mark.dependency(name="a", depends=[], scope="session")
    def test_a(step, settings):
        '''A is written.'''
        step.make(TextFile("a.txt", f"{settings.size}"))
        step.publish(length=1)

    @pytest.mark.component("paper")
    @pytest.mark.dependency(name="b", depends=["a"], scope="session")
    def test_b(step):
        '''B is written.'''
        step.output("a", "length")
        if os.environ.get("FAIL_B"):
            raise MigrationError("B broke.", expected="a whole B", remedy="mend B")
        step.make(TextFile("b.txt", "b"))
"""
SECOND = """
    @pytest.mark.component("ink")
    @pytest.mark.dependency(name="c", depends=["b"], scope="session")
    def test_c(step):
        '''C is written.'''
        step.make(TextFile("c.txt", "c", irreversible=True))

    @pytest.mark.component("ink")
    @pytest.mark.dependency(name="d", depends=["a"], scope="session")
    def test_d(step):
        '''D is written.'''
        step.make(TextFile("d.txt", "d"))
"""

Migrate = Callable[..., pytest.RunResult]


@pytest.fixture
def migration(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The migration's folder: four steps in two phases; a -> b -> c, a -> d."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("ORCHESTRA_STATE", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # where these tests run in parallel
    pytester.makeconftest(textwrap.dedent(CONFTEST))
    # Only what the plugin works with, so that each of many processes starts quickly.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = "-p pytest_dependency -p pytest_benchmark.plugin -p xdist.plugin"
    pytester.makeini(f"[pytest]\naddopts = {plugins} -p no:cacheprovider\n")
    folder = pytester.mkdir("phases")
    steps = textwrap.dedent(STEPS)
    (folder / "test_1_first.py").write_text(steps + textwrap.dedent(FIRST))
    (folder / "test_2_second.py").write_text(steps + textwrap.dedent(SECOND))
    return pytester


@pytest.fixture
def run(migration: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Migrate:
    """Runs pytest there as a user would; in a process of its own where that may be killed."""

    def call(*arguments: str, apart: bool = False, **environ: str) -> pytest.RunResult:
        apart = apart or "-n" in arguments or any(name.startswith("DIE") for name in environ)
        how = migration.runpytest_subprocess if apart else migration.runpytest_inprocess
        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setenv("COLUMNS", "200")
            return how(*(arguments or ("phases",)))

    return call


def applied(migration: pytest.Pytester) -> list[str]:
    """What was applied so far, in order."""
    path = migration.path / "applied.txt"
    return path.read_text().splitlines() if path.exists() else []


def undone(migration: pytest.Pytester) -> list[str]:
    """What was taken back so far, in order."""
    path = migration.path / "undone.txt"
    return path.read_text().splitlines() if path.exists() else []


def text_of(result: pytest.RunResult) -> str:
    """All that the user saw."""
    return "\n".join([*result.outlines, *result.errlines])
