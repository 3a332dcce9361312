"""`<|tool_call|>[{"name": …, "arguments": {…}}]<|/tool_call|>`: Phi-4-mini, which also writes
`functools[…]`.

Source: the model card and the chat template of Phi-4-mini-instruct. That template reads no tools
and no calls of its own, only content; so they become content of the messages it does show.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.objects.marked import MarkedObjects
from lmrun.chat.formats.writing.prompting import prompt_with_tools, to_function, write_calls
from lmrun.chat.messages import Conversation, Tool, ToolCall
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

_MARKUP = MarkedObjects(
    name="phi",
    signs=("<|tool|>", "<|/tool|>", "<|end|>"),
    openings=("<|tool_call|>", "functools"),
    closings=("<|/tool_call|>",),
    reveals_special=True,
)


class Phi:
    """Phi-4-mini."""

    name = _MARKUP.name
    reveals_special = _MARKUP.reveals_special
    has_channels = False

    def matches(self, template: str) -> bool:
        return _MARKUP.matches(template)

    def adapt(self, conversation: Conversation) -> Conversation:
        tools = conversation.tools
        conversation = write_calls(conversation, _write)
        if not tools:
            return conversation
        shown = json.dumps([to_function(tool) for tool in tools], ensure_ascii=False)
        return prompt_with_tools(conversation, f"<|tool|>{shown}<|/tool|>")

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return _MARKUP.make_parser(tools)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return _MARKUP.make_grammar(tools, choice)


def _write(calls: Sequence[ToolCall]) -> str:
    written = ", ".join(
        f'{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments}}}'
        for call in calls
    )
    return f"<|tool_call|>[{written}]<|/tool_call|>"
