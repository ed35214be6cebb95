"""The rows of the platform's tables: the same scale gives the same rows."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count

import numpy as np
from psycopg.types.json import Jsonb

from lib.sample.embeddings import embeddings
from lib.sample.words import TOPICS, Prose

Row = tuple[object, ...]
Topics = np.ndarray[tuple[int], np.dtype[np.int64]]

BEGINNING = datetime(2025, 11, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
SYSTEMS = ("crm", "wiki", "mail", "tickets", "calendar")
CITIES = ("Berlin", "Lisboa", "Nairobi", "大阪", "São Paulo", "Zürich", "Kraków", "القاهرة")
TOOLS = ("weather", "search", "calendar", "sql", "browser", "mail")
EMOJI = ("", "", "", "", " 🙂", " 🚀", " 👩‍💻", " ✅")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows each table has."""

    agents: int
    conversations: int
    messages: int
    tool_calls: int
    documents: int
    chunks: int
    memories: int
    short_memories: int
    intents: int

    @classmethod
    def at(cls, scale: float) -> "Counts":
        """The counts at a scale; 1.0 is about 300 MB, and none falls below a useful minimum."""

        def rows(full: int, minimum: int) -> int:
            return max(minimum, round(full * scale))

        return cls(
            agents=rows(60, 12),
            conversations=rows(5_000, 60),
            messages=rows(60_000, 600),
            tool_calls=rows(20_000, 200),
            documents=rows(1_500, 20),
            chunks=rows(15_000, 200),
            memories=rows(10_000, 200),
            short_memories=rows(50_000, 1_000),
            intents=rows(200, 40),
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A table's columns with the types that COPY sends, and its rows."""

    name: str
    columns: Mapping[str, str]
    rows: Callable[[Counts], Iterable[Row]]


def _topics(size: int, seed: int) -> Topics:
    """Topics are not equally popular."""
    drawn = np.random.default_rng(seed).zipf(1.4, size)
    topics: Topics = (drawn % TOPICS).astype(np.int64)
    return topics


def _agents(counts: Counts) -> Iterator[Row]:
    prose, status = Prose(100), ("active", "active", "active", "draft", "paused", "retired")
    for number in range(1, counts.agents + 1):
        topic = number % TOPICS
        made = BEGINNING + timedelta(hours=number)
        yield (
            number,
            f"{prose.title(topic)} {number}",
            f"Agent.{number}@Orchestra.example",
            status[number % len(status)],
            (number % 10) / 10,
            [TOOLS[number % 6], TOOLS[(number + 1) % 6]],
            Jsonb({"model": f"m-{number % 4}", "tools": list(TOOLS[: number % 6]), "limit": None}),
            made,
            made + timedelta(days=number % 300),
        )


def _began(conversation: int, counts: Counts) -> datetime:
    return BEGINNING + (conversation - 1) * YEAR / counts.conversations


def _conversations(counts: Counts) -> Iterator[Row]:
    prose = Prose(200)
    for number in range(1, counts.conversations + 1):
        began = _began(number, counts)
        closed = None if number % 9 == 0 else began + timedelta(minutes=5 + number % 240)
        yield number, 1 + number % counts.agents, prose.title(number % TOPICS), began, closed


def _sent(number: int, counts: Counts) -> tuple[int, datetime]:
    """A message's conversation and time; the first few are older than every month's partition."""
    conversation = 1 + (number - 1) * counts.conversations // counts.messages
    first = (conversation - 1) * counts.messages // counts.conversations
    sent = _began(conversation, counts) + timedelta(seconds=37 * (number - first), microseconds=250)
    return conversation, sent - YEAR if number <= 10 else sent


def _messages(counts: Counts) -> Iterator[Row]:
    texts = Prose(300).texts(_topics(counts.messages, 301), 45)
    roles = ("user", "assistant", "user", "assistant", "tool", "assistant", "system")
    for number, text in enumerate(texts, start=1):
        conversation, sent = _sent(number, counts)
        content = text + EMOJI[number % len(EMOJI)]
        yield number, conversation, roles[number % 7], content, len(content) // 4, sent


def _tool_calls(counts: Counts) -> Iterator[Row]:
    texts = Prose(400).texts(_topics(counts.tool_calls, 401), 12)
    numbers = np.random.default_rng(402).integers(1, counts.messages + 1, counts.tool_calls)
    for index, (message, text) in enumerate(zip(numbers.tolist(), texts, strict=True)):
        arguments = {"city": CITIES[index % 8], "query": text, "options": {"limit": index % 50}}
        result = None if index % 11 == 0 else {"ok": index % 13 != 0, "rows": [index, index / 3]}
        yield (
            uuid.uuid5(uuid.NAMESPACE_URL, f"orchestra:tool-call:{index}"),
            message,
            _sent(message, counts)[1],
            TOOLS[index % 6],
            Jsonb(arguments),
            None if result is None else Jsonb(result),
            Decimal(index % 1000) / 1000,
            index % 13 != 0,
        )


def _documents(counts: Counts) -> Iterator[Row]:
    prose = Prose(500)
    texts = prose.texts(np.arange(counts.documents) % TOPICS, 250)
    for number, text in enumerate(texts, start=1):
        checksum = uuid.uuid5(uuid.NAMESPACE_URL, text).bytes + b"\0"
        uri = f"https://{SYSTEMS[number % 5]}.orchestra.example/d/{number}?q=a%20b"
        added = BEGINNING + timedelta(hours=5 * number)
        yield number, uri, prose.title(number % TOPICS), text, checksum, added


def _chunks(counts: Counts) -> Iterator[Row]:
    numbers = np.arange(counts.chunks)
    topics: Topics = (numbers % counts.documents + 1) % TOPICS
    texts = Prose(600).texts(topics, 70)
    vectors = embeddings(topics, 768, 601)
    for index, text, vector in zip(numbers.tolist(), texts, vectors, strict=True):
        yield 1 + index % counts.documents, index // counts.documents, text, vector


def _memories(counts: Counts) -> Iterator[Row]:
    topics = _topics(counts.memories, 700)
    texts, vectors = Prose(701).texts(topics, 40), embeddings(topics, 1536, 702)
    for number, text, vector, topic in zip(count(1), texts, vectors, topics.tolist(), strict=False):
        yield (
            number,
            1 + number % counts.agents,
            text,
            (number * 37 % 101) / 100,
            Jsonb({"topic": topic, "source": SYSTEMS[number % 5], "seen": number % 17}),
            vector,
            BEGINNING + number * YEAR / counts.memories,
        )


def _short_memories(counts: Counts) -> Iterator[Row]:
    topics = _topics(counts.short_memories, 800)
    texts, vectors = Prose(801).texts(topics, 18), embeddings(topics, 384, 802)
    for number, text, vector in zip(count(1), texts, vectors, strict=False):
        made = BEGINNING + number * YEAR / counts.short_memories
        expires = made + timedelta(days=730) if number % 3 else None
        yield number, 1 + number % counts.agents, text, vector, made, expires


def _intents(counts: Counts) -> Iterator[Row]:
    topics = _topics(counts.intents, 900)
    texts, vectors = Prose(901).texts(topics, 6), embeddings(topics, 384, 902)
    for number, text, vector in zip(count(1), texts, vectors, strict=False):
        yield number, f"{text} ({number})", vector


def _sync_state(counts: Counts) -> Iterator[Row]:
    for number, system in enumerate(SYSTEMS):
        for stream in ("created", "changed", "deleted"):
            cursor = None if stream == "deleted" else f"{system}:{number * 7919}"
            position = counts.messages * (number + 1) + len(stream)
            yield system, stream, cursor, position, BEGINNING + YEAR


TABLES = (
    Table(
        "agents",
        {
            "id": "int8",
            "name": "text",
            "contact": "text",
            "status": "text",
            "temperature": "float8",
            "tags": "text[]",
            "configuration": "jsonb",
            "created_at": "timestamptz",
            "updated_at": "timestamptz",
        },
        _agents,
    ),
    Table(
        "conversations",
        {
            "id": "int8",
            "agent_id": "int8",
            "title": "text",
            "started_at": "timestamptz",
            "closed_at": "timestamptz",
        },
        _conversations,
    ),
    Table(
        "messages",
        {
            "id": "int8",
            "conversation_id": "int8",
            "role": "text",
            "content": "text",
            "tokens": "int4",
            "created_at": "timestamptz",
        },
        _messages,
    ),
    Table(
        "tool_calls",
        {
            "id": "uuid",
            "message_id": "int8",
            "message_created_at": "timestamptz",
            "tool": "text",
            "arguments": "jsonb",
            "result": "jsonb",
            "cost": "numeric",
            "succeeded": "bool",
        },
        _tool_calls,
    ),
    Table(
        "documents",
        {
            "id": "int4",
            "source_uri": "text",
            "title": "text",
            "body": "text",
            "checksum": "bytea",
            "added_at": "timestamptz",
        },
        _documents,
    ),
    Table(
        "document_chunks",
        {"document_id": "int4", "ordinal": "int4", "content": "text", "embedding": "bytea"},
        _chunks,
    ),
    Table(
        "memories",
        {
            "id": "int8",
            "agent_id": "int8",
            "content": "text",
            "importance": "float8",
            "metadata": "jsonb",
            "embedding": "bytea",
            "created_at": "timestamptz",
        },
        _memories,
    ),
    Table(
        "short_memories",
        {
            "id": "int8",
            "agent_id": "int8",
            "content": "text",
            "embedding": "bytea",
            "created_at": "timestamptz",
            "expires_at": "timestamptz",
        },
        _short_memories,
    ),
    Table("intents", {"id": "int4", "phrase": "text", "embedding": "bytea"}, _intents),
    Table(
        "sync_state",
        {
            "system": "text",
            "stream": "text",
            "cursor": "text",
            "position": "int8",
            "synced_at": "timestamptz",
        },
        _sync_state,
    ),
)
