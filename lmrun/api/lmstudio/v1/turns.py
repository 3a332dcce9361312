"""A chat's turns as they are kept: what was said, in a form of our own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lmrun.chat.messages import Message
from lmrun.errors import InvalidParameter
from lmrun.store.conversations import Turn

KIND = "lmstudio"
MAX_BYTES = 64 * 2**20
"""Of all turns of a chat together: more would not fit into a prompt."""


class _Content(msgspec.Struct, frozen=True):
    system_prompt: str | None
    messages: tuple[Message, ...]


class History(msgspec.Struct, frozen=True):
    """What a chat has said so far. `system_prompt`: the last one that was given."""

    system_prompt: str | None = None
    messages: tuple[Message, ...] = ()


def to_content(system_prompt: str | None, messages: Sequence[Message]) -> bytes:
    """One turn: a question and its answer."""
    return msgspec.msgpack.encode(_Content(system_prompt, tuple(messages)))


def to_history(turns: Sequence[Turn], id: str) -> History:
    """The chat that ends with turn `id`. Raises InvalidParameter when it is not there, or not
    whole: its beginning is dropped first when room is needed."""
    if not turns or turns[0].previous is not None:
        raise InvalidParameter(
            f"`previous_response_id`: {id!r} is not stored here"
            + (", or not its whole chat any more." if turns else "."),
            param="previous_response_id",
            hint="Responses with `store: true` are kept for a while; begin a new chat.",
        )
    contents = [msgspec.msgpack.decode(turn.content, type=_Content) for turn in turns]
    prompts = [it.system_prompt for it in contents if it.system_prompt is not None]
    messages = tuple(message for content in contents for message in content.messages)
    return History(prompts[-1] if prompts else None, messages)
