"""Tools that recorded outputs call."""

from __future__ import annotations

from typing import Any

from lmrun.chat.messages import Tool


def make_tool(name: str, required: tuple[str, ...] = (), **properties: Any) -> Tool:
    """A tool whose arguments are described by their schemas, or by the name of a type."""
    schemas = {
        key: {"type": schema} if isinstance(schema, str) else schema
        for key, schema in properties.items()
    }
    parameters: dict[str, Any] = {"type": "object", "properties": schemas}
    if required:
        parameters["required"] = list(required)
    return Tool(name, f"The tool {name}.", parameters)


TOOLS = {
    tool.name: tool
    for tool in (
        make_tool(
            "get_weather",
            ("location",),
            location="string",
            unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
        ),
        make_tool("get_time"),
        make_tool(
            "search",
            ("query",),
            query="string",
            limit="integer",
            exact="boolean",
            tags={"type": "array", "items": {"type": "string"}},
            minimum_score="number",
        ),
        make_tool("send_email", ("to", "body"), to="string", subject="string", body="string"),
        make_tool("python", ("code",), code="string"),
        make_tool("add", ("a", "b"), a="number", b="number"),
        make_tool("set_options", options="object", note={"type": ["string", "null"]}, other={}),
        make_tool("special-function_1", arg1="integer"),
        make_tool("brave_search", ("query",), query="string"),
    )
}
