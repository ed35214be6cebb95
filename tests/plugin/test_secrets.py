"""Secrets reach neither the terminal, nor the log, nor any file that a run leaves."""

from tests.plugin.conftest import Migrate, text_of

SECRET = "s3cr3t-word"
STEP = '''
import logging, pytest
from lib.errors import MigrationError

@pytest.mark.component("paper")
@pytest.mark.dependency(name="leak", depends=[], scope="session")
def test_leak(step):
    """Nothing leaks."""
    url = "postgresql://me:s3cr3t-word@host/db"
    logging.getLogger("migration.part").info("connecting to %s", url)
    raise MigrationError(f"{url} does not answer.") from ValueError(url)
'''


def test_a_secret_in_a_failure_goes_nowhere(migration, run: Migrate):
    (migration.path / "phases" / "test_3_leak.py").write_text(STEP)
    with_html = ["-p", "metadata", "-p", "html"]
    result = run("phases/test_3_leak.py", "--junit-xml", "reports/junit.xml", *with_html)
    assert result.ret == 1
    assert "does not answer" in text_of(result)
    assert SECRET not in text_of(result)
    left = [
        path
        for path in migration.path.rglob("*")
        if path.is_file() and "phases" not in path.relative_to(migration.path).parts
    ]
    assert {"migration.html", "junit.xml", "migration_execution.log", "development.db"} <= {
        path.name for path in left
    }
    assert [path.name for path in left if SECRET.encode() in path.read_bytes()] == []
