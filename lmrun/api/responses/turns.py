"""Responses that are kept, as turns of stored conversations. It knows no generation.

A turn holds the response as it was answered, and the input items of its request.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from lmrun.api.errors import ResponseNotFound
from lmrun.api.responses.answers.bodies import ResponseBody
from lmrun.api.responses.requests.items import MAX_ITEMS, Item, Items
from lmrun.errors import BodyTooLarge, InvalidParameter, StoreError
from lmrun.store.conversations import Conversations, Turn

KIND = "responses"

MAX_CONVERSATION_BYTES = 64 * 2**20
"""Twice the usual limit of a body: what is continued may be larger than one request."""

JsonItem = dict[str, Any]

_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "mcp_list_tools": "mcpl",
    "mcp_call": "mcp",
    "mcp_approval_request": "mcpr",
    "mcp_approval_response": "mcpa",
}

_WITH_STATUS = frozenset({"message", "function_call", "function_call_output", "mcp_call"})

_PART_DEFAULTS: dict[str, JsonItem] = {
    "output_text": {"annotations": []},
    "input_image": {"detail": "auto"},
}

_ITEMS: TypeAdapter[tuple[Item, ...]] = TypeAdapter(Items)


class PreviousResponseNotFound(InvalidParameter):
    code = "previous_response_not_found"


class _Kept(msgspec.Struct, frozen=True):
    input: list[JsonItem]
    response: ResponseBody


class _Output(msgspec.Struct, frozen=True):
    output: list[JsonItem]


class _Items(msgspec.Struct, frozen=True):
    """The items of a turn alone."""

    input: list[JsonItem]
    response: _Output


class _Answer(msgspec.Struct, frozen=True):
    """The response of a turn alone, as it was encoded."""

    response: msgspec.Raw


def make_id(prefix: str) -> str:
    """Nobody guesses it: who knows a response's id may read it."""
    return f"{prefix}_{secrets.token_hex(24)}"


def to_turn(response: ResponseBody, items: list[JsonItem]) -> Turn:
    content = msgspec.json.encode(_Kept(items, response))
    return Turn(response.id, response.previous_response_id, content)


def to_kept_items(json: Any) -> list[JsonItem]:
    """A valid `input` as items of OpenAI's type `ResponseItem`: each with an id."""
    if json is None:
        return []
    if isinstance(json, str):
        json = [{"role": "user", "content": json}]
    return [_complete(item) for item in json]


def read_response(conversations: Conversations, id: str) -> bytes:
    """A response, as JSON. Raises ResponseNotFound, StoreError."""
    turn = conversations.read(KIND, id)
    if turn is None:
        raise not_found(id)
    return bytes(msgspec.json.decode(turn.content, type=_Answer).response)


def read_items(conversations: Conversations, id: str) -> list[JsonItem]:
    """All that a response answers, the oldest item first.

    Raises ResponseNotFound, PreviousResponseNotFound, BodyTooLarge, StoreError.
    """
    *earlier, last = _read_chain(conversations, id, not_found(id))
    own = msgspec.json.decode(last.content, type=_Items).input
    return [*_list_items(earlier), *own]


def read_earlier(conversations: Conversations, id: str | None) -> tuple[Item, ...]:
    """What a request that continues the response `id` continues, the oldest item first.

    Raises PreviousResponseNotFound, BodyTooLarge, StoreError.
    """
    if id is None:
        return ()
    missing = PreviousResponseNotFound(
        f"Previous response with id {id!r} not found.",
        param="previous_response_id",
        hint="It was not stored, has been deleted, or is too old.",
    )
    items = _list_items(_read_chain(conversations, id, missing))
    if len(items) > MAX_ITEMS:
        raise BodyTooLarge(
            f"The conversation has {len(items)} items; at most {MAX_ITEMS} are taken."
        )
    try:
        return _ITEMS.validate_python(items)
    except ValidationError:
        raise StoreError(
            f"The conversation of {id!r} was stored by another version of lmrun.",
            hint="Begin a new one.",
        ) from None


def not_found(id: str) -> ResponseNotFound:
    return ResponseNotFound(
        f"Response with id {id[:256]!r} not found.",
        hint="It was not stored, has been deleted, or is too old.",
    )


def _read_chain(
    conversations: Conversations, id: str, missing: ResponseNotFound | PreviousResponseNotFound
) -> list[Turn]:
    size_bytes = conversations.measure(KIND, id)
    if size_bytes > MAX_CONVERSATION_BYTES:
        raise BodyTooLarge(
            f"The conversation has {size_bytes} bytes; at most {MAX_CONVERSATION_BYTES} are taken."
        )
    turns = conversations.read_chain(KIND, id)
    if not turns:
        raise missing
    if (lost := turns[0].previous) is not None:
        raise PreviousResponseNotFound(
            f"The response {lost!r}, with which the conversation goes on, has been deleted.",
            param="previous_response_id",
            hint="Send the conversation as `input` instead.",
        )
    return turns


def _list_items(turns: Sequence[Turn]) -> list[JsonItem]:
    kept = [msgspec.json.decode(turn.content, type=_Items) for turn in turns]
    return [item for turn in kept for item in (*turn.input, *turn.response.output)]


def _complete(item: JsonItem) -> JsonItem:
    """What clients may leave out, and OpenAI's type has."""
    whole: JsonItem = {"type": "message", **_drop_nulls(item)}
    whole.setdefault("id", make_id(_PREFIXES[whole["type"]]))
    if whole["type"] == "reasoning":
        return {"summary": [], **whole}
    if whole["type"] in _WITH_STATUS:
        whole.setdefault("status", "completed")
    if whole["type"] == "message":
        whole["content"] = _complete_content(whole["content"], whole["role"])
    return whole


def _complete_content(content: Any, role: str) -> list[JsonItem]:
    if isinstance(content, str):
        kind = "output_text" if role == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    return [{**_PART_DEFAULTS.get(part["type"], {}), **_drop_nulls(part)} for part in content]


def _drop_nulls(value: JsonItem) -> JsonItem:
    return {name: item for name, item in value.items() if item is not None}
