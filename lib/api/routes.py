"""The HTTP endpoints."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse

from lib.api.errors import NotHere
from lib.api.memories import Page
from lib.api.models import (
    LARGEST_PAGE,
    CollectionOut,
    Health,
    Memory,
    MemoryIn,
    MemoryPage,
    Problem,
    RowPage,
    SearchIn,
    SearchOut,
)
from lib.api.search import Collection, Found
from lib.api.service import Service
from lib.api.values import KEY_LENGTH

Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
Cursor = Annotated[str, Query(max_length=4096)]
Prefix = Annotated[str, Query(max_length=KEY_LENGTH)]
_JSON = "application/json"
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 404, 413, 422, 503)
}


def _json(text: str | bytes) -> Response:
    return Response(text, media_type=_JSON)


def _page(page: Page) -> Response:
    items = ",".join(page.documents)
    return _json(f'{{"items":[{items}],"next_cursor":{json.dumps(page.next_cursor)}}}')


def matches_text(where: Collection, found: Found) -> str:
    """A search's answer as JSON; the keys are JSON already."""
    items = ",".join(
        f'{{"key":{m.key},"distance":{json.dumps(m.distance)}}}' for m in found.matches
    )
    name, metric = json.dumps(where.name), json.dumps(where.metric)
    by = f'"backend":"{found.backend}"'
    return f'{{"collection":{name},"metric":{metric},{by},"matches":[{items}]}}'


def health_routes(service: Service) -> APIRouter:
    """Liveness, readiness and metrics."""
    router = APIRouter(tags=["operation"])

    @router.get("/health/live", response_model=None)
    async def live() -> Response:
        """The process answers."""
        return _json('{"status":"live"}')

    @router.get(
        "/health/ready",
        response_model=Health,
        responses={503: {"model": Health, "description": "The database does not answer."}},
    )
    async def ready() -> Response:
        """The database answers; without Redis the API is slower, not wrong."""
        database, cache = await service.database_state(), service.cache.state
        status = "ready" if database == "up" else "not ready"
        body = json.dumps({"status": status, "database": database, "redis": cache})
        return Response(body, 200 if database == "up" else 503, media_type=_JSON)

    @router.get("/metrics", response_class=PlainTextResponse, responses={401: {"model": Problem}})
    async def metrics() -> Response:
        """Counters of this process in Prometheus' text format."""
        return Response(service.metrics.render(), media_type="text/plain; version=0.0.4")

    return router


def memory_routes(service: Service) -> APIRouter:
    """Key-value memories."""
    router = APIRouter(prefix="/v1/memories", tags=["memories"], responses=_PROBLEMS)
    memories = service.memories

    @router.get("", response_model=MemoryPage)
    async def list_memories(
        prefix: Prefix = "", limit: Limit = 50, cursor: Cursor = ""
    ) -> Response:
        """Memories whose key begins with a prefix."""
        return _page(await memories.list(prefix, limit, cursor))

    @router.get("/{key:path}", response_model=Memory)
    async def get_memory(key: str) -> Response:
        """One memory."""
        document = await memories.get(key)
        if document is None:
            raise NotHere("There is no memory of this key.")
        return _json(document)

    @router.put("/{key:path}", response_model=Memory)
    async def put_memory(key: str, memory: MemoryIn) -> Response:
        """Store a memory, new or not; without ``ttl_seconds`` it stays for ever."""
        return _json(await memories.set(key, memory.value, memory.ttl_seconds))

    @router.delete("/{key:path}", status_code=204, response_model=None)
    async def delete_memory(key: str) -> Response:
        """Delete a memory."""
        if not await memories.delete(key):
            raise NotHere("There is no memory of this key.")
        return Response(status_code=204)

    return router


def search_routes(service: Service) -> APIRouter:
    """Vector search."""
    router = APIRouter(prefix="/v1", tags=["search"], responses=_PROBLEMS)
    search = service.search

    @router.get("/collections", response_model=list[CollectionOut])
    async def list_collections() -> list[CollectionOut]:
        """The vector columns that can be searched."""
        return [
            CollectionOut(
                name=each.name,
                kind=each.kind,
                dimensions=each.dimensions,
                method=each.method,
                metric=each.metric,
                parameter=each.parameter,
                value=each.value,
                backend="alloydb" if each.served is None else "vertex",
            )
            for each in await search.collections()
        ]

    @router.post("/search", response_model=SearchOut)
    async def nearest(query: SearchIn) -> Response:
        """The rows whose vectors are nearest to the query."""
        where = await search.choose(query.collection, len(query.vector))
        return _json(matches_text(where, await search.nearest(where, query.vector, query.k)))

    return router


def agent_routes(service: Service) -> APIRouter:
    """Agents, their conversations and messages."""
    router = APIRouter(prefix="/v1", tags=["agents"], responses=_PROBLEMS)
    agents = service.agents

    @router.get("/agents", response_model=RowPage)
    async def list_agents(limit: Limit = 50, cursor: Cursor = "") -> Response:
        """All agents."""
        return _page(await agents.agents(limit, cursor))

    @router.get("/agents/{agent_id}", response_model=dict[str, Any])
    async def get_agent(agent_id: str) -> Response:
        """One agent."""
        return _json(await agents.agent(agent_id))

    @router.get("/agents/{agent_id}/conversations", response_model=RowPage)
    async def list_conversations(agent_id: str, limit: Limit = 50, cursor: Cursor = "") -> Response:
        """An agent's conversations."""
        return _page(await agents.conversations(agent_id, limit, cursor))

    @router.get("/conversations/{conversation_id}", response_model=dict[str, Any])
    async def get_conversation(
        conversation_id: str, limit: Limit = 50, cursor: Cursor = ""
    ) -> Response:
        """A conversation with a page of its messages."""
        conversation = await agents.conversation(conversation_id)
        page = await agents.messages(conversation_id, limit, cursor)
        messages, following = ",".join(page.documents), json.dumps(page.next_cursor)
        return _json(
            f'{{"conversation":{conversation},"messages":[{messages}],"next_cursor":{following}}}'
        )

    return router


def all_routes(service: Service) -> list[Any]:
    """Every route of the API but MCP's."""
    routers = (health_routes, memory_routes, search_routes, agent_routes)
    return [route for make in routers for route in make(service).routes]
