"""Requests to the client, and results of every kind."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.support.mcp_fake.server import Json, behaviour, poked, server, show


@poked
def asks_for_what_it_may_not(id: Any, params: Json) -> None:
    message = {"role": "user", "content": {"type": "text", "text": "Hello?"}}
    asked = {"messages": [message], "maxTokens": 10}
    server.request("s1", "sampling/createMessage", asked, lambda it: server.text(id, str(it)))


@poked
def unknown_requests(id: Any, params: Json) -> None:
    server.request("u1", "no/such/method", {}, lambda it: server.text(id, str(it["error"]["code"])))


@poked
def asks_a_model(id: Any, params: Json) -> None:
    message = {"role": "user", "content": {"type": "text", "text": "Hello?"}}
    asked = {"messages": [message], "maxTokens": 10, **params.get("arguments", {})}
    server.request("s1", "sampling/createMessage", asked, lambda it: server.text(id, show(it)))


@poked
def asks_a_model_and_ends(id: Any, params: Json) -> None:
    message = {"role": "user", "content": {"type": "text", "text": "Hello?"}}
    asked = {"messages": [message], "maxTokens": 10}
    server.request("s1", "sampling/createMessage", asked, lambda it: os._exit(1))


@poked
def asks_somebody(id: Any, params: Json) -> None:
    asked = {
        "message": "Which\u200b size?",
        "requestedSchema": {
            "type": "object",
            "properties": {"size": {"type": "integer"}},
            "required": ["size"],
        },
        **params.get("arguments", {}),
    }
    server.request("e1", "elicitation/create", asked, lambda it: server.text(id, show(it)))


def _want_opened(id: Any, arguments: Json) -> None:
    pages = [
        {"mode": "url", "message": "Log in", "url": url, "elicitationId": url}
        for url in arguments.get("urls", ["https://example.com/login"])
    ]
    wanted = {"code": -32042, "message": "a login is needed", "data": {"elicitations": pages}}
    server.error(id, wanted)


@behaviour
def wants_a_page_opened_first() -> None:
    """Of the first call."""

    def first(id: Any, params: Json) -> None:
        server.on_poke = lambda id, params: server.text(id, "logged in")
        _want_opened(id, params.get("arguments", {}))

    server.on_poke = first


@poked
def wants_a_page_opened_each_time(id: Any, params: Json) -> None:
    _want_opened(id, params.get("arguments", {}))


@poked
def asks_for_roots(id: Any, params: Json) -> None:
    """And again when they change."""

    def ask(then: Callable[[Json], None]) -> None:
        server.request("r1", "roots/list", {}, then)

    def again() -> None:
        ask(lambda it: server.notify("notifications/message", {"level": "info", "data": it}))

    server.methods["notifications/roots/list_changed"] = lambda id, params: again()
    ask(lambda it: server.text(id, show(it)))


@poked
def pictures_and_sounds(id: Any, params: Json) -> None:
    content = [
        {"type": "text", "text": "Look:\x1b[2J\x07"},
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
        {"type": "audio", "data": "AAAAAAAA", "mimeType": "audio/wav"},
        {"type": "resource_link", "uri": "file:///a.txt", "name": "a"},
        {"type": "resource", "resource": {"uri": "file:///b.txt", "text": "the text of b"}},
        {"type": "resource", "resource": {"uri": "file:///c.bin", "blob": "AAAA"}},
    ]
    server.result(id, {"content": content})


@poked
def structured_only(id: Any, params: Json) -> None:
    server.result(id, {"content": [], "structuredContent": {"temperature": 21}})


@poked
def tool_error(id: Any, params: Json) -> None:
    content = [{"type": "text", "text": "that went wrong"}]
    server.result(id, {"content": content, "isError": True})
