"""From what a worker says to what a client reads: reasoning, text and tool calls apart.

The language of chat decides what is what; here are only the events on their way.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from lmrun.chat.enforcement import explain
from lmrun.chat.events import ChatEnd, Event, MessageDelta, PromptProgress, PromptText, WorkerEvent
from lmrun.chat.formats.base import Parser
from lmrun.chat.messages import Tool
from lmrun.chat.splitter import Splitter
from lmrun.errors import InvalidParameter

_ID_LENGTH = 9
_ID_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


async def read(
    events: AsyncGenerator[WorkerEvent, None], make_parser: Callable[[str], Parser]
) -> AsyncGenerator[Event, None]:
    """The same generation, told apart. `events` begin with a PromptText, from which `make_parser`
    sees what the prompt left open. Closing this iterator closes `events`."""
    splitter: Splitter | None = None
    async with aclosing(events):
        async for event in events:
            if isinstance(event, PromptText):
                splitter = Splitter(make_parser(event.text), make_call_id)
            elif isinstance(event, PromptProgress):
                yield event
            else:
                assert splitter is not None, "a PromptText was asked for"
                for each in _split(splitter, event):
                    yield each


async def explain_refusals(
    events: AsyncGenerator[WorkerEvent, None], tools: Sequence[Tool]
) -> AsyncGenerator[WorkerEvent, None]:
    """The same generation; an engine's refusal of what is enforced for `tools` names the tool."""
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except InvalidParameter as error:
            raise explain(error, tools) from None


async def read_plain(events: AsyncGenerator[WorkerEvent, None]) -> AsyncGenerator[Event, None]:
    """The same generation, where all text is the message."""
    async with aclosing(events):
        async for event in events:
            if not isinstance(event, PromptText):
                yield event


def make_call_id() -> str:
    """Nine letters and digits: some models' templates take no other ids."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))


def _split(splitter: Splitter, event: MessageDelta | ChatEnd) -> list[Event]:
    return splitter.push(event) if isinstance(event, MessageDelta) else splitter.finish(event)
