"""`<invoke name="…"><parameter name="…">…</parameter></invoke>` and its like: MiniMax M2, DeepSeek
V3.2 and V4, Seed-OSS and MiniCPM5, which differ in their tags.

Values are plain text; the tool's schema says what JSON they stand for, or the tag itself does.
Source: the chat templates that these models are published with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Feed, ScriptParser, Steps, read_calls
from lmrun.chat.formats.reading.tagged import Tags, read_tagged_call
from lmrun.chat.formats.writing.grammars import make_output, quote, write_choice
from lmrun.chat.formats.writing.written_values import Tags as WrittenTags
from lmrun.chat.formats.writing.written_values import write_parameters
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput


@dataclass(frozen=True, slots=True)
class Invocations:
    """`signs`: texts that a template has, all of them. `section` and `section_end`: the tags
    around all calls, "" for none. `call`, `name_end` and `call_end`: the tags of one call, which
    has the tool's name between the first two. `tags`: those of its arguments, `written` the same
    for grammars."""

    name: str
    signs: tuple[str, ...]
    section: str
    section_end: str
    call: str
    name_end: str
    call_end: str
    tags: Tags
    written: WrittenTags
    reveals_special: bool = False
    has_channels: bool = False

    def matches(self, template: str) -> bool:
        return all(sign in template for sign in self.signs)

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        openings = {self.call: partial(self._read_calls, tools)}
        if self.section:
            openings[self.section] = partial(self._read_section, tools)
        return ScriptParser(lambda feed: read_calls(feed, openings))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        rules = [write_choice("call", len(tools))]
        for index, tool in enumerate(tools):
            parameters = write_parameters(rules, tool, index, self.written)
            head = quote(f"{self.call}{tool.name}{self.name_end}\n")
            rules.append(f"call_{index}: {head} {parameters} {quote(self.call_end)}")
        markers = {"section": self.section, "section_end": self.section_end}
        return make_output(
            rules,
            choice,
            between='"\\n"',
            markers=markers if self.section else {},
            trigger=self.section or self.call,
            around=('section "\\n"', '"\\n" section_end') if self.section else ("", ""),
        )

    def _read_section(self, tools: Sequence[Tool], feed: Feed) -> Steps[None]:
        yield from feed.skip_space()
        yield from feed.expect(self.call)
        yield from self._read_calls(tools, feed)

    def _read_calls(self, tools: Sequence[Tool], feed: Feed) -> Steps[None]:
        """Calls, after what opens the first one's name."""
        found = self.call
        ends = (self.section_end,) if self.section else ()
        while found == self.call:
            name, _ = yield from feed.until(self.name_end)
            yield from read_tagged_call(feed, tools, name, self.tags, (self.call_end,))
            found = yield from skip_closing(feed, self.call, *ends)


MINIMAX_M2 = Invocations(
    "minimax_m2",
    ("<minimax:tool_call>", '<invoke name="'),
    section="<minimax:tool_call>",
    section_end="</minimax:tool_call>",
    call='<invoke name="',
    name_end='">',
    call_end="</invoke>",
    tags=Tags(
        key='<parameter name="',
        key_ends={'">': "by schema"},
        leading=("\n",),
        value_ends=("\n</parameter>", "</parameter>"),
    ),
    written=WrittenTags('<parameter name="%s">', "</parameter>", after="\n"),
)

SEED_OSS = Invocations(
    "seed_oss",
    ("<seed:tool_call>", "<function=", "<parameter="),
    section="<seed:tool_call>",
    section_end="</seed:tool_call>",
    call="<function=",
    name_end=">",
    call_end="</function>",
    tags=Tags(
        key="<parameter=",
        key_ends={">": "by schema"},
        leading=("\n",),
        value_ends=("\n</parameter>", "</parameter>"),
    ),
    written=WrittenTags("<parameter=%s>", "</parameter>", after="\n"),
)

MINICPM5 = Invocations(
    "minicpm5",
    ('<function name="', '<param name="', "<![CDATA["),
    section="",
    section_end="",
    call='<function name="',
    name_end='">',
    call_end="</function>",
    tags=Tags(
        key='<param name="',
        key_ends={'">': "by schema"},
        value_ends=("</param>",),
        quotes={"<![CDATA[": "]]>"},
    ),
    written=WrittenTags('<param name="%s">', "</param>", after="\n"),
)


def _make_dsml(name: str, section: str) -> Invocations:
    """DeepSeek's: a parameter's tag says whether its value is text or JSON."""
    mark = "｜DSML｜"
    return Invocations(
        name,
        (mark, f"dsml_token + '{section}>"),
        section=f"<{mark}{section}>",
        section_end=f"</{mark}{section}>",
        call=f'<{mark}invoke name="',
        name_end='">',
        call_end=f"</{mark}invoke>",
        tags=Tags(
            key=f'<{mark}parameter name="',
            key_ends={'" string="true">': "text", '" string="false">': "json", '">': "by schema"},
            value_ends=(f"</{mark}parameter>",),
        ),
        written=WrittenTags(f'<{mark}parameter name="%s">', f"</{mark}parameter>", after="\n"),
        reveals_special=True,
    )


DEEPSEEK_V3_2 = _make_dsml("deepseek_v3_2", "function_calls")
DEEPSEEK_V4 = _make_dsml("deepseek_v4", "tool_calls")
