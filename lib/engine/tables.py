"""The tables of a checkpoint store; a change here needs a new ``VERSION`` and a migration."""

from sqlalchemy import JSON, Column, Float, Integer, MetaData, Table, Text

VERSION = 1

METADATA = MetaData()

META = Table(
    "orchestra_meta",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
LOCKS = Table(
    "orchestra_locks",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("token", Integer, nullable=False),
    Column("holder", JSON, nullable=False),
    Column("expires_at", Float, nullable=False),
)
RUNS = Table(
    "orchestra_runs",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("holder", JSON, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("outcome", Text),
)
CHECKPOINTS = Table(
    "orchestra_checkpoints",
    METADATA,
    Column("step", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("run", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("inputs", JSON, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("changes", JSON, nullable=False),
    Column("error", Text),
)
HISTORY = Table(
    "orchestra_history",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("step", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("run", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("changes", JSON, nullable=False),
    Column("error", Text),
)
INTENTS = Table(
    "orchestra_intents",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("step", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("change", JSON, nullable=False),
    Column("run", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("state", Text, nullable=False),
)
JOURNAL = Table(
    "orchestra_journal",
    METADATA,
    Column("step", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", JSON),
)
