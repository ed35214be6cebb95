"""The API with Vertex AI behind its search: asked, doubted, gone, back, and kept in step."""

import uuid

import httpx
import psycopg
import pytest

from lib.cloud.cloud import Cloud
from lib.cloud.target import Target
from lib.cloud.vertex import IndexSpec
from lib.cloud.vertex_points import Datapoint
from lib.localcloud.faults import Fault, Faults
from lib.localcloud.rehearsal import Rehearsal
from lib.settings import ProjectSettings
from lib.vectors.changes import NoteChanges
from lib.vectors.columns import vector_columns
from lib.vectors.database import VectorDatabase
from lib.vectors.loading import LoadPoints
from lib.vectors.served import served
from lib.vectors.served_tuning import TuneServed, Where
from tests.api.api_process import until
from tests.cloud.small_engine import converge

TABLES = {"memories": ("l2", "SQUARED_L2_DISTANCE"), 'Odd "Table"': ("cosine", "COSINE_DISTANCE")}


@pytest.fixture(scope="module")
def project():
    return ProjectSettings(id=f"orchestra-{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def points(localcloud, project, platform_url):
    """Two collections, served; the datapoints of each by its table."""
    target = Target.embedded(localcloud.endpoint, localcloud.ca, localcloud.token, project.id)
    cloud, database = Cloud(target), VectorDatabase(platform_url)
    for action in (cloud.project(project), cloud.services(project)):
        converge(action)
    converge(cloud.index_endpoint(project, "api"))
    found = {}
    with database.session() as connection:
        columns = [each for each in vector_columns(connection) if each.table in TABLES]
    for column in columns:
        metric, distance = TABLES[column.table]
        with database.session() as connection:
            what = served(connection, column, metric, ())
        spec = IndexSpec(what.label, column.dimensions, distance)
        index = converge(cloud.vector_index(project, spec))[1]
        deployed = converge(cloud.deployed_index(project, what.label, spec, "api"))[1]
        store = cloud.datapoints(index.name, deployed.endpoint, deployed.id, deployed.address)
        converge(NoteChanges(database, what, "api_test_role"))
        converge(LoadPoints(database, what, store, store.index))
        where = Where(index.name, deployed.endpoint, what.label, deployed.address, distance, 20)
        converge(TuneServed(database, what, store, where, 0.9, 5, samples=10))
        found[column.table] = store
    yield found
    cloud.close()


@pytest.fixture(scope="module")
def api(start_api, platform_url, localcloud, project, points):
    running = start_api(
        platform_url,
        SEARCH_BACKEND="vertex",
        VERTEX_PROJECT=project.id,
        VERTEX_REGION="us-central1",
        VERTEX_SYNC_SECONDS="0.05",
        EMBEDDED_CLOUD_ENDPOINT=localcloud.endpoint,
        EMBEDDED_CLOUD_CA=str(localcloud.ca),
        EMBEDDED_CLOUD_TOKEN=localcloud.token,
    )
    yield running
    running.process.terminate()
    running.process.wait()


@pytest.fixture
def faults(localcloud):
    found = Faults(Rehearsal(localcloud.state))
    yield found
    found.clear()


@pytest.fixture
def client(api):
    with api.client() as caller:
        yield caller


def _search(client: httpx.Client, vector, collection="memories", k=4):
    body = {"collection": collection, "vector": vector, "k": k}
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _write(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next((float(each.split()[-1]) for each in lines if each.startswith(name)), 0.0)


def test_vertex_answers_what_alloydb_would(client, faults):
    for collection, vector in (("memories", [7.2, 1, 0]), ('Odd "Table"', [3.0, 0.5, 0, 1])):
        by_vertex = _search(client, vector, collection)
        faults.add([Fault("error", method="FindNeighbors")])
        by_alloydb = _search(client, vector, collection)
        faults.clear()
        assert (by_vertex.pop("backend"), by_alloydb.pop("backend")) == ("vertex", "alloydb")
        assert by_vertex == by_alloydb
    backends = {each["name"]: each["backend"] for each in client.get("/v1/collections").json()}
    assert backends["public.memories.embedding"] == "vertex"
    assert backends["public.agents.embedding"] == "alloydb"
    assert _metric(client, 'api_search_total{backend="vertex",fallback="false"}') >= 2


def test_what_anybody_writes_is_found_soon_and_what_is_deleted_never(client, platform_url):
    _write(platform_url, "insert into memories (id, embedding) overriding system value"
           " values (5000, '[900, 900, 900]')")  # fmt: skip
    until(lambda: _search(client, [900, 900, 900], k=1)["matches"][0]["key"] == {"id": 5000})
    _write(platform_url, "update memories set embedding = '[800, 0, 800]' where id = 5000")
    until(lambda: _search(client, [800, 0, 800], k=1)["matches"][0]["key"] == {"id": 5000})
    _write(platform_url, "delete from memories where id = 5000")
    assert {"id": 5000} not in [each["key"] for each in _search(client, [800, 0, 800])["matches"]]
    until(lambda: _search(client, [800, 0, 800])["backend"] == "vertex")


def test_a_datapoint_that_no_row_has_makes_alloydb_answer(client, points):
    points["memories"].upsert([Datapoint("77777", [-50.0, 0.0, 0.0])])
    found = _search(client, [-50, 0, 0])
    assert (found["backend"], len(found["matches"])) == ("alloydb", 4)
    points["memories"].remove(["77777"])
    assert _search(client, [-50, 0, 0])["backend"] == "vertex"


def test_while_vertex_fails_alloydb_answers_and_its_breaker_spares_it(client, faults):
    before = _metric(client, 'api_search_total{backend="alloydb",fallback="true"}')
    faults.add([Fault("error", method="FindNeighbors")])
    found = [_search(client, [5, 1, 0]) for _ in range(30)]
    assert {each["backend"] for each in found} == {"alloydb"}
    assert found[0]["matches"][0]["key"] == {"id": 5}
    assert sum(each.struck for each in faults.all()) < 30
    after = _metric(client, 'api_search_total{backend="alloydb",fallback="true"}')
    assert after - before == 30
    faults.clear()
    until(lambda: _search(client, [5, 1, 0])["backend"] == "vertex")

    def closed():
        _search(client, [5, 1, 0])
        return _metric(client, "api_vertex_breaker_closed") == 1

    until(closed)


def test_changes_wait_for_vertex_and_none_is_lost(client, platform_url, faults):
    faults.add([Fault("error", method="UpsertDatapoints")])
    _write(platform_url, "insert into memories (id, embedding) overriding system value"
           " values (6000, '[0, 700, 0]')")  # fmt: skip
    until(lambda: sum(each.struck for each in faults.all()) > 1)
    faults.clear()
    until(lambda: _search(client, [0, 700, 0], k=1)["matches"][0]["key"] == {"id": 6000})
    _write(platform_url, "delete from memories where id = 6000")
