"""A real MCP server for the tests: what it did stands in a journal, a line for each execution."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel

READ_ONLY = ToolAnnotations(read_only_hint=True)


class Answer(BaseModel):
    name: str


def make(journal: Path) -> MCPServer:
    server = MCPServer("tests", version="1", log_level="CRITICAL")
    memories: dict[str, Any] = {}

    def note(line: str) -> None:
        with journal.open("a") as file:
            file.write(line + "\n")

    @server.tool(annotations=READ_ONLY)
    def add(one: int, two: int) -> int:
        return one + two

    @server.tool()
    def pid() -> int:
        return os.getpid()

    @server.tool()
    async def once(name: str) -> str:
        note(f"once {name}")
        await asyncio.sleep(0)
        return name

    @server.tool(annotations=READ_ONLY)
    async def die(name: str) -> str:
        note(f"die {name}")
        os._exit(1)

    @server.tool()
    async def die_unsafely(name: str) -> str:
        note(f"die {name}")
        os._exit(1)

    @server.tool()
    async def hang(name: str) -> str:
        note(f"hang {name}")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note(f"cancelled {name}")
            raise
        return name

    @server.tool()
    def broken() -> str:
        raise ToolError("it is broken")

    @server.tool()
    async def steps(context: Context) -> str:
        for step in range(3):
            await context.report_progress(step, 3, f"step {step}")
        return "done"

    @server.tool()
    async def greet(context: Context) -> str:
        answer = await context.elicit("What is your name?", Answer)
        return f"hello {answer.data.name}" if answer.action == "accept" else "nobody"

    @server.resource("note://{name}")
    def text(name: str) -> str:
        return f"note {name}"

    @server.resource("note://first")
    def first() -> str:
        return "the first"

    @server.prompt()
    def review(code: str) -> str:
        return f"Review {code}"

    @server.completion()
    async def complete(ref: Any, argument: Any, context: Any) -> Any:
        from mcp_types import Completion

        return Completion(values=[word for word in ("red", "green") if argument.value in word])

    @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
    def memory_set(key: str, value: Any, ttl_seconds: float | None = None) -> dict[str, Any]:
        memories[key] = value
        return {"key": key, "stored": True}

    @server.tool(annotations=READ_ONLY)
    def memory_get(key: str) -> dict[str, Any]:
        return {"key": key, "value": memories.get(key), "found": key in memories}

    @server.tool(annotations=READ_ONLY)
    def memory_list(prefix: str = "", limit: int = 100) -> list[dict[str, Any]]:
        keys = sorted(key for key in memories if key.startswith(prefix))[:limit]
        return [{"key": key, "value": memories[key]} for key in keys]

    @server.tool()
    def memory_delete(key: str) -> dict[str, Any]:
        return {"key": key, "deleted": memories.pop(key, None) is not None}

    @server.tool(annotations=READ_ONLY)
    def memory_search(
        text: str | None = None, vector: list[float] | None = None, k: int = 10
    ) -> list[dict[str, Any]]:
        found = [key for key in memories if text is None or text in str(memories[key])]
        return [{"key": key, "value": memories[key], "score": 1.0} for key in found[:k]]

    return server


def guarded(app: Any, token: str) -> Any:
    async def ask(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and token:
            given = dict(scope["headers"]).get(b"authorization", b"").decode()
            if given != f"Bearer {token}":
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    return ask


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--journal", type=Path, required=True)
    options.add_argument("--host")
    options.add_argument("--port", type=int)
    given = options.parse_args()
    server = make(given.journal)
    if given.port is None:
        server.run()
        return
    app = guarded(server.streamable_http_app(host=given.host), os.environ.get("TEST_TOKEN", ""))
    uvicorn.run(app, host=given.host, port=given.port, log_level="error")


if __name__ == "__main__":
    main()
