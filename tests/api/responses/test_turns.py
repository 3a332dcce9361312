"""What is read back from the store: within limits, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from lmrun.api.responses import turns
from lmrun.api.responses.requests.items import MAX_ITEMS
from lmrun.api.responses.turns import (
    KIND,
    PreviousResponseNotFound,
    read_earlier,
    read_items,
    to_kept_items,
)
from lmrun.errors import BodyTooLarge, StoreError
from lmrun.store.conversations import Conversations, Turn


@pytest.fixture
def conversations() -> Iterator[Conversations]:
    opened = Conversations()
    yield opened
    opened.close()


def keep(
    conversations: Conversations, id: str, items: list[Any], previous: str | None = None
) -> None:
    content = {"input": items, "response": {"id": id, "output": []}}
    conversations.add(KIND, Turn(id, previous, msgspec.json.encode(content)))


def test_nothing_is_continued_unless_something_is_named(conversations: Conversations) -> None:
    assert read_earlier(conversations, None) == ()


def test_a_conversation_that_has_grown_too_large_is_refused(
    conversations: Conversations, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(conversations, "a", to_kept_items("x" * 600))
    keep(conversations, "b", to_kept_items("x" * 600), "a")
    monkeypatch.setattr(turns, "MAX_CONVERSATION_BYTES", 1200)
    assert len(read_earlier(conversations, "a")) == 1
    with pytest.raises(BodyTooLarge, match=r"has 1\d\d\d bytes; at most 1200 are taken"):
        read_earlier(conversations, "b")
    with pytest.raises(BodyTooLarge):
        read_items(conversations, "b")


def test_a_conversation_of_too_many_items_is_refused(conversations: Conversations) -> None:
    items = to_kept_items([{"role": "user", "content": ""}] * (MAX_ITEMS // 2 + 1))
    keep(conversations, "a", items)
    keep(conversations, "b", items, "a")
    assert len(read_earlier(conversations, "a")) == MAX_ITEMS // 2 + 1
    with pytest.raises(BodyTooLarge, match=f"has {MAX_ITEMS + 2} items"):
        read_earlier(conversations, "b")


def test_what_an_lmrun_of_tomorrow_stored_is_named(conversations: Conversations) -> None:
    keep(conversations, "a", [{"type": "telepathy", "id": "tp_1"}])
    with pytest.raises(StoreError, match="another version of lmrun"):
        read_earlier(conversations, "a")


def test_a_conversation_of_another_dialect_is_none(conversations: Conversations) -> None:
    conversations.add("chats", Turn("a", None, b"{}"))
    with pytest.raises(PreviousResponseNotFound):
        read_earlier(conversations, "a")
