"""Searches that Vertex AI answers: kept in step with writes, and by AlloyDB while it is away."""

import uuid
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.target import Target
from lib.cloud.vertex import IndexSpec
from lib.settings import ProjectSettings
from lib.vectors.changes import NoteChanges
from lib.vectors.columns import vector_columns
from lib.vectors.database import VectorDatabase
from lib.vectors.loading import LoadPoints
from lib.vectors.served import Served, served
from lib.vectors.served_tuning import TuneServed, Where
from tests.api.api_process import until
from tests.cloud.small_engine import converge

DISTANCE = "SQUARED_L2_DISTANCE"
SEARCH = {"collection": "memories", "vector": [10.2, 1, 0], "k": 3}


@pytest.fixture(scope="module")
def variables(localcloud, platform_url: str) -> Iterator[dict[str, str]]:
    """What the API is told, once the memories are deployed and tuned at the embedded Vertex AI."""
    project = ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}")
    cloud = Cloud(
        Target.embedded(localcloud.endpoint, localcloud.ca, localcloud.token, project=project.id)
    )
    database = VectorDatabase(platform_url, "")
    with database.session() as connection:
        columns = {each.name: each for each in vector_columns(connection)}
        what = served(connection, columns["public.memories.embedding"], "l2", ())
    assert isinstance(what, Served)
    spec = IndexSpec("memories", dimensions=3, distance=DISTANCE)
    for action in (
        cloud.project(project),
        cloud.services(project),
        cloud.vector_index(project, spec),
        cloud.index_endpoint(project, "search"),
    ):
        converge(action)
    _, state = converge(cloud.deployed_index(project, "memories", spec, "search"))
    points = cloud.datapoints(state.index, state.endpoint, state.id, state.address)
    where = Where(points.index, points.endpoint, state.id, state.address, DISTANCE, 150)
    for action in (
        NoteChanges(database, what, "api_test_role"),
        LoadPoints(database, what, points, points.index),
        TuneServed(database, what, points, where, 0.95, samples=20),
    ):
        converge(action)
    yield {
        "SEARCH_BACKEND": "vertex",
        "VERTEX_PROJECT": project.id,
        "VERTEX_REGION": project.region,
        "VERTEX_SYNC_SECONDS": "0.05",
        "EMBEDDED_CLOUD_ENDPOINT": localcloud.endpoint,
        "EMBEDDED_CLOUD_CA": str(localcloud.ca),
        "EMBEDDED_CLOUD_TOKEN": localcloud.token,
    }
    cloud.close()


def found(client: httpx.Client) -> tuple[str, list[int]]:
    """Who answered a search, and the ids of what it found."""
    answer = client.post("/v1/search", json=SEARCH).json()
    return answer["backend"], [each["key"]["id"] for each in answer["matches"]]


def test_vertex_answers_and_learns_of_writes(start_api, platform_url, variables) -> None:
    with start_api(platform_url, **variables).client() as client:
        until(lambda: found(client) == ("vertex", [10, 11, 9]))
        first = client.post("/v1/search", json=SEARCH).json()["matches"][0]
        assert first["distance"] == pytest.approx(0.2, abs=1e-5)
        with psycopg.connect(platform_url, autocommit=True) as database:
            database.execute("delete from memories where id = 10")
            database.execute("insert into memories (note, embedding) values ('new', '[10.3,1,0]')")
        until(lambda: found(client) == ("vertex", [301, 11, 9]))


def test_alloydb_answers_while_vertex_is_away(start_api, platform_url, variables) -> None:
    away = {**variables, "EMBEDDED_CLOUD_ENDPOINT": "127.0.0.1:1", "VERTEX_TIMEOUT": "0.2"}
    with start_api(platform_url, **away, BREAKER_OPEN_SECONDS="600").client() as client:
        while "api_vertex_breaker_closed 0" not in client.get("/metrics").text:
            assert found(client)[0] == "alloydb"
        assert len(found(client)[1]) == 3
        assert 'api_search_total{backend="alloydb",fallback="true"}' in client.get("/metrics").text
