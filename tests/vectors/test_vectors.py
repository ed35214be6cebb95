"""From columns to tuned search on a real pgvector: clustered vectors, never uniform noise."""

import threading
from collections.abc import Callable

import numpy
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.engine.changes import Change, ChangeKind
from lib.errors import MigrationError, SettingsError
from lib.vectors import search_settings, tuning
from lib.vectors.columns import VectorColumn, vector_columns
from lib.vectors.database import VectorDatabase
from lib.vectors.design import choose_index
from lib.vectors.errors import DatabaseUnreachable, DesignRefused, RecallNotReached, VectorError
from lib.vectors.exact import ground_truth, query_vectors, recall
from lib.vectors.index import CreateVectorIndex
from lib.vectors.measurement import measure
from lib.vectors.search import Searcher
from lib.vectors.tuning import TuneSearch, tune
from lib.vectors.wire import packed
from tests.cache.journal import MemoryJournal

ROWS, DIMENSIONS = 3_000, 64


@pytest.fixture(scope="module")
def vectors() -> numpy.ndarray:
    random = numpy.random.default_rng(3)
    centres = random.standard_normal((40, DIMENSIONS))
    chosen = centres[random.integers(0, 40, ROWS)]
    return (chosen + 0.3 * random.standard_normal(chosen.shape)).astype(numpy.float32)


@pytest.fixture
def database(make_database: Callable[[], str]) -> VectorDatabase:
    found = VectorDatabase(make_database())
    with found.session() as connection:
        connection.execute("create extension vector")
    return found


def store(database: VectorDatabase, rows: numpy.ndarray, table: str = "memories", kind="vector"):
    with database.session() as connection:
        connection.execute(
            f'create table "{table}" (id bigint primary key, "Embedding" {kind}({rows.shape[1]}))'
        )
        stage = connection.cursor()
        stage.execute(f"create temp table stage (id bigint, v vector({rows.shape[1]}))")
        with stage.copy("copy stage from stdin (format binary)") as copy:
            copy.set_types(["int8", "bytea"])
            for number, row in enumerate(rows):
                copy.write_row((number, packed(row)))
        connection.execute(f'insert into "{table}" select id, v::{kind} from stage')
        connection.execute("drop table stage")
        connection.execute(f'analyze "{table}"')


@pytest.fixture
def column(database: VectorDatabase, vectors) -> VectorColumn:
    store(database, vectors)
    return only(database)


def only(database: VectorDatabase) -> VectorColumn:
    with database.session() as connection:
        (found,) = vector_columns(connection)
    return found


def make(action, journal=None) -> Change:
    change = action.plan(action.observe())
    if change.kind is not ChangeKind.NONE:
        action.apply(change, journal or MemoryJournal())
        action.verify()
    return Change.from_json(change.to_json())


# -- columns -----------------------------------------------------------------------------------


def test_columns_are_found_with_their_rows_and_others_are_not(database, vectors):
    store(database, vectors[:10])
    with database.session() as connection:
        connection.execute("create schema orchestra")
        connection.execute("create table orchestra.ours (v vector(3))")
        connection.execute("create table plain (a int)")
        connection.execute(
            "create table parent (a int, v halfvec(4)) partition by range (a);"
            "create table child partition of parent for values from (0) to (9);"
            "insert into parent values (1, '[1,2,3,4]'), (2, null)"
        )
        connection.execute("create table loose (v vector)")
        connection.execute("insert into loose values ('[1,2]')")
        found = {each.name: each for each in vector_columns(connection)}
    assert set(found) == {"public.memories.Embedding", "public.parent.v", "public.loose.v"}
    assert found["public.memories.Embedding"] == VectorColumn(
        "public", "memories", "Embedding", 64, 10, "vector", True, False, ("id",)
    )
    assert found["public.parent.v"].partitioned
    assert (found["public.parent.v"].rows, found["public.parent.v"].type) == (1, "halfvec")
    assert (found["public.loose.v"].dimensions, found["public.loose.v"].fixed) == (2, False)


def test_a_database_without_vectors_has_no_columns(make_database):
    with VectorDatabase(make_database()).session() as connection:
        connection.execute("create table plain (a int)")
        assert vector_columns(connection) == ()


# -- design ------------------------------------------------------------------------------------


def column_of(rows: int, dimensions: int = 384, **more) -> VectorColumn:
    return VectorColumn("public", "t", "v", dimensions, rows, **more)


def test_scann_is_chosen_where_it_is_and_sized_by_rows():
    design = choose_index(column_of(40_000), scann=True)
    assert (design.method, design.opclass, design.parameters["num_leaves"]) == (
        "scann",
        "cosine",
        200,
    )
    assert "num_leaves" in design.ddl.as_string()
    assert choose_index(column_of(40_000)).method == "hnsw"
    assert choose_index(column_of(50), scann=True).method == "hnsw"


def test_more_than_2000_dimensions_are_indexed_as_halfvec_and_more_than_4000_refused():
    design = choose_index(column_of(10_000, 3_072), metric="l2")
    assert (design.cast, design.opclass) == ("halfvec", "halfvec_l2_ops")
    with pytest.raises(DesignRefused, match="4,000"):
        choose_index(column_of(10_000, 5_000))


def test_what_cannot_be_built_is_refused_with_the_reason():
    with pytest.raises(DesignRefused, match="not installed"):
        choose_index(column_of(10_000), "scann")
    with pytest.raises(DesignRefused, match="500 rows"):
        choose_index(column_of(500), "scann", scann=True)
    with pytest.raises(DesignRefused, match="dimensions"):
        choose_index(column_of(0, 0))


def test_few_rows_get_an_index_and_the_reason():
    assert "growth" in choose_index(column_of(5)).reason
    assert choose_index(column_of(5_000_000), "ivfflat").parameters == {"lists": 2_236}


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_names_fit_postgresql(table, name):
    column = VectorColumn("public", table, name, 3, 1)
    assert len(choose_index(column).name.encode()) <= 63


# -- index -------------------------------------------------------------------------------------


def test_an_index_is_built_once_and_undone(database, column):
    action = CreateVectorIndex(database, choose_index(column))
    change = make(action)
    assert change.kind is ChangeKind.CREATE
    assert action.plan(action.observe()).kind is ChangeKind.NONE
    action.undo(change, MemoryJournal())
    assert action.observe() is None


def test_an_equal_index_of_another_name_will_do(database, column):
    with database.session() as connection:
        connection.execute(
            'create index theirs on memories using hnsw ("Embedding" vector_cosine_ops)'
            " with (m = 16, ef_construction = 64)"
        )
    action = CreateVectorIndex(database, choose_index(column))
    assert make(action).kind is ChangeKind.NONE


def test_a_differing_index_is_replaced_and_comes_back(database, column):
    design = choose_index(column)
    with database.session() as connection:
        connection.execute(f"create index {design.name.replace('Embedding', '')} on memories (id)")
        connection.execute(
            f'create index "{design.name}" on memories using hnsw ("Embedding" vector_l2_ops)'
        )
    action = CreateVectorIndex(database, design)
    change = make(action)
    assert change.kind is ChangeKind.REPLACE
    action.undo(change, MemoryJournal())
    assert action.observe().opclass == "vector_l2_ops"


def test_the_invalid_leftover_of_a_killed_build_is_mended(database, column):
    design = choose_index(column)
    with database.session() as holder, database.session() as builder:
        holder.execute("begin isolation level repeatable read")
        holder.execute("update memories set id = id where id = 1")
        pid = builder.info.backend_pid
        ddl = design.ddl.as_string().replace("create index", "create index concurrently")
        killed = threading.Thread(target=_until_killed, args=(builder, ddl))
        killed.start()
        with database.session() as killer:
            while killer.execute("select 1 from pg_index where not indisvalid").fetchone() is None:
                pass
            killer.execute("select pg_terminate_backend(%s, 10000)", (pid,))
        killed.join(10)
        holder.execute("rollback")
    action = CreateVectorIndex(database, design)
    assert not action.observe().valid
    with pytest.raises(MigrationError):
        action.verify()
    change = make(action)
    assert "invalid" in change.reason
    assert action.verify().valid


def _until_killed(connection, ddl):
    try:
        connection.execute(ddl)
    except psycopg.Error:
        return


def test_a_stopped_build_leaves_what_was_there(database, column):
    class Stopping(MemoryJournal):
        def safe_point(self):
            raise KeyboardInterrupt

    design = choose_index(column)
    with database.session() as connection:
        connection.execute(
            f'create index "{design.name}" on memories using hnsw ("Embedding" vector_l2_ops)'
        )
    action = CreateVectorIndex(database, design)
    with database.session() as holder, holder.transaction():
        holder.execute("lock table memories in row exclusive mode")
        with pytest.raises(KeyboardInterrupt):
            action.apply(action.plan(action.observe()), Stopping())
    assert action.observe().opclass == "vector_l2_ops"


def test_a_partitioned_parent_is_indexed_and_searched(database, vectors):
    store(database, vectors[:600], "whole")
    with database.session() as connection:
        connection.execute(
            "create table parts (id bigint, v vector(64)) partition by range (id);"
            "create table low partition of parts for values from (0) to (300);"
            "create table high partition of parts for values from (300) to (600);"
            'insert into parts select id, "Embedding" from whole; drop table whole'
        )
    design = choose_index(only(database), metric="l2")
    make(CreateVectorIndex(database, design))
    with Searcher(database, design.column, design=design) as searcher:
        found = searcher.search(vectors[5], 3)
    assert found[0][1] == pytest.approx(0, abs=1e-6)
    assert len(found) == 3


# -- exact, recall, tuning ---------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_ground_truth_is_what_a_sequential_scan_gives(database, vectors, metric, kind):
    rows = vectors[:500].copy()
    rows[7] = 0
    store(database, rows, kind=kind)
    column = only(database)
    design = choose_index(column, metric=metric)
    with database.session() as connection:
        queries = query_vectors(connection, column, 10)
        again = query_vectors(connection, column, 10)
        truth = ground_truth(connection, column, metric, queries, 10)
    assert (queries == again).all()
    assert not any((query == row).all() for query in queries for row in rows)
    with Searcher(database, column, design=design) as searcher:
        for query, exact in zip(queries, truth.neighbours, strict=True):
            found = searcher.search(query, 10)
            assert [d for _, d in found] == pytest.approx([d for _, d in exact], abs=1e-4, rel=1e-3)


def test_recall_counts_ties_and_nothing_else():
    exact = [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert recall([(1, 0.1), (2, 0.2), (9, 0.3)], exact) == 1
    assert recall([(1, 0.1), (2, 0.2), (9, 0.31)], exact) == pytest.approx(2 / 3)
    assert recall([], exact) == 0


@pytest.mark.parametrize("method", ["hnsw", "ivfflat"])
def test_tuning_reaches_the_target_keeps_the_choice_and_search_follows_it(database, column, method):
    design = choose_index(column, method)
    make(CreateVectorIndex(database, design))
    action = TuneSearch(database, design, 0.95, 10, samples=100)
    change = make(action)
    assert change.kind is ChangeKind.CREATE
    assert action.tuning is not None
    assert action.tuning.recall >= 0.95
    assert len(action.tuning.samples) == 100
    assert action.plan(action.observe()).kind is ChangeKind.NONE
    measurement = measure(database, column, samples=200, k=10)
    assert len(measurement.latencies_ms) == 200
    assert measurement.recall >= 0.9
    assert 0 < measurement.percentile(0.5) <= measurement.percentile(0.99)
    stricter = TuneSearch(database, design, 0.99, 10, samples=100)
    second = make(stricter)
    assert second.kind is ChangeKind.UPDATE
    stricter.undo(second, MemoryJournal())
    assert action.plan(action.observe()).kind is ChangeKind.NONE
    action.undo(change, MemoryJournal())
    assert action.observe() is None


def test_a_target_out_of_reach_is_an_error_with_the_best(database, column):
    design = choose_index(column)
    make(CreateVectorIndex(database, design))
    with pytest.raises(RecallNotReached, match="and no more"):
        tune(database, design, 1.01, 10, samples=10)


@given(st.integers(1, 900), st.integers(1, 50))
def test_the_least_value_is_found_to_within_a_tenth(threshold, low):
    found = tuning.least(low, 1_000, lambda value: value >= threshold)
    assert found is not None
    assert max(threshold, low) <= found <= max(low, threshold + max(1, found // 10))


def test_the_settings_are_readable_by_everybody(database, column):
    design = choose_index(column)
    make(CreateVectorIndex(database, design))
    make(TuneSearch(database, design, 0.5, samples=20))
    with database.session() as connection:
        connection.execute("create role guest_reader")
        try:
            connection.execute("set role guest_reader")
            assert search_settings.read(connection, column) is not None
        finally:
            connection.execute("reset role")
            connection.execute("drop role guest_reader")


# -- bad input ---------------------------------------------------------------------------------


def test_search_without_settings_says_what_to_run(database, column):
    with pytest.raises(VectorError, match="no search settings") as caught:
        measure(database, column)
    assert "vector-optimization" in caught.value.remedy


def test_refused_connections_and_bad_addresses_are_told():
    with pytest.raises(DatabaseUnreachable, match=r"127\.0\.0\.1:1/"):
        VectorDatabase("postgresql://postgres@127.0.0.1:1/x").connect()
    with pytest.raises(SettingsError):
        VectorDatabase("http://x y")


def test_a_password_never_shows():
    database = VectorDatabase("postgresql://me:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in repr(database) + database.address
    assert database.password == "hunter2"


def test_an_empty_column_cannot_be_measured(database):
    with database.session() as connection:
        connection.execute("create table e (id int primary key, v vector(3))")
    with pytest.raises(VectorError, match="no vectors"):
        tune(database, choose_index(only(database)))
