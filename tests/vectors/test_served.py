"""A collection beside a vector service: loaded, kept in step, compared, and searched."""

import uuid
from dataclasses import replace

import numpy
import pytest

from lib.engine.changes import ChangeKind
from lib.errors import VerificationError
from lib.vectors import served_settings
from lib.vectors.changes import NoteChanges, drain, noted
from lib.vectors.columns import vector_columns
from lib.vectors.database import VectorDatabase
from lib.vectors.errors import RecallNotReached
from lib.vectors.loading import LoadPoints
from lib.vectors.served import Served, served
from lib.vectors.served_tuning import TuneServed, Where, as_pgvector
from tests.cache.journal import MemoryJournal

DIMENSIONS, ROWS, LEAVES = 8, 1_200, 40
ROLE = "served_reader"
WHERE = Where("index/1", "endpoint/1", "label", "address", "DOT_PRODUCT_DISTANCE", 20)


class Leaves:
    """A store that searches some leaves only, as a service does: recall costs effort."""

    def __init__(self):
        self.points = {}
        self.calls = 0
        self.dies_at = None
        self.tree = None

    def upsert(self, points):
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.points.update((each.id, each) for each in points)

    def remove(self, ids):
        for each in ids:
            self.points.pop(each, None)

    def read(self, ids):
        return {each: self.points[each] for each in ids if each in self.points}

    def count(self):
        return len(self.points)

    def find(self, vector, k, *, approximate=0, leaf_percent=0):
        if self.tree is None or len(self.tree[0]) != len(self.points):
            ids = list(self.points)
            rows = numpy.array([self.points[each].vector for each in ids])
            rows /= numpy.linalg.norm(rows, axis=1, keepdims=True)
            self.tree = ids, rows, (rows @ rows[:LEAVES].T).argmax(axis=1)
        ids, rows, leaf = self.tree
        query = numpy.asarray(vector) / numpy.linalg.norm(vector)
        nearest = (-(rows[:LEAVES] @ query)).argsort()[: max(1, LEAVES * leaf_percent // 100)]
        products = numpy.where(numpy.isin(leaf, nearest), rows @ query, -2)
        order = (-products).argsort()[:k]
        return [(ids[n], float(products[n])) for n in order if products[n] > -2]


@pytest.fixture
def database(make_database):
    found = VectorDatabase(make_database())
    with found.session() as connection:
        connection.execute("create extension vector")
        connection.execute(
            f"do $$ begin create role {ROLE}; exception when duplicate_object then null; end $$"
        )
        connection.execute(
            f"""create table notes (agent_id int, number bigint, note text,
                "Of it" vector({DIMENSIONS}), primary key (agent_id, number))"""
        )
        connection.execute(
            """insert into notes select n %% 7, n, 'x', array(
                select sin(n * i) + (n %% 40) / 10.0 from generate_series(1, %s) i)::vector
                from generate_series(1, %s) n""",
            (DIMENSIONS, ROWS),
        )
    yield found
    with found.session() as connection:
        connection.execute(f"drop owned by {ROLE}")


@pytest.fixture
def what(database):
    return _served(database)


def _served(database, restricts=("agent_id", "nobody")) -> Served:
    with database.session() as connection:
        (column,) = [each for each in vector_columns(connection) if each.rows]
        found = served(connection, column, "cosine", restricts)
    assert isinstance(found, Served)
    return found


def _make(action, journal=None):
    change = action.plan(action.observe())
    if change.kind is not ChangeKind.NONE:
        action.apply(change, journal or MemoryJournal())
        action.verify()
    return change


def _loaded(database, what, store):
    _make(NoteChanges(database, what, ROLE))
    return LoadPoints(database, what, store, WHERE.service)


def _execute(database, *statements):
    with database.session() as connection:
        for each in statements:
            connection.execute(each)


def test_every_vector_arrives_with_its_restricts_and_once(database, what):
    store = Leaves()
    load = _loaded(database, what, store)
    assert _make(load).kind is ChangeKind.CREATE
    assert _make(load).kind is ChangeKind.NONE
    assert len(store.points) == ROWS
    point = store.points['["3", "10"]']
    assert point.restricts == (("agent_id", "3"),)
    assert len(point.vector) == DIMENSIONS


def test_a_killed_load_goes_on_where_it_was(database, what):
    store, journal = Leaves(), MemoryJournal()
    load = _loaded(database, what, store)
    store.dies_at = 2
    with pytest.raises(KeyboardInterrupt):
        _make(load, journal)
    assert len(store.points) == what.page
    assert _make(load, journal).kind is ChangeKind.CREATE
    assert (len(store.points), store.calls) == (ROWS, 2 + (ROWS - what.page + 499) // 500)
    assert not journal.entries()


def test_every_kind_of_write_is_noted_and_brought(database, what):
    store = Leaves()
    load = _loaded(database, what, store)
    _make(load)
    changes = {
        """insert into notes values (9, 9, 'new', array_fill(1, array[8])::vector)""": '["9", "9"]',
        """update notes set "Of it" = array_fill(2, array[8])::vector
            where number = 8""": '["1", "8"]',
        "update notes set agent_id = 50 where number = 9 and agent_id = 2": '["50", "9"]',
        "delete from notes where number = 10": '["3", "10"]',
        """update notes set "Of it" = null where number = 11""": '["4", "11"]',
        "set session_replication_role = replica; delete from notes where number = 12": None,
    }
    _execute(database, *changes)
    _execute(database, "update notes set note = 'other' where number = 20")
    with database.session() as connection:
        assert noted(connection, what) == 7  # a new key is two, another column none
        assert load.plan(load.observe()).kind is ChangeKind.UPDATE
        assert drain(connection, what, store) == 7
        assert drain(connection, what, store) == 0
    load.verify()
    assert list(store.points['["9", "9"]'].vector) == [1] * 8
    assert store.points['["50", "9"]'].restricts == (("agent_id", "50"),)
    gone = ('["2", "9"]', '["3", "10"]', '["4", "11"]', '["5", "12"]')
    assert not store.points.keys() & set(gone)
    _execute(database, "truncate notes")
    _make(load)
    assert not store.points


def test_whoever_drains_second_waits_or_leaves(database, what):
    store = Leaves()
    _make(_loaded(database, what, store))
    _execute(database, "delete from notes where number = 1")
    with database.session() as one, database.session() as other, one.transaction():
        assert drain(one, what, store) == 1
        assert drain(other, what, store, wait=False) == 0


def test_what_is_lost_or_wrong_is_told_and_mended(database, what):
    store = Leaves()
    load = _loaded(database, what, store)
    _make(load)
    wrong = store.points['["1", "1"]']
    store.points['["1", "1"]'] = wrong._replace(vector=-numpy.asarray(wrong.vector))
    store.points['["2", "2"]'] = store.points['["2", "2"]']._replace(restricts=())
    del store.points['["3", "3"]']
    with pytest.raises(VerificationError, match=r'3 datapoints .*\["1", "1"\], \["2", "2"\]'):
        load.verify()
    assert _make(load).kind is ChangeKind.UPDATE
    store.points["nobody"] = wrong
    with pytest.raises(VerificationError, match="1 datapoints that no row"):
        load.verify()


def test_another_index_or_other_restricts_are_loaded_anew(database, what):
    store = Leaves()
    _make(_loaded(database, what, store))
    second = Leaves()
    again = LoadPoints(database, what, second, "index/2")
    assert _make(again).kind is ChangeKind.UPDATE
    assert len(second.points) == ROWS
    bare = LoadPoints(database, _served(database, ()), second, "index/2")
    assert _make(bare).kind is ChangeKind.UPDATE
    assert second.points['["1", "1"]'].restricts == ()


def test_tuning_finds_the_least_effort_and_undo_forgets_it(database, what):
    store = Leaves()
    _make(_loaded(database, what, store))
    tune = TuneServed(database, what, store, WHERE, 0.9, samples=60)
    change = _make(tune)
    assert (change.kind, _make(tune).kind) == (ChangeKind.CREATE, ChangeKind.NONE)
    found = tune.verify()
    assert 1 < found.leaf_percent < 100
    assert found.recall >= 0.9
    assert found.key_columns == ["agent_id", "number"]
    higher = TuneServed(database, what, store, WHERE, 0.99, samples=60)
    update = _make(higher)
    assert higher.verify().leaf_percent > found.leaf_percent
    higher.undo(update, MemoryJournal())
    assert tune.observe() == found
    tune.undo(change, MemoryJournal())
    assert tune.observe() is None


def test_a_recall_that_no_effort_reaches_is_told(database, what):
    store = Leaves()
    _make(_loaded(database, what, store))
    for each in list(store.points)[::2]:
        del store.points[each]
    where = replace(WHERE, approximate=600)
    with pytest.raises(RecallNotReached, match="with all its leaves"):
        _make(TuneServed(database, what, store, where, 0.9, samples=20))
    with database.session() as connection:
        assert served_settings.read(connection, what.name) is None


def test_undo_leaves_no_trace(database, what):
    notes = NoteChanges(database, what, ROLE)
    made = _make(notes)
    load = LoadPoints(database, what, Leaves(), WHERE.service)
    loaded = _make(load)
    load.undo(loaded, MemoryJournal())
    notes.undo(made, MemoryJournal())
    assert (load.observe(), notes.observe()) == (None, None)
    with database.session() as connection:
        (left,) = connection.execute(
            "select count(*) from pg_trigger where tgname like 'orchestra%'"
        ).fetchone()
        assert left == 0
        assert noted(connection, what) == 0


@pytest.mark.parametrize("table, reason", [
    ("create table other (id uuid, v vector(2))", "no primary key"),
    ("create table other (id numeric primary key, v vector(2))", "type numeric"),
])  # fmt: skip
def test_what_cannot_be_served_is_told(database, table, reason):
    _execute(database, "drop table notes", table)
    with database.session() as connection:
        (column,) = vector_columns(connection)
        found = served(connection, column, "cosine", ())
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize("kind", ["uuid", "text", "int"])
def test_single_keys_are_their_own_ids(database, kind):
    value = {"uuid": str(uuid.uuid4()), "text": "a, \"b' %s", "int": "-5"}[kind]
    _execute(database, "drop table notes", f"create table o (id {kind} primary key, v vector(2))")
    with database.session() as connection:
        connection.execute("insert into o values (%s, '[1,2]'), (%s, null)",
                           (value, {"uuid": str(uuid.uuid4())}.get(kind, "7")))  # fmt: skip
    what, store = _served(database), Leaves()
    load = _loaded(database, what, store)
    _make(load)
    assert [list(store.points[value].vector)] == [[1, 2]]
    _execute(database, "update o set v = '[3,4]' where v is not null")
    _make(load)
    assert list(store.points[value].vector) == [3, 4]


def test_keys_whose_texts_sort_otherwise_are_all_there(database):
    _execute(
        database, "drop table notes", "create table o (id bigint primary key, v vector(2))",
        "insert into o select n, array[n, 1]::vector from generate_series(1, 1201) n",
    )  # fmt: skip
    what, store = _served(database), Leaves()
    _make(_loaded(database, what, store))
    assert len(store.points) == 1_201


def test_distances_are_told_as_pgvector_tells_them():
    near = [("a", 0.9), ("b", 0.5)]
    assert as_pgvector(near, "cosine", "DOT_PRODUCT_DISTANCE") == [
        ("a", pytest.approx(0.1)), ("b", 0.5),
    ]  # fmt: skip
    negated = [(id, -value) for id, value in near]
    assert as_pgvector(negated, "inner_product", "DOT_PRODUCT_DISTANCE") == negated
    assert as_pgvector(near, "inner_product", "DOT_PRODUCT_DISTANCE") == negated
    assert as_pgvector([("a", 4.0)], "l2", "SQUARED_L2_DISTANCE") == [("a", 2.0)]
