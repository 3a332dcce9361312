"""`<|START_ACTION|>[{"tool_call_id": "0", "tool_name": …, "parameters": {…}}]<|END_ACTION|>`:
Command R7B, Command A and later; the first Command R models write `Action:` and a JSON fence.

Source: the chat templates of c4ai-command-r-plus, c4ai-command-r7b-12-2024 and their successors.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.objects.marked import write_call_objects
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps
from lmrun.chat.formats.reading.objects import Members, read_call_objects
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

ACTION = "<|START_ACTION|>"
ACTION_END = "<|END_ACTION|>"
THINKING = "<|START_THINKING|>"
THINKING_END = "<|END_THINKING|>"
RESPONSE = ("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>")
FENCED_ACTION = "Action:"

_MEMBERS = Members(name=("tool_name", "name"), arguments=("parameters", "arguments"), id=())
"""The models' own ids are numbers that begin anew with each answer, and templates number calls by
themselves; so they are no ids for clients."""


class CommandR:
    """Models with control tokens for thinking, response and action."""

    name = "command_r"
    reveals_special = True
    has_channels = True

    def matches(self, template: str) -> bool:
        return ACTION in template and "tool_name" in template

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return make_output(
            _write_numbered_calls(tools),
            choice,
            between='",\\n    "',
            markers={"opening": ACTION, "closing": ACTION_END},
            trigger=ACTION,
            around=('opening "[\\n    "', '"\\n]" closing'),
        )


class FencedCommandR:
    """Command R and R+ of 2024."""

    name = "command_r_fenced"
    reveals_special = False
    has_channels = False

    def matches(self, template: str) -> bool:
        return all(each in template for each in (FENCED_ACTION, "```json", "tool_name")) and (
            ACTION not in template
        )

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(_read_fenced)

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        return make_output(
            write_call_objects(tools, _MEMBERS),
            choice,
            between='",\\n"',
            markers={},
            trigger=f"{FENCED_ACTION}\n```json",
            around=(quote(f"{FENCED_ACTION}\n```json\n[\n"), quote("\n]```")),
        )


def _write_numbered_calls(tools: Sequence[Tool]) -> list[str]:
    """Rules for `call`, with the number that these models give each call as its id."""
    rules = [write_choice("call", len(tools)), *write_arguments(tools), "NUMBER: /[0-9]{1,2}/"]
    for index, tool in enumerate(tools):
        middle = quote(f'", "tool_name": {quote(tool.name)}, "parameters": ')
        rules.append(
            f'call_{index}: "{{\\"tool_call_id\\": \\"" NUMBER {middle} arguments_{index} "}}"'
        )
    return rules


def _read(feed: Feed) -> Steps[None]:
    while opening := (yield from feed.say_until(ACTION, THINKING, *RESPONSE)):
        if opening == ACTION:
            yield from feed.attempt(_read_action)
        elif opening == THINKING:
            yield from feed.think_until(THINKING_END)


def _read_action(feed: Feed) -> Steps[None]:
    yield from read_call_objects(feed, _MEMBERS)
    yield from skip_closing(feed, ACTION_END)


def _read_fenced(feed: Feed) -> Steps[None]:
    while (yield from feed.say_until(FENCED_ACTION)):
        yield from feed.attempt(_read_fence)


def _read_fence(feed: Feed) -> Steps[None]:
    yield from feed.skip_space()
    yield from feed.expect("```json", "```")
    yield from read_call_objects(feed, _MEMBERS)
    yield from skip_closing(feed, "```")
