"""A model of a running server, asked through its chat endpoint: messages in, events out.

It knows no tool beyond its name and schema.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lmrun.chat.events import (
    ChatEnd,
    Event,
    MessageDelta,
    ReasoningDelta,
    StopReason,
    ToolCallArguments,
    ToolCallStart,
    Usage,
)
from lmrun.chat.messages import Message, Tool
from lmrun.chat.request import Request
from lmrun.client.http import Server
from lmrun.errors import LmrunError, ServerUnreachable, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig

_STOP_REASONS: Mapping[str, StopReason] = {
    "stop": "eosFound",
    "length": "maxPredictedTokensReached",
    "tool_calls": "toolCalls",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Cached = msgspec.field(default_factory=_Cached)


class _Chunk(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class HttpModel:
    """The model called `name`, an agent too."""

    server: Server
    name: str

    async def __call__(
        self, request: Request, prediction: PredictionConfig
    ) -> AsyncGenerator[Event, None]:
        """The events of one generation. Closing the generator cancels it. Raises Refused and
        ServerUnreachable."""
        body = make_body(self.name, request, prediction)
        reading = Reading()
        async with aclosing(self.server.post("/v1/chat/completions", body)) as chunks:
            async for data in chunks:
                for event in reading.take(_decode(data)):
                    yield event
        yield reading.finish()


@dataclass(slots=True)
class Reading:
    """The chunks of one answer, read. Grows by `take`."""

    _reason: StopReason | None = None
    _usage: Usage = field(default_factory=lambda: Usage(0, 0))

    def take(self, chunk: _Chunk) -> Iterator[Event]:
        """What the next chunk says."""
        if chunk.usage is not None:
            usage = chunk.usage
            self._usage = Usage(
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.prompt_tokens_details.cached_tokens,
            )
        for choice in chunk.choices:
            if choice.finish_reason is not None:
                self._reason = _STOP_REASONS.get(choice.finish_reason, "eosFound")
            yield from _read_delta(choice.delta)

    def finish(self) -> ChatEnd:
        """The end. Raises ServerUnreachable when the answer has none."""
        if self._reason is None:
            raise ServerUnreachable("The connection ended in the middle of the answer.")
        return ChatEnd(self._reason, self._usage)


def make_body(model: str, request: Request, prediction: PredictionConfig) -> dict[str, Any]:
    """The body of POST /v1/chat/completions. Raises UnsupportedParameter for images."""
    settings: dict[str, Any] = prediction.model_dump(mode="json", exclude_unset=True)
    if "stop_strings" in settings:
        settings["stop"] = settings.pop("stop_strings")
    body = {
        "model": model,
        "messages": [_show_message(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **settings,
    }
    if request.tools:
        body["tools"] = [_show_tool(tool) for tool in request.tools]
    return body


def _show_message(message: Message) -> dict[str, Any]:
    if not isinstance(message.content, str):
        raise UnsupportedParameter("Messages of `lmrun.act` are text.", param="messages")
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        shown["reasoning_content"] = message.reasoning
    if message.tool_calls:
        shown["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    return shown


def _show_tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters,
    }
    return {"type": "function", "function": function}


def _read_delta(delta: _Delta) -> Iterator[Event]:
    if delta.reasoning_content:
        yield ReasoningDelta(delta.reasoning_content)
    if delta.content:
        yield MessageDelta(delta.content)
    for call in delta.tool_calls or ():
        if call.id is not None and call.function.name is not None:
            yield ToolCallStart(call.index, call.id, call.function.name)
        if call.function.arguments:
            yield ToolCallArguments(call.index, call.function.arguments)


def _decode(data: bytes) -> _Chunk:
    try:
        return msgspec.json.decode(data, type=_Chunk)
    except msgspec.MsgspecError as error:
        raise LmrunError(f"The server's answer is not one of a chat: {error}.") from error
