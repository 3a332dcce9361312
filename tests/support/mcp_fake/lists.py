"""Lists of tools, and how they change."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.support.mcp_fake.server import BEHAVIOURS, TEXT, Json, behaviour, poked, server, tool


@behaviour
def good() -> None:
    server.tools.append(tool("seen", "What it has seen."))


@poked
def schema_change(id: Any, params: Json) -> None:
    server.tools[1] = tool("poke", "Another one.", TEXT)
    server.notify("notifications/tools/list_changed")
    server.text(id, "changed")


@poked
def tool_renamed(id: Any, params: Json) -> None:
    server.tools[1] = tool("prod")
    server.notify("notifications/tools/list_changed")
    server.text(id, "renamed")


@behaviour
def huge_tools_list() -> None:
    server.tools = [tool(f"tool{number}") for number in range(10_000)]


@behaviour
def endless_pages() -> None:
    def page(id: Any, params: Json) -> Json:
        return {"tools": [], "nextCursor": f"{int(params.get('cursor', 0)) + 1}"}

    server.on_list = page


@behaviour
def pages_in_a_circle() -> None:
    server.on_list = lambda id, params: {"tools": [], "nextCursor": "again"}


@behaviour
def pages() -> None:
    def page(id: Any, params: Json) -> Json:
        if "cursor" in params:
            return {"tools": server.tools[1:]}
        return {"tools": server.tools[:1], "nextCursor": "more"}

    server.on_list = page


@behaviour
def confusing_names() -> None:
    server.tools += [tool("a.b"), tool("a_b"), tool("echo", "Another echo."), tool("a b/c")]
    server.tools += [tool("x" * 80 + "1"), tool("x" * 80 + "2")]


@behaviour
def hidden_characters() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "An\u200b a\u202e."}},
    }
    server.tools = [
        tool("poke", "Pokes.\u200b\u2066 \U000e0041\U000e0042Nothing else.\x1b[8m", schema),
        tool("sly", "Sly.", {"type": "object", "properties": {"a\u200b": {}}}),
    ]


@behaviour
def too_much_to_say() -> None:
    big = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(4000)}}
    server.tools = [tool("talks", "x" * 20_000), tool("asks", "A tool.", big), tool("poke")]


@behaviour
def odd_tools() -> None:
    server.tools += [
        tool("array", "A tool.", {"type": "array"}),
        tool("plain", "A tool.", {}),
        tool("promises", outputSchema={"type": "array"}),
        tool("described", ["a", "list"]),  # type: ignore[arg-type]
        {"name": "nothing"},
        {"description": "no name"},
        "no tool",  # type: ignore[list-item]
    ]


@behaviour
def changes_in_silence() -> None:
    def change(id: Any, params: Json) -> None:
        server.tools[1] = tool("poke", "Another one.")
        server.text(id, "changed")

    server.on_poke = change


@behaviour
def list_is_no_list() -> None:
    server.on_list = lambda id, params: {"tools": {"poke": 1}}


@behaviour
def templates_alone() -> None:
    """More than anybody would read, and no list of resources."""
    server.capabilities["resources"] = {}
    templates = [
        {
            "uriTemplate": f"a://{number}/{{name}}",
            "name": "n",
            "description": "A\u202e\nline." + "x" * 500,
        }
        for number in range(5000)
    ]
    server.methods["resources/templates/list"] = lambda id, params: server.result(
        id, {"resourceTemplates": templates}
    )


def _speak(version: str) -> None:
    server.version = version


for _version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
    BEHAVIOURS[_version] = partial(_speak, _version)


@poked
def logs(id: Any, params: Json) -> None:
    for level in ("debug", "warning", "emergency"):
        said = {"level": level, "data": f"{level}\u202e\nsaid\x1b[31m" + "x" * 5000}
        server.notify("notifications/message", said)
    server.text(id, "logged")
