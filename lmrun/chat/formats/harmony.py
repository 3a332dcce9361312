"""`<|channel|>commentary to=functions.name <|constrain|>json<|message|>{…}<|call|>`: gpt-oss and
other models that speak harmony, in which every message has a channel.

`analysis` is reasoning, `final` is the answer, and `commentary` is a call where it has a recipient,
else text before calls. Source: OpenAI's description of harmony, and the chat template of gpt-oss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmrun.chat.formats.base import Parser
from lmrun.chat.formats.reading.closing import skip_closing
from lmrun.chat.formats.reading.feed import Ended, Feed, Malformed, ScriptParser, Steps
from lmrun.chat.formats.reading.objects import give_object
from lmrun.chat.formats.reading.speech import BETWEEN
from lmrun.chat.formats.writing.grammars import make_output, quote, write_arguments, write_choice
from lmrun.chat.messages import Conversation, Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.structured import GrammarOutput

START = "<|start|>"
CHANNEL = "<|channel|>"
CONSTRAIN = "<|constrain|>"
MESSAGE = "<|message|>"
ANALYSIS = "analysis"
ENDS = ("<|end|>", "<|call|>", "<|return|>")

_FUNCTIONS = "functions."
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w+)")
_MARKERS = {
    "start_message": START,
    "channel": CHANNEL,
    "constrain": CONSTRAIN,
    "message": MESSAGE,
}


class Harmony:
    """The prompt ends with `<|start|>assistant`: an answer begins inside of a header."""

    name = "harmony"
    reveals_special = True
    has_channels = True

    def matches(self, template: str) -> bool:
        return all(each in template for each in (START, CHANNEL, MESSAGE, "analysis"))

    def adapt(self, conversation: Conversation) -> Conversation:
        return conversation

    def make_parser(self, tools: Sequence[Tool]) -> Parser:
        return ScriptParser(lambda feed: _Answer().read(feed))

    def make_grammar(self, tools: Sequence[Tool], choice: ToolChoice) -> GrammarOutput | None:
        """One call: behind it the model's turn ends. Behind reasoning a message begins anew."""
        rules = [
            write_choice("function", len(tools)),
            'kind: " " constrain "json" message | channel "commentary " constrain "json" message'
            ' | channel "commentary json" message',
            *write_arguments(tools),
        ]
        begin = 'channel "commentary to=functions."'
        if choice.mode == "auto":
            rules.append(f"call: {begin} function")
        else:
            again = f'start_message "assistant" ({begin} | " to=functions.")'
            rules.append(f"call: ({begin} | {again}) function")
        for index, tool in enumerate(tools):
            rules.append(f"function_{index}: {quote(tool.name)} kind arguments_{index}")
        return make_output(
            rules,
            choice,
            between=None,
            markers=_MARKERS,
            trigger=f"{CHANNEL}commentary to={_FUNCTIONS}",
        )


class _Answer:
    """`channel`: of the message that is read; "" outside of messages, where text is text."""

    def __init__(self) -> None:
        self._channel = ""

    def read(self, feed: Feed) -> Steps[None]:
        """Messages one after another."""
        yield from feed.attempt(self._read_first)
        while True:
            if self._channel == ANALYSIS:
                marker = yield from feed.think_until(*ENDS, START)
            elif self._channel:
                marker = yield from feed.say_until(*ENDS, START)
            else:
                marker = yield from feed.say_until(*ENDS, START, CHANNEL)
            if not marker:
                return
            self._channel = ""
            if marker in (START, CHANNEL):
                yield from feed.attempt(self._read_header)

    def _read_first(self, feed: Feed) -> Steps[None]:
        if (yield from feed.literal(CHANNEL, START, " to=", "to=")):
            yield from self._read_header(feed)

    def _read_header(self, feed: Feed) -> Steps[None]:
        """A message's header, and all of it where it is a call."""
        header = feed.raw + (yield from _read_rest(feed))
        recipient = _RECIPIENT.search(header)
        if recipient is not None:
            yield from _read_call(feed, recipient[1])
            return
        channel = _CHANNEL_NAME.search(header)
        self._channel = channel[1] if channel else "final"
        if self._channel != ANALYSIS:
            feed.separate(BETWEEN)


def _read_rest(feed: Feed) -> Steps[str]:
    """The rest of a header. Where the answer ends in it, nothing of it is text."""
    try:
        header, _ = yield from feed.until(MESSAGE)
    except Ended:
        feed.take(len(feed.text))
        feed.settle()
        raise
    return header


def _read_call(feed: Feed, recipient: str) -> Steps[None]:
    yield from feed.skip_space()
    if (yield from feed.peek()) != "{":
        raise Malformed
    yield from feed.start_call(recipient.removeprefix(_FUNCTIONS))
    yield from give_object(feed)
    yield from feed.end_call()
    yield from skip_closing(feed, *ENDS)
