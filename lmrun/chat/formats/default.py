"""LM Studio's default format, for models whose template knows no tools or an unknown format.

The system prompt says how to call, `tool` messages come from the user, earlier calls are text.
Source: LM Studio's documentation of tool use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import read_call_objects
from lmrun.chat.formats.writing.grammars import enforce_objects
from lmrun.chat.messages import Conversation, ImagePart, Message, TextPart, Tool, ToolCall
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

OPENING = "[TOOL_REQUEST]"
CLOSING = "[END_TOOL_REQUEST]"

_PROMPT = """\
You are a tool-calling AI. You can request calls to available tools with this EXACT format:
[TOOL_REQUEST]{"name": "tool_name", "arguments": {"param1": "value1"}}[END_TOOL_REQUEST]

AVAILABLE TOOLS:
%s

RULES:
- Only use tools from AVAILABLE TOOLS
- Include all required arguments
- Use one [TOOL_REQUEST] block per tool
- Never use [TOOL_RESULT]
- If you decide to call one or more tools, there should be no other text in your message

Examples:
"Check Paris weather"
[TOOL_REQUEST]{"name": "get_weather", "arguments": {"location": "Paris"}}[END_TOOL_REQUEST]

"Send email to John about meeting and open browser"
[TOOL_REQUEST]{"name": "send_email", "arguments": {"to": "John", "subject": "meeting"}}\
[END_TOOL_REQUEST]
[TOOL_REQUEST]{"name": "open_browser", "arguments": {}}[END_TOOL_REQUEST]

Respond conversationally if no matching tools exist."""


@dataclass(frozen=True, slots=True)
class Default:
    """`takes_system`: the template knows a system message; else its text goes before the user's."""

    takes_system: bool = True

    name = "default"
    reveals_special = False
    has_channels = False

    def matches(self, template: str) -> bool:
        return True

    def adapt(self, conversation: Conversation) -> Conversation:
        """Without tools in the result: only its text speaks of them."""
        messages = [message for each in conversation.messages for message in _rewrite(each)]
        if conversation.tools:
            messages = _add_system(messages, write_prompt(conversation.tools))
        if not self.takes_system:
            messages = _fold_system(messages)
        return msgspec.structs.replace(
            conversation, messages=tuple(_merge_users(messages)), tools=()
        )

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return enforce_objects(
            tools,
            choice,
            call="opening object closing",
            between='"\\n"',
            markers={"opening": OPENING, "closing": CLOSING},
            trigger=OPENING,
        )


def write_prompt(tools: Sequence[Tool]) -> str:
    """What the model is told about `tools`, to the letter of LM Studio's documentation."""
    functions = [msgspec.to_builtins(tool) for tool in tools]
    for function in functions:
        if function["description"] is None:
            del function["description"]
    shown = {"type": "toolArray", "tools": [{"type": "function", "function": f} for f in functions]}
    return _PROMPT % json.dumps(shown, indent=2, ensure_ascii=False)


def _read(feed: Feed) -> Steps[None]:
    yield from read_calls(feed, {OPENING: _read_block})


def _read_block(feed: Feed) -> Steps[None]:
    yield from read_call_objects(feed)
    yield from skip_closing(feed, CLOSING)


def _rewrite(message: Message) -> list[Message]:
    if message.role == "tool":
        content = _join("[TOOL_RESULT]", message.content, "[END_TOOL_RESULT]")
        return [Message(role="user", content=content)]
    if message.tool_calls:
        calls = "\n".join(_write_call(call) for call in message.tool_calls)
        content = _join("", message.content, f"\n{calls}") if message.content else calls
        return [msgspec.structs.replace(message, content=content, tool_calls=())]
    return [message]


def _write_call(call: ToolCall) -> str:
    name, arguments = json.dumps(call.name), call.arguments or "{}"
    return f'{OPENING}{{"name": {name}, "arguments": {arguments}}}{CLOSING}'


def _add_system(messages: list[Message], prompt: str) -> list[Message]:
    if messages and messages[0].role == "system":
        first = messages[0]
        content = _join("", first.content, f"\n\n{prompt}")
        return [msgspec.structs.replace(first, content=content), *messages[1:]]
    return [Message(role="system", content=prompt), *messages]


def _fold_system(messages: list[Message]) -> list[Message]:
    """A first system message becomes the beginning of what the user says."""
    if not messages or messages[0].role != "system":
        return messages
    return [msgspec.structs.replace(messages[0], role="user"), *messages[1:]]


def _merge_users(messages: list[Message]) -> list[Message]:
    """What was said to the model in turn is said at once: many templates insist on alternation."""
    merged: list[Message] = []
    for message in messages:
        if merged and message.role == "user" and merged[-1].role == "user":
            content = _concatenate(merged[-1].content, message.content)
            merged[-1] = msgspec.structs.replace(merged[-1], content=content)
        else:
            merged.append(message)
    return merged


_Content = str | tuple[TextPart | ImagePart, ...]


def _join(before: str, content: _Content, after: str) -> _Content:
    """`content` with text around it: inside the first and last part where those are text."""
    if isinstance(content, str):
        return f"{before}{content}{after}"
    parts = list(content)
    if before and isinstance(parts[0], TextPart):
        parts[0] = TextPart(before + parts[0].text)
    elif before:
        parts.insert(0, TextPart(before))
    if isinstance(parts[-1], TextPart):
        parts[-1] = TextPart(parts[-1].text + after)
    else:
        parts.append(TextPart(after))
    return tuple(parts)


def _concatenate(first: _Content, second: _Content) -> _Content:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return (*_to_parts(first), *_to_parts(second))


def _to_parts(content: _Content) -> tuple[TextPart | ImagePart, ...]:
    return (TextPart(content),) if isinstance(content, str) else content
