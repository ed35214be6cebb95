"""What people are told of a copy: how far it is, and what it came to."""

import re

from lib.orchestra import summary
from lib.postgres import bookkeeping
from lib.postgres.bookkeeping import Moved
from lib.postgres.comparison import compare
from lib.postgres.copying import CopyOptions, CopyRows
from lib.postgres.database import Database, connect
from lib.postgres.schema import PreDataSchema, SchemaOptions
from lib.runtime.binaries import pg_dump_path
from tests.postgres.conftest import Notes, make, run_sql

TABLES = """
create table large (id int primary key, filler text);
insert into large select n, repeat(md5(n::text), 8) from generate_series(1, 6000) n;
create table small (id int); insert into small values (1), (2);
"""


class Told(Notes):
    """Notes that keep the labels of the progress."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []

    def progress(self, label: str, done: float, total: float | None, unit: str) -> None:
        self.labels.append(label)


def test_a_copy_tells_each_table_and_sums_up(source: Database, target: Database) -> None:
    run_sql(source, TABLES)
    make(PreDataSchema(source, target, SchemaOptions(pg_dump=pg_dump_path())))
    told = Told()
    copy = CopyRows(source, target, CopyOptions(chunk_bytes=1 << 18))
    make(copy, told)
    state = copy.observe()
    assert state is not None
    assert re.fullmatch(r"public\.large \d+%.*; 0 of 2 tables", told.labels[0])
    assert told.labels[-1].endswith("2 of 2 tables")
    with connect(target) as connection:
        assert bookkeeping.moved(connection) == state.moved
    lines = summary.table(state.moved, compare(source, target)).splitlines()
    assert [re.split(r" {2,}", each) for each in lines[1:2]] == [
        ["table", "rows", "MB", "MB/s a worker", "verified"]
    ]
    assert [each.split()[:2] for each in lines[2:]] == [
        ["public.large", "6,000"],
        ["public.small", "2"],
        ["total", "6,002"],
    ]
    assert all(each.endswith("all rows") for each in lines[2:])
    assert all(each.endswith("not yet") for each in summary.table(state.moved).splitlines()[2:])


def test_many_tables_are_summed_up() -> None:
    many = [Moved(f"public.t{n}", 1, 1_000_000, 0.5) for n in range(25)]
    lines = summary.table(many).splitlines()
    assert len(lines) == 24
    assert lines[-2].split() == ["5", "more", "5", "5.0", "2.0"]
    assert lines[-1].split()[:4] == ["total", "25", "25.0", "2.0"]


def test_nothing_copied_is_said() -> None:
    assert summary.table(()) == "no rows had to be copied"
