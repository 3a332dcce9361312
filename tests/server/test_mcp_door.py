"""Tools through /api/v1/chat, /v1/responses, /mcp and `lmrun mcp serve`: a real server, a real MCP
server, a real model."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import mcp_types as types
import openai
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.profiles import posting, write_profile, write_script
from tests.support.server import Server, lmrun, serving
from tests.support.tool_files import real_model, write_tools

MULTIPLY = "What is the result of 12345 multiplied by 54321?"

TEMPLATE = (
    '{# <tool_call>\n{"name": …}\n</tool_call> #}'
    "{% for t in tools or [] %}{{ t.function.name }}\n{% endfor %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
CALL = (
    '<tool_call>\n{"name": "time__get_current_time", "arguments": {"timezone": "Asia/Tokyo"}}\n'
    "</tool_call>"
)
REPLIES: list[dict[str, Any]] = [
    {"match": "tool: .*Asia/Tokyo", "pieces": ["It is told."]},
    {"match": "tool: denied", "pieces": ["As you like."]},
    {"match": "What time", "pieces": [CALL]},
    {"pieces": ["Hello."]},
]


def write_door_profile(home: Path) -> Path:
    script = write_script(home / "clerk.scripted.json", *REPLIES, chat_template=TEMPLATE)
    tools = write_tools(home, create_file="ask")
    for name in ("multiply", "create_file"):
        tools[name]["export"] = True
    clock = {
        "command": [sys.executable, "-m", "mcp_server_time"],
        "tools": {"allow": ["get_current_time"]},
        "policy": "allow",
    }
    models = {"assistant": real_model(), "clerk": {"source": f"file:{script}"}}
    presets = {"greedy": {"prediction": {"temperature": 0, "repeat_penalty": 1, "max_tokens": 200}}}
    agents = {"watch": {"model": "clerk", "tools": ["mcp/time/*"]}}
    return write_profile(
        home / "p.yaml",
        models,
        presets=presets,
        tools=tools,
        mcp_servers={"time": clock},
        agents=agents,
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with serving(home, write_door_profile(home)) as running:
        body = {"model": "clerk", "input": "hi", "integrations": ["mcp/time"]}
        with posting(running.address, body, "/api/v1/chat") as response:
            assert response.status == 403, "nobody has agreed to it yet"
            assert json.load(response)["error"]["type"] == "mcp_connection_error"
        approved = lmrun(running, "mcp", "approve", "time", "--yes")
        assert approved.returncode == 0, approved.stderr
        yield running


def chat(server: Server, **fields: Any) -> dict[str, Any]:
    with posting(server.address, fields, "/api/v1/chat") as response:
        return read_answer(response)


def read_answer(response: HTTPResponse) -> dict[str, Any]:
    answer: dict[str, Any] = json.load(response)
    assert response.status == 200, answer
    return answer


def test_a_chat_multiplies_with_the_profiles_tool(server: Server) -> None:
    """LM Studio's own example, with no forced choice."""
    answer = chat(server, model="assistant", input=MULTIPLY, integrations=["tools/multiply"])
    made, message = answer["output"]
    assert (made["type"], made["tool"]) == ("tool_call", "multiply")
    assert made["arguments"] == {"a": 12345, "b": 54321}
    assert float(made["output"]) == 670592745
    assert "670592745" in message["content"].replace(",", "")


def test_a_chat_asks_an_mcp_server(server: Server) -> None:
    plugin = {"type": "plugin", "id": "mcp/time", "allowed_tools": ["get_current_time"]}
    answer = chat(server, model="clerk", input="What time is it?", integrations=[plugin])
    made, message = answer["output"]
    assert (made["tool"], made["provider_info"]["plugin_id"]) == ("get_current_time", "mcp/time")
    assert json.loads(made["output"])["timezone"] == "Asia/Tokyo"
    assert message["content"] == "It is told."


def test_an_agent_brings_its_tools_and_takes_no_others(server: Server) -> None:
    asked = {"model": "watch", "input": "What time is it?"}
    answer = chat(server, **asked)
    assert answer["output"] == [{"type": "message", "content": "It is told."}]
    body = {**asked, "integrations": ["tools/add"], "stream": True}
    with posting(server.address, body, "/api/v1/chat") as response:
        assert response.status == 400
        assert json.load(response)["error"]["param"] == "integrations"


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_a_response_asks_an_mcp_server_once_the_client_has_agreed(client: openai.OpenAI) -> None:
    given: Any = {"model": "clerk", "tools": [{"type": "mcp", "server_label": "time"}]}
    first = client.responses.create(input="What time is it?", **given)
    assert [item.type for item in first.output] == ["mcp_list_tools", "mcp_approval_request"]
    for is_approved, said in ((False, "As you like."), (True, "It is told.")):
        answer: Any = {
            "type": "mcp_approval_response",
            "approval_request_id": first.output[1].id,
            "approve": is_approved,
        }
        second = client.responses.create(input=[answer], previous_response_id=first.id, **given)
        assert [item.type for item in second.output] == ["mcp_call", "message"]
        assert second.output_text == said
        made = second.output[0].to_dict()
        assert made["status"] == ("completed" if is_approved else "failed")


def test_a_response_streams_what_an_mcp_server_does(client: openai.OpenAI) -> None:
    tool: Any = {"type": "mcp", "server_label": "time", "require_approval": "never"}
    with client.responses.stream(model="clerk", input="What time is it?", tools=[tool]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.mcp_call.in_progress" in kinds
    assert "response.mcp_call.completed" in kinds
    assert final.output_text == "It is told."


def text(result: types.CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


async def use(client: Client) -> None:
    tools = {tool.name for tool in (await client.list_tools()).tools}
    assert tools == {"chat", "embed", "list_models", "multiply", "create_file"}
    models = (await client.call_tool("list_models")).structured_content["models"]
    assert {it["identifier"] for it in models} == {"assistant", "clerk", "watch"}
    hello = await client.call_tool("chat", {"model": "clerk", "prompt": "hi"})
    assert text(hello) == "Hello."
    product = await client.call_tool("multiply", {"a": 6, "b": 7})
    assert float(text(product)) == 42
    denied = await client.call_tool("create_file", {"name": "made.txt", "content": "x"})
    assert denied.is_error
    assert "denied" in text(denied)


def test_the_server_is_an_mcp_server(server: Server) -> None:
    async def ask() -> None:
        async with Client(f"{server.address}/mcp") as client:
            await use(client)

    asyncio.run(ask())
    assert not (server.home.root / "made.txt").exists()


def test_a_program_that_starts_its_mcp_servers_gets_the_same(server: Server) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "lmrun", "mcp", "serve"],
        env={**os.environ, "LMRUN_HOME": str(server.home.root)},
    )

    async def ask() -> None:
        async with Client(stdio_client(command)) as client:
            await use(client)

    asyncio.run(ask())


def test_every_call_is_in_the_audit_log(server: Server) -> None:
    chat(server, model="clerk", input="What time is it?", integrations=["mcp/time"])
    lines = (server.home.root / "logs" / "audit.jsonl").read_text().splitlines()
    doors = {(it["door"], it["tool"]) for it in map(json.loads, lines)}
    assert ("chat", "mcp/time/get_current_time") in doors
