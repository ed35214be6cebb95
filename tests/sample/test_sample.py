"""The sample source: everything that it promises is in it, and it is whole or not there."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest
import redis
from psycopg.sql import SQL, Identifier

from lib.runtime.binaries import pg_dump_path
from lib.sample import source
from lib.sample.source import Sample, SampleError

SCALE = 0.01


def _new_state() -> Path:
    state = Path(mkdtemp(prefix="sample-"))
    state.chmod(0o755)
    return state


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    path = _new_state()
    yield path
    source.reset(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def made(state: Path) -> Sample:
    return source.ensure(state, SCALE)


@pytest.fixture
def other_state() -> Iterator[Path]:
    path = _new_state()
    yield path
    source.reset(path)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def database(made: Sample) -> Iterator[psycopg.Connection]:
    with psycopg.connect(made.postgresql, autocommit=True) as connection:
        yield connection


def redis_at(made: Sample, number: int) -> redis.Redis:
    return redis.Redis.from_url(made.redis.removesuffix("/0") + f"/{number}")


def _cases() -> dict[str, str]:
    """Queries by the case that they look for, from cases.sql."""
    parts = (Path(__file__).parent / "cases.sql").read_text(encoding="utf-8").split("\n\n-- ")[1:]
    return dict(part.split("\n", 1) for part in parts)


CASES = _cases()


@pytest.mark.parametrize("case", CASES)
def test_what_breaks_migrations_is_there(case: str, database: psycopg.Connection) -> None:
    row = database.execute(CASES[case]).fetchone()
    assert row is not None
    assert row[0] > 0


def test_embeddings_cluster(database: psycopg.Connection) -> None:
    """Uniform noise in 384 dimensions would have all neighbours about equally far away."""
    nearest, typical = database.execute(
        """SELECT avg(nearest), avg(typical)
        FROM (SELECT embedding FROM short_memories ORDER BY id LIMIT 20) q,
        LATERAL (SELECT percentile_disc(0.02) WITHIN GROUP (ORDER BY d) AS nearest,
                 percentile_disc(0.5) WITHIN GROUP (ORDER BY d) AS typical
                 FROM (SELECT q.embedding <=> embedding AS d FROM short_memories) distances) x"""
    ).fetchone()
    assert nearest < 0.7 * typical
    lengths = database.execute(
        "SELECT min(vector_norm(embedding)), max(vector_norm(embedding)) FROM memories"
    )
    assert lengths.fetchone() == pytest.approx((1.0, 1.0), abs=1e-4)


def test_text_has_frequent_and_rare_words(database: psycopg.Connection) -> None:
    counts = [
        row[0]
        for row in database.execute(
            "SELECT count(*) FROM messages, regexp_split_to_table(lower(content), '\\W+') word"
            " WHERE word <> '' GROUP BY word ORDER BY 1 DESC"
        )
    ]
    assert len(counts) > 300
    assert counts[0] > 20 * counts[len(counts) // 2]


def test_the_trigger_works(database: psycopg.Connection) -> None:
    with database.transaction(force_rollback=True):
        query = "UPDATE agents SET name = name WHERE id = 1 RETURNING updated_at = now()"
        assert database.execute(query).fetchone() == (True,)


def test_pg_dump_reads_all_of_it(made: Sample) -> None:
    dumped = subprocess.run(
        [pg_dump_path(), "--schema-only", made.postgresql], capture_output=True, text=True
    )
    assert dumped.returncode == 0
    assert 'CREATE TABLE edge."Order Items"' in dumped.stdout


def test_redis_holds_every_kind(made: Sample) -> None:
    zero, one, five = (redis_at(made, number) for number in (0, 1, 5))
    kinds = {zero.type(key) for key in zero.scan_iter(count=1000)}
    assert kinds == {b"string", b"hash", b"list", b"set", b"zset"}
    assert zero.hlen("agents:index") == 1000
    assert zero.ttl("memory:0") == -1
    assert zero.ttl("memory:1") > 365 * 24 * 3600
    assert zero.object("encoding", "small:numbers") == b"intset"
    assert one.ttl("session:1") > 0
    groups = {group["name"]: group for group in one.xinfo_groups("events")}
    assert groups[b"workers"]["pending"] == 63
    assert groups[b"auditors"]["pending"] == 0
    assert five.pfcount("visitors") == pytest.approx(2000, rel=0.05)
    assert five.bitcount("active:days") == 5000
    assert five.get(b"\x00\xff\r\n key \x07") is not None
    assert five.get("") == b"the empty key"


def digest(made: Sample) -> str:
    """Of all rows of all tables, and all Redis values."""
    result = hashlib.sha256()
    with psycopg.connect(made.postgresql) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname IN ('public', 'analytics', 'edge') ORDER BY 1, 2"
        ).fetchall()
        for schema, table in tables:
            query = SQL("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t")
            row = connection.execute(query.format(Identifier(schema, table))).fetchone()
            result.update(f"{schema}.{table}: {row}".encode())
    for number in (0, 1, 5):
        client = redis_at(made, number)
        for key in sorted(client.scan_iter(count=1000)):
            result.update(repr((key, redis_value(client, key))).encode())
    return result.hexdigest()


def redis_value(client: redis.Redis, key: bytes) -> object:
    """A HyperLogLog keeps its last count within, so it's counted before it is read."""
    kind = client.type(key)
    if kind == b"hash":
        return sorted(client.hgetall(key).items())
    if kind == b"set":
        return sorted(client.smembers(key))
    if kind == b"stream":
        return client.xrange(key), client.xpending_range(key, "workers", "-", "+", 5)[0]["consumer"]
    if key.startswith(b"visitors"):
        client.pfcount(key)
    return client.dump(key)


def test_two_builds_are_alike(made: Sample, other_state: Path) -> None:
    again = source.ensure(other_state, SCALE)
    assert again != made
    assert digest(again) == digest(made)


def test_it_is_kept_and_started_again(state: Path, made: Sample) -> None:
    with psycopg.connect(made.postgresql) as connection:
        connection.execute("CREATE TABLE mark ()")
    try:
        source.stop(state)
        assert not source.running(state, SCALE)
        assert source.ensure(state, SCALE) == made
        with psycopg.connect(made.postgresql) as connection:
            assert connection.execute("SELECT count(*) FROM mark").fetchone() == (0,)
        assert redis_at(made, 0).hlen("agents:index") == 1000
    finally:
        with psycopg.connect(made.postgresql) as connection:
            connection.execute("DROP TABLE mark")


def test_kill_in_the_middle_leaves_nothing_half_made(other_state: Path) -> None:
    command = [sys.executable, "-m", "lib.sample", "start", "--state", other_state, "--scale"]
    build = subprocess.Popen([*command, "1"], stdout=subprocess.DEVNULL)
    pid_file = other_state / "sample" / "scale-1.0.unfinished" / "postgresql" / "postmaster.pid"
    deadline = time.monotonic() + 60
    lines: list[str] = []
    while len(lines) < 8 and time.monotonic() < deadline and build.poll() is None:
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        os.sched_yield()
    left_running = int(lines[0])
    build.send_signal(signal.SIGKILL)
    build.wait()
    assert source.scales(other_state) == []
    made = source.ensure(other_state, SCALE)
    assert [path.name for path in (other_state / "sample").glob("scale-*")] == ["scale-0.01"]
    assert not _alive(left_running)
    with psycopg.connect(made.postgresql) as connection:
        assert connection.execute("SELECT count(*) FROM memories").fetchone() == (200,)


def _alive(pid: int) -> bool:
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_two_processes_get_one_sample(other_state: Path) -> None:
    command = [sys.executable, "-m", "lib.sample", "start", "--scale", "0.01"]
    command += ["--state", str(other_state)]

    def start(_: int) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(start, range(2))
    assert first == second
    assert "scale 0.01 (running)" in first


def test_scales_live_beside_each_other(state: Path, made: Sample) -> None:
    assert source.sample(state, 0.02) != made
    assert source.scales(state) == [SCALE]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_senseless_scale_is_refused(scale: float, other_state: Path) -> None:
    with pytest.raises(SampleError, match="scale"):
        source.ensure(other_state, scale)
    assert list(other_state.iterdir()) == []


def test_the_command_line_teaches_and_refuses_without_a_traceback(other_state: Path) -> None:
    command = [sys.executable, "-m", "lib.sample"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in helped.stdout
    (other_state / "file").write_text("")
    refused = subprocess.run(
        [*command, "start", "--state", other_state / "file"], capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert "to mend it" in refused.stderr
    shown = subprocess.run(
        [*command, "status", "--state", other_state], capture_output=True, text=True, check=True
    )
    assert "no sample" in shown.stdout
