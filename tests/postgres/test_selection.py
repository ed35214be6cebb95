"""Only what was chosen moves, with what belongs to it, and compares equal."""

import pytest

from lib.engine.changes import ChangeKind
from lib.errors import MigrationError
from lib.postgres.comparison import CompareOptions, compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.cutover import Cutover
from lib.postgres.database import Database, connect
from lib.postgres.errors import Obstacle
from lib.postgres.following import Followed
from lib.postgres.leftovers import ReplicationRemoved
from lib.postgres.online import Online, replication_name
from lib.postgres.publication import Published
from lib.postgres.schema import PostDataSchema, PreDataSchema, SchemaOptions
from lib.postgres.schema_comparison import compare_schema
from lib.postgres.selection import Selection, left_out, selected
from lib.postgres.sequences import Sequences
from lib.postgres.views import MaterialisedViews
from lib.postgres.writes import allow
from lib.runtime.binaries import pg_dump_path
from tests.postgres.conftest import make, planned, run_sql

SHOP = """
create schema shop; create schema other;
create sequence shop.free_numbers;
create table shop.customers (id serial primary key, country text not null,
    invited_by int references shop.customers);
create table shop.orders (id serial primary key, customer int references shop.customers, n int);
create table shop.lines (order_id int references shop.orders, place int, what text,
    primary key (order_id, place));
create table shop.visits (at date, customer int) partition by range (at);
create table shop.visits_1 partition of shop.visits for values
    from ('2026-01-01') to ('2026-07-01');
create table shop.visits_2 partition of shop.visits for values
    from ('2026-07-01') to ('2027-01-01');
create table other.base (id int primary key); create table other.heir (more text)
    inherits (other.base);
create view shop.busy as select customer, count(*) from shop.orders group by 1;
create view other.busier as select * from shop.busy;
create materialized view shop.totals as select count(*) from shop.lines;
insert into shop.customers (country) select (array['de','fr','it'])[1 + n % 3]
    from generate_series(1, 300) n;
insert into shop.orders (customer, n)
    select case when n % 10 > 0 then 1 + n % 300 end, n from generate_series(1, 900) n;
insert into shop.lines select id, p, 'thing' from shop.orders, generate_series(1, 3) p;
insert into shop.visits select date '2026-01-01' + n, n from generate_series(0, 300) n;
insert into other.base select generate_series(1, 5); insert into other.heir values (9, 'x');
refresh materialized view shop.totals;
"""


@pytest.fixture
def shop(source: Database) -> Database:
    run_sql(source, SHOP)
    run_sql(source, "analyze")
    return source


def move(source: Database, target: Database, selection: Selection) -> None:
    schema = SchemaOptions(selection=selection, pg_dump=pg_dump_path())
    actions = (
        PreDataSchema(source, target, schema),
        CopyRows(source, target, CopyOptions(chunk_bytes=1 << 14, selection=selection)),
        Sequences(source, target, selection),
        PostDataSchema(source, target, schema),
        MaterialisedViews(source, target, selection),
    )
    for action in actions:
        make(action)
    for action in actions:
        assert planned(action) is ChangeKind.NONE, action.subject
    assert compare(source, target, CompareOptions(selection=selection)).describe() == ""
    assert compare_schema(source, target, selection, pg_dump=pg_dump_path()) == ()


def relations(target: Database) -> set[str]:
    rows = run_sql(
        target,
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on"
        " n.oid = c.relnamespace where relkind in ('r', 'p', 'v', 'm', 'S')"
        " and nspname in ('shop', 'other')",
    )
    return {row[0] for row in rows}


@pytest.mark.parametrize(
    "selection, there",
    [
        (
            Selection(include=("shop.customers", "shop.visits")),
            {"shop.customers", "shop.customers_id_seq", "shop.free_numbers", "shop.visits"}
            | {"shop.visits_1", "shop.visits_2"},
        ),
        (
            Selection(include=("shop.visits_2", "other.heir")),
            {"shop.free_numbers", "shop.visits", "shop.visits_2", "other.base", "other.heir"},
        ),
        (
            Selection(exclude=("shop.orders", "shop.visits", "other.base")),
            {"shop.customers", "shop.customers_id_seq", "shop.free_numbers", "shop.lines"}
            | {"shop.totals"},
        ),
        (
            Selection(include=("shop.*",), exclude=("shop.lines", "shop.free*")),
            {"shop.customers", "shop.customers_id_seq", "shop.orders", "shop.orders_id_seq"}
            | {"shop.visits", "shop.visits_1", "shop.visits_2", "shop.busy"},
        ),
    ],
    ids=["tables", "a partition and an heir", "without parents", "a schema"],
)
def test_what_belongs_to_the_chosen_comes_along(
    shop: Database, target: Database, selection: Selection, there: set[str]
) -> None:
    move(shop, target, selection)
    assert relations(target) == there


def test_rows_follow_the_rows_that_they_refer_to(shop: Database, target: Database) -> None:
    run_sql(shop, "alter table shop.customers drop constraint customers_invited_by_fkey")
    chosen = Selection(
        rows=(("shop.customers", "country = 'de'"), ("shop.visits", "at > '2026-6-1'"))
    )
    move(shop, target, chosen)
    assert run_sql(target, "select distinct country from shop.customers") == [("de",)]
    wanted = (
        "select count(*), count(customer) from shop.orders o where customer is null or exists"
        " (select from shop.customers c where c.id = o.customer and country = 'de')"
    )
    assert run_sql(target, "select count(*), count(customer) from shop.orders") == run_sql(
        shop, wanted
    )
    assert run_sql(target, "select count(*) from shop.visits_1") == [(29,)]
    lines = "select count(*) = 3 * (select count(*) from shop.orders) from shop.lines"
    assert run_sql(target, lines) == [(True,)]
    run_sql(target, "update shop.lines set what = 'else' where order_id = 10 and place = 2")
    told = compare(shop, target, CompareOptions(selection=chosen)).describe()
    assert "shop.lines (order_id=10, place=2)" in told


@pytest.mark.parametrize(
    "condition, told",
    [
        ({"shop.orders": "colour = 'red'"}, 'column "colour" does not exist'),
        ({"shop.customers": "id > 5"}, "shop.customers, which refers to itself"),
    ],
)
def test_conditions_that_can_not_be_are_said(
    shop: Database, condition: dict[str, str], told: str
) -> None:
    with connect(shop) as connection, pytest.raises(Obstacle) as caught:
        selected(connection, Selection(rows=tuple(condition.items())))
    assert told in str(caught.value)


def test_a_circle_of_references_is_said(shop: Database) -> None:
    run_sql(
        shop,
        "alter table shop.customers drop constraint customers_invited_by_fkey,"
        " add favourite int references shop.orders",
    )
    with connect(shop) as connection, pytest.raises(MigrationError, match="in a circle"):
        selected(connection, Selection(rows=(("shop.orders", "n > 5"),)))


def test_no_selection_leaves_out_nothing(shop: Database) -> None:
    with connect(shop) as connection:
        assert left_out(connection, Selection()) == frozenset()


def test_chosen_rows_move_online_too(shop: Database, target: Database) -> None:
    run_sql(shop, "alter table shop.customers drop constraint customers_invited_by_fkey")
    chosen = Selection(include=("shop.*",), rows=(("shop.customers", "country <> 'it'"),))
    schema = SchemaOptions(selection=chosen, pg_dump=pg_dump_path())
    online = Online(replication_name("selection", target.name))
    options = CopyOptions(chunk_bytes=1 << 14, selection=chosen)
    cutover = Cutover(shop, target, online, options)
    try:
        for action in (
            PreDataSchema(shop, target, schema),
            Published(shop, online, chosen),
            CopyRows(shop, target, options, online, PostDataSchema(shop, target, schema)),
            PostDataSchema(shop, target, schema),
            Followed(shop, target, online, chosen),
        ):
            make(action)
        run_sql(shop, "update shop.customers set country = 'it' where id = 4")
        run_sql(shop, "insert into shop.visits values ('2026-08-08', 1)")
        run_sql(shop, "delete from shop.lines where order_id = 5")
        make(cutover)
        assert run_sql(target, "select count(*) from shop.customers where id = 4") == [(0,)]
        assert run_sql(target, "select count(*) from shop.orders where customer = 4") == [(0,)]
    finally:
        allow(shop)
        make(ReplicationRemoved(shop, target, online.name))
