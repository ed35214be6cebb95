"""The main job where the settings have its rows copied by Apache Beam, an extra of its own."""

import importlib.util
import re
from collections.abc import Iterator

import pytest

from tests.main_job.conftest import SMALL, MainJob

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="apache-beam is not installed: pip install -e '.[beam]', or tox -e beam",
)


@pytest.fixture
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MainJob]:
    made = MainJob(tmp_path_factory.mktemp("beam-job"))
    made.write("beam", f'{SMALL}\n[data_migration]\nengine = "beam"\n')
    yield made
    made.close()


def test_a_pipeline_moves_the_rows_and_all_of_them_agree(job: MainJob) -> None:
    done = job.pytest("phases/", "--component", "data-migration", env="beam")
    assert done.code == 0, done.text
    assert re.search(r"rows are copied by Apache Beam [\d.]+ on its \w+", done.text), done.text
    assert re.search(r"^ +total +[\d,]+ .* all rows$", done.text, re.M), done.text
    again = job.pytest("phases/", "--component", "data-migration", env="beam")
    assert again.code == 0, again.text
    assert re.search(r" \d+ already done in ", again.text), again.text
