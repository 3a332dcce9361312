"""A server made with the protocol's own library: it speaks the newest revision, and asks for input
as that does. Run by its path: `stdio`, `streamable-http PORT` or `sse PORT`."""

import json
import sys
from typing import Annotated, Any

import mcp_types as types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from pydantic import BaseModel

server = MCPServer("asking", log_level="ERROR")


class Size(BaseModel):
    size: int


def ask_size(item: str) -> Elicit[Size]:
    return Elicit(f"Which size of {item}?", Size)


def ask_model(question: str) -> Sample:
    content = types.TextContent(text=question)
    message = types.SamplingMessage(role="user", content=content)
    return Sample([message], max_tokens=50, system_prompt="Be brief.", temperature=0.5)


def ask_roots() -> ListRoots:
    return ListRoots()


@server.tool()
def order(item: str, size: Annotated[Size, Resolve(ask_size)]) -> str:
    return f"{item} in size {size.size}"


@server.tool()
def guess(question: str, answer: Annotated[types.CreateMessageResult, Resolve(ask_model)]) -> str:
    assert isinstance(answer.content, types.TextContent)
    return f"{answer.model} says {answer.content.text} ({answer.stop_reason})"


@server.tool()
def where(roots: Annotated[types.ListRootsResult, Resolve(ask_roots)]) -> str:
    return json.dumps([str(root.uri) for root in roots.roots])


@server.tool()
async def grow(context: Context[Any, Any]) -> str:
    def grown() -> str:
        return "grown"

    server.add_tool(grown)
    await context.notify_tools_changed()
    await context.report_progress(1, 1, "grown")
    return "one more"


@server.tool()
def headers(context: Context[Any, Any]) -> str:
    return json.dumps(dict(context.headers or {}))


@server.tool()
def add(first: int, second: int) -> dict[str, int]:
    return {"sum": first + second}


@server.resource("note://hello", description="A note.")
def note() -> str:
    return "Hello from a note."


@server.resource("note://of/{name}", description="A note\u200b of somebody's.")
def note_of(name: str) -> str:
    return f"A note of {name}."


@server.prompt(description="A greeting.")
def greet(name: str) -> str:
    return f"Greet {name}."


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run()
    elif sys.argv[1] == "sse":
        server.run("sse", port=int(sys.argv[2]))
    else:
        server.run("streamable-http", port=int(sys.argv[2]))
