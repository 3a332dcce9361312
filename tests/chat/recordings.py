"""Recorded outputs of models, and what they say: `corpus/<format>.yaml`, one file a format.

A file is a list of cases:

- `name`: what is shown, as a sentence.
- `output`: the text as the model wrote it, control tokens revealed.
- `text`, `thought`: what the answer says and thinks; nothing if left out.
- `calls`: its calls in order, each with `name` and `arguments`: a mapping, or a string where the
  text itself counts; `id` where the format has one. `cut: true`: the output is cut off inside of
  it.
- `prompt_end`: how the prompt ended, where that matters. `reasoning`: the opening mark of the
  model's reasoning, where its format does not read that itself.
- `tools`: names from the toolbox; all of them if left out.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmrun.chat import reasoning
from lmrun.chat.answer import Answer, fold
from lmrun.chat.events import ChatEnd, Event, MessageDelta, StopReason, Usage
from lmrun.chat.formats.base import Parser, ToolFormat
from lmrun.chat.formats.channels import find_open_mark
from lmrun.chat.formats.choose import FORMATS
from lmrun.chat.formats.default import Default
from lmrun.chat.splitter import Splitter
from tests.chat.toolbox import TOOLS

CORPUS = Path(__file__).parent / "corpus"
KEYS = {"name", "output", "text", "thought", "calls", "prompt_end", "reasoning", "tools"}


@dataclass(frozen=True, slots=True)
class Recording:
    """One case."""

    format: ToolFormat
    case: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.format.name}: {self.case['name']}"

    @property
    def output(self) -> str:
        output: str = self.case["output"]
        return output

    @property
    def reason(self) -> StopReason:
        """Why it ended."""
        is_cut_off = any(call.get("cut") for call in self.case.get("calls", []))
        return "maxPredictedTokensReached" if is_cut_off else "eosFound"

    def make_parser(self) -> Parser:
        """What a request to this model would be read with."""
        tools = [TOOLS[name] for name in self.case.get("tools", TOOLS)]
        parser = self.format.make_parser(tools)
        if self.format.has_channels:
            parser.push(find_open_mark(self.case.get("prompt_end", "")))
        start = self.case.get("reasoning")
        if start is None:
            return parser
        marks = next(each for each in reasoning.FORMATS if each.start == start)
        is_open = marks.is_open(self.case.get("prompt_end", ""))
        return reasoning.ReasoningParser(marks, parser, is_open=is_open)

    def check(self, answer: Answer) -> None:
        """Whether it says what is recorded."""
        assert answer.text == self.case.get("text", "")
        assert answer.reasoning == self.case.get("thought", "")
        expected = self.case.get("calls", [])
        assert [call.name for call in answer.tool_calls] == [call["name"] for call in expected]
        for call, wanted in zip(answer.tool_calls, expected, strict=True):
            is_text = isinstance(wanted["arguments"], str)
            said = call.arguments if is_text else json.loads(call.arguments)
            assert said == wanted["arguments"]
            assert call.id == wanted.get("id", call.id)
        asks = bool(expected) and self.reason == "eosFound"
        assert answer.end is not None
        assert answer.end.stop_reason == ("toolCalls" if asks else self.reason)


def read(parser: Parser, chunks: Sequence[str], reason: StopReason = "eosFound") -> Answer:
    """The answer that comes in `chunks`."""
    numbers = itertools.count()
    splitter = Splitter(parser, lambda: f"call{next(numbers)}")
    events: list[Event] = [each for chunk in chunks for each in splitter.push(MessageDelta(chunk))]
    return fold([*events, *splitter.finish(ChatEnd(reason, Usage(1, 1)))])


def read_recordings() -> list[Recording]:
    """All cases of all files. Raises ValueError for a file or a key that means nothing."""
    formats = {each.name: each for each in (*FORMATS, Default())}
    recordings = []
    for path in sorted(CORPUS.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text(encoding="utf-8")):
            if path.stem not in formats or not case.keys() <= KEYS:
                raise ValueError(f"{path.name}: no such format, or unknown keys in {case}")
            recordings.append(Recording(formats[path.stem], case))
    return recordings
