"""Stored responses: read, listed, deleted, never cancelled."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.responses import ResponseItem
from pydantic import TypeAdapter

from tests.api.responses.conftest import Live, Told, check

_ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)


def list_items(live: Live | Told, id: str, **query: Any) -> list[Any]:
    """All of them, page by page, with which OpenAI's type finds nothing wrong."""
    pages = live.client.responses.input_items.list(id, **query)
    return [_ITEM.validate_python(item.to_dict()) for item in pages]


def show(items: list[Any]) -> list[str]:
    return [f"{item.role}: {item.content[0].text}" for item in items]


def test_a_response_is_read_as_it_was_answered(live: Live) -> None:
    answer = live.ask("hi", metadata={"a": "b"}, instructions="Be brief")
    kept = check(live.client.responses.retrieve(answer.id))
    assert kept.to_dict() == answer.to_dict()
    included = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    assert live.client.responses.retrieve(answer.id, include=included).id == answer.id  # type: ignore[arg-type]


def test_all_that_a_response_answers_is_listed_newest_first(live: Live) -> None:
    first = live.ask("I am Ada")
    second = live.ask([{"role": "user", "content": "who?"}], previous_response_id=first.id)
    oldest_first = ["user: I am Ada", "assistant: Hello there!", "user: who?"]
    assert show(list_items(live, second.id, order="asc")) == oldest_first
    assert show(list_items(live, second.id)) == oldest_first[::-1]
    assert show(list_items(live, second.id, order="asc", limit=1)) == oldest_first
    assert show(list_items(live, first.id)) == oldest_first[:1]


def test_a_page_says_where_it_begins_and_ends(live: Live) -> None:
    first = live.ask([{"role": "user", "content": str(number)} for number in range(3)])
    page = live.client.responses.input_items.list(first.id, order="asc", limit=2)
    assert [item.id for item in page.data] == [page.first_id, page.last_id]  # type: ignore[attr-defined]
    assert page.has_more
    rest = live.client.responses.input_items.list(
        first.id, order="asc", limit=2, after=page.data[-1].id or ""
    )
    assert (show(list(rest.data)), rest.has_more) == (["user: 2"], False)


def test_items_of_every_kind_are_listed(told: Told) -> None:
    given: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "1?"}]},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}", "id": None},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "message", "role": "developer", "content": "Be brief.", "id": "msg_mine"},
    ]
    answer = told.ask(given)
    items = list_items(told, answer.id, order="asc")
    assert [item.type for item in items] == [each.get("type", "message") for each in given]
    assert len({item.id for item in items}) == 6
    assert items[5].id == "msg_mine"


def test_a_deleted_response_is_gone(live: Live) -> None:
    first = live.ask("I am Ada")
    second = live.ask("who?", previous_response_id=first.id)
    reply = live.port.ask("DELETE", f"/v1/responses/{first.id}")
    assert reply.json == {"id": first.id, "object": "response", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        live.client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        live.client.responses.delete(first.id)
    assert live.client.responses.retrieve(second.id).output_text == "Ada"
    with pytest.raises(openai.BadRequestError, match="has been deleted") as caught:
        live.ask("And?", previous_response_id=second.id)
    assert caught.value.code == "previous_response_not_found"
    live.client.responses.delete(second.id)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/input_items"),
        ("POST", "/cancel"),
    ],
)
@pytest.mark.parametrize("id", ["resp_nobody", "%00", "x" * 2000, "'; DROP TABLE turns; --"])
def test_an_unknown_response_is_not_found(live: Live, method: str, path: str, id: str) -> None:
    reply = live.port.ask(method, f"/v1/responses/{id.replace(' ', '%20')}{path}")
    assert (reply.status, reply.code) == (404, "response_not_found")


def test_a_response_cannot_be_cancelled(live: Live) -> None:
    answer = live.ask("hi")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        live.client.responses.cancel(answer.id)


@pytest.mark.parametrize(
    ("path", "param", "code"),
    [
        ("?stream=true", "stream", "unsupported_parameter"),
        ("?include_obfuscation=true", "include_obfuscation", "unsupported_parameter"),
        ("?starting_after=3", "starting_after", "invalid_parameter"),
        ("?include[]=file_search_call.results", "include", "invalid_parameter"),
        ("?include=x", "include", "invalid_parameter"),
        ("?other=x", "other", "invalid_parameter"),
        ("?stream=false&stream=true", "stream", "invalid_parameter"),
        ("/input_items?limit=0", "limit", "invalid_parameter"),
        ("/input_items?limit=101", "limit", "invalid_parameter"),
        ("/input_items?limit=1e3", "limit", "invalid_parameter"),
        ("/input_items?limit=%C2%B2", "limit", "invalid_parameter"),
        ("/input_items?order=up", "order", "invalid_parameter"),
        ("/input_items?after=nobody", "after", "invalid_parameter"),
        ("/input_items?include[]=reasoning.encrypted_content&include[]=x", "include", None),
    ],
)
def test_a_wrong_question_is_refused_by_name(
    live: Live, path: str, param: str, code: str | None
) -> None:
    answer = live.ask("hi")
    reply = live.port.ask("GET", f"/v1/responses/{answer.id}{path}")
    assert (reply.status, reply.code) == (400, code or "invalid_parameter")
    assert reply.json["error"]["param"] == param


def test_what_is_asked_for_in_vain_is_no_error(live: Live) -> None:
    answer = live.ask("hi")
    query = "?stream=false&include[]=message.input_image.image_url&include[]="
    assert live.port.ask("GET", f"/v1/responses/{answer.id}{query}").status == 200
