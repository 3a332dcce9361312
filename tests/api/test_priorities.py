"""Whose requests go first: what the key allows, and what a header makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.door import Door, Head, Key, choose_priority
from lmrun.errors import InvalidParameter
from lmrun.runtime.turns import Priority
from lmrun.settings.secret import Secret
from tests.api.conftest import Served

KEY = "k" * 40
MESSAGES = [{"role": "user", "content": "hi"}]
CHAT = {"model": "assistant", "messages": MESSAGES}
RESPONSE = {"model": "assistant", "input": "hi"}


def key(priority: Priority) -> Key:
    return Key("ci", Secret(KEY), frozenset({"inference"}), priority)


def head(*values: str) -> Head:
    return Head("POST", {"x-lmrun-priority": values} if values else {}, ("127.0.0.1", 1))


@pytest.mark.parametrize(
    ("granted", "asked", "found"),
    [
        (None, None, "normal"),
        (None, "high", "high"),
        (None, " LOW ", "low"),
        ("high", None, "high"),
        ("low", None, "low"),
        ("high", "normal", "normal"),
        ("normal", "high", "normal"),
        ("low", "high", "low"),
    ],
)
def test_a_header_lowers_what_the_key_allows(
    granted: Priority | None, asked: str | None, found: Priority
) -> None:
    mine = None if granted is None else key(granted)
    assert choose_priority(mine, head() if asked is None else head(asked)) == found


@pytest.mark.parametrize("values", [("urgent",), ("",), ("high", "low")])
def test_a_header_that_names_no_class_is_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(InvalidParameter, match="high, normal, low") as caught:
        choose_priority(None, head(*values))
    assert caught.value.param == "x-lmrun-priority"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {**CHAT, "stream": True}),
        ("/v1/messages", {**CHAT, "max_tokens": 5}),
        ("/v1/responses", RESPONSE),
        ("/api/v1/chat", RESPONSE),
    ],
)
def test_the_class_reaches_the_pool_from_every_dialect(
    served: Served, path: str, body: dict[str, Any]
) -> None:
    assert served.port.ask("POST", path, body, x_lmrun_priority="low").status == 200
    served.set_door(Door(keys=(key("high"),)))
    assert served.port.ask("POST", path, body, x_api_key=KEY).status == 200
    assert served.pool.priorities == ["low", "high"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {**CHAT, "stream": True}),
        ("/v1/completions", {"model": "assistant", "prompt": "hi"}),
        ("/v1/responses", RESPONSE),
    ],
)
def test_a_request_says_how_long_what_it_loads_may_be_idle(
    served: Served, path: str, body: dict[str, Any]
) -> None:
    assert served.port.ask("POST", path, {**body, "ttl": 300}).status == 200
    assert served.port.ask("POST", path, body).status == 200
    assert served.pool.ttls_s == [300, None]
    for wrong in (0, -1, "5m", 1.5):
        reply = served.port.ask("POST", path, {**body, "ttl": wrong})
        assert (reply.status, reply.json["error"]["param"]) == (400, "ttl")
