"""`<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>…<｜tool▁sep｜>…<｜tool▁call▁end｜><｜tool▁calls▁end｜>`:
DeepSeek R1, V3 and their distillations, with `function`, the name and a JSON fence inside; V3.1
with the name before the separator and the bare object behind it.

Source: the chat templates that these models are published with. Distillations are known to spell
the first marker in other ways. V3.1's template shows no tools; its model card says how they stand
in the system message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, Malformed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.objects import give_object
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.formats.writing.prompting import prompt_with_tools
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.chat.template_source import reads_tools
from lmrun.settings.structured import GrammarOutput

SECTION = "<｜tool▁calls▁begin｜>"
SECTION_END = "<｜tool▁calls▁end｜>"
CALL = "<｜tool▁call▁begin｜>"
SEPARATOR = "<｜tool▁sep｜>"
CALL_END = "<｜tool▁call▁end｜>"

_OTHER_SECTIONS = (
    "<｜tool_calls_begin｜>",
    "<｜tool calls begin｜>",
    "<｜tool\\_calls\\_begin｜>",
    "<｜tool▁calls｜>",
)
_PROMPT = f"""

## Tools
You have access to the following tools:

%s

IMPORTANT: ALWAYS adhere to this exact format for tool use:
{SECTION}{CALL}tool_call_name{SEPARATOR}tool_call_arguments{CALL_END}\
{{{{additional_tool_calls}}}}{SECTION_END}

Where:
- `tool_call_name` must be an exact match to one of the available tools
- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces"""
_MARKERS = {
    "section": SECTION,
    "section_end": SECTION_END,
    "begin": CALL,
    "separator": SEPARATOR,
    "end": CALL_END,
}


@dataclass(frozen=True, slots=True)
class DeepSeek:
    """`is_fenced`: how R1 and V3 write, and what is enforced; what is read is both. `is_prompted`:
    the template shows no tools, the system message does."""

    name: str
    is_fenced: bool
    is_prompted: bool = False
    reveals_special: bool = True
    has_channels: bool = False

    def matches(self, template: str) -> bool:
        return (
            SECTION in template
            and ("```json" in template) == self.is_fenced
            and reads_tools(template) != self.is_prompted
        )

    def adapt(self, conversation: Conversation) -> Conversation:
        if not self.is_prompted or not conversation.tools:
            return conversation
        shown = "\n\n".join(map(_describe, conversation.tools))
        return prompt_with_tools(conversation, _PROMPT % shown)

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        openings = dict.fromkeys((SECTION, *_OTHER_SECTIONS), _read_section)
        return ScriptParser(lambda feed: read_calls(feed, {**openings, CALL: _read_rest}))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [write_choice("call", len(tools)), *write_arguments(tools)]
        for index, tool in enumerate(tools):
            if self.is_fenced:
                name = quote(tool.name + "\n```json\n")
                head = f'"function" separator {name}'
                tail = '"\\n```" end'
            else:
                head, tail = f"{quote(tool.name)} separator", "end"
            rules.append(f"call_{index}: begin {head} arguments_{index} {tail}")
        return make_output(
            rules,
            choice,
            between='"\\n"' if self.is_fenced else '""',
            markers=_MARKERS,
            trigger=SECTION,
            around=("section", "section_end"),
        )


def _describe(tool: Tool) -> str:
    parameters = json.dumps(tool.parameters, ensure_ascii=False)
    return f"### {tool.name}\nDescription: {tool.description or ''}\n\nParameters: {parameters}"


def _read_section(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    yield from feed.expect(CALL)
    yield from _read_rest(feed)


def _read_rest(feed: Feed) -> Steps[None]:
    """Calls, after the first one's marker."""
    marker = CALL
    while marker == CALL:
        yield from _read_call(feed)
        marker = yield from skip_closing(feed, CALL, SECTION_END)


def _read_call(feed: Feed) -> Steps[None]:
    head, _ = yield from feed.until(SEPARATOR)
    yield from feed.skip_space()
    if (yield from feed.peek()) == "{":
        yield from feed.start_call(head)
        yield from give_object(feed)
    elif head.strip() == "function":
        name, _ = yield from feed.until("\n")
        yield from feed.start_call(name)
        yield from feed.skip_space()
        yield from feed.literal("```json", "```")
        yield from feed.skip_space()
        yield from give_object(feed)
    else:
        raise Malformed
    yield from feed.end_call()
    yield from skip_closing(feed, "```")
    yield from skip_closing(feed, CALL_END)
