"""`<tool_call>name<arg_key>…</arg_key><arg_value>…</arg_value></tool_call>`: GLM 4.5 and later,
Ling 3, Spark 2.5, Laguna; Hunyuan 3 with its own spelling of the tags.

Values are plain text; the tool's schema says what JSON they stand for. Source: the chat templates
that these models are published with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, Malformed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.tagged import Tags, read_tagged_call
from lmrun.chat.formats.writing.grammars import make_output, quote, write_choice
from lmrun.chat.formats.writing.written_values import Tags as WrittenTags
from lmrun.chat.formats.writing.written_values import write_parameters
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

_NAME = re.compile(r"[^<\n{]*")


@dataclass(frozen=True, slots=True)
class Glm:
    """`signs`: texts that a template has, all of them. `suffix`: what each tag's name ends with.
    `separator`: a tag behind the function's name, "" for none; `section`: whether all calls
    together have a tag, too."""

    name: str
    signs: tuple[str, ...]
    suffix: str = ""
    separator: str = ""
    section: bool = False
    reveals_special: bool = False
    has_channels: bool = False

    def matches(self, template: str) -> bool:
        return all(sign in template for sign in self.signs)

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        openings = {self._tag("tool_call"): partial(self._read_calls, tools)}
        if self.section:
            openings[self._tag("tool_calls")] = partial(self._read_section, tools)
        return ScriptParser(lambda feed: read_calls(feed, openings))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        begin = f"{self._tag('arg_key')}%s{self._tag('/arg_key')}\n{self._tag('arg_value')}"
        tags = WrittenTags(begin=begin, end=self._tag("/arg_value"), after="\n")
        rules = ["call: opening function closing", write_choice("function", len(tools))]
        for index, tool in enumerate(tools):
            parameters = write_parameters(rules, tool, index, tags)
            head = quote(f"{tool.name}{self.separator}\n")
            rules.append(f"function_{index}: {head} {parameters}")
        opening, closing = self._tag("tool_call"), self._tag("/tool_call")
        around = (self._tag("tool_calls") + "\n", "\n" + self._tag("/tool_calls"))
        return make_output(
            rules,
            choice,
            between='"\\n"',
            markers={"opening": opening, "closing": closing},
            trigger=self._tag("tool_calls") if self.section else opening,
            around=(quote(around[0]), quote(around[1])) if self.section else ("", ""),
        )

    def _tag(self, name: str) -> str:
        return f"<{name}{self.suffix}>"

    def _read_section(self, tools: Sequence[Tool], feed: Feed) -> Steps[None]:
        yield from feed.skip_space()
        yield from feed.expect(self._tag("tool_call"))
        yield from self._read_calls(tools, feed)

    def _read_calls(self, tools: Sequence[Tool], feed: Feed) -> Steps[None]:
        """Calls, after the first one's tag."""
        opening, tags = self._tag("tool_call"), self._make_tags()
        found = opening
        while found == opening:
            yield from feed.skip_space()
            name = (yield from feed.matching(_NAME)).strip()
            if self.separator:
                yield from feed.literal(self.separator)
            yield from feed.skip_space()
            if not name or (yield from feed.peek()) != "<":
                raise Malformed
            yield from read_tagged_call(feed, tools, name, tags, (self._tag("/tool_call"),))
            found = yield from skip_closing(feed, opening, self._tag("/tool_calls"))

    def _make_tags(self) -> Tags:
        return Tags(
            key=self._tag("arg_key"),
            key_ends={self._tag("/arg_key"): "by schema"},
            value=self._tag("arg_value"),
            value_ends=(self._tag("/arg_value"),),
        )


GLM = Glm("glm", ("<tool_call>", "<arg_key>", "<arg_value>"))
HUNYUAN = Glm(
    "hunyuan",
    ("':opensource'", "'<arg_key{}>'", "'<tool_sep{}>'"),
    suffix=":opensource",
    separator="<tool_sep:opensource>",
    section=True,
)
