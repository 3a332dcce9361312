"""No text that a model may write raises, and how it is cut never matters."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.chat.answer import Answer
from lmrun.chat.formats.base import ToolFormat
from lmrun.chat.formats.choose import FORMATS
from lmrun.chat.formats.default import Default
from lmrun.chat.reasoning import FORMATS as MARKS
from lmrun.chat.reasoning import ReasoningParser
from tests.chat.recordings import read, read_recordings
from tests.chat.toolbox import TOOLS

RECORDINGS = read_recordings()
each_format = pytest.mark.parametrize("format", (*FORMATS, Default()), ids=lambda each: each.name)


def said(format: ToolFormat, chunks: list[str]) -> tuple[str, str, list[tuple[str, str]]]:
    parser = ReasoningParser(MARKS[0], format.make_parser(list(TOOLS.values())), is_open=False)
    answer: Answer = read(parser, chunks)
    calls = [(call.name, call.arguments) for call in answer.tool_calls]
    return answer.text, answer.reasoning, calls


def cut(text: str, chance: random.Random) -> list[str]:
    """`text` in a few pieces."""
    ends = sorted(chance.randrange(len(text) + 1) for _ in range(4))
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


def outputs_of(format: ToolFormat) -> list[str]:
    return [each.output for each in RECORDINGS if each.format.name == format.name] or ["x"]


@each_format
@settings(max_examples=40)
@given(data=st.data())
def test_pieces_of_outputs_in_any_order_are_read_the_same_however_they_are_cut(
    format: ToolFormat, data: st.DataObject
) -> None:
    """Mutations: parts of recorded outputs and arbitrary text, one after the other."""
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    outputs = outputs_of(format)
    text = ""
    for _ in range(chance.randrange(1, 5)):
        output = chance.choice(outputs)
        begin = chance.randrange(len(output) + 1)
        text += output[begin : chance.randrange(begin, len(output) + 1)]
        text += data.draw(st.text(max_size=3))
    whole = said(format, [text])
    assert said(format, cut(text, chance)) == whole
    assert said(format, list(text)) == whole


@each_format
@settings(max_examples=40)
@given(data=st.data())
def test_an_output_with_a_wrong_character_is_read_the_same_however_it_is_cut(
    format: ToolFormat, data: st.DataObject
) -> None:
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    output = chance.choice(outputs_of(format))
    at = chance.randrange(len(output) + 1)
    wrong = data.draw(st.sampled_from(["", "x", '"', "}", "]", "<", ">", " ", "\n", "\\", "é"]))
    text = output[:at] + wrong + output[at + chance.randrange(2) :]
    whole = said(format, [text])
    assert said(format, cut(text, chance)) == whole
    assert said(format, list(text)) == whole


@settings(max_examples=200)
@given(st.text(), st.sampled_from((*FORMATS, Default())), st.randoms())
def test_arbitrary_text_is_read_and_none_of_it_gets_lost_where_it_holds_no_markup(
    text: str, format: ToolFormat, chance: random.Random
) -> None:
    whole = said(format, [text])
    assert said(format, cut(text, chance)) == whole
    if not set("<>[]{}()|`") & set(text) and not format.has_channels:
        assert whole[0].strip() == text.strip()


def test_every_format_has_recordings() -> None:
    recorded = {recording.format.name for recording in RECORDINGS}
    assert {each.name for each in (*FORMATS, Default())} <= recorded
    assert len(RECORDINGS) >= 150


def test_names_of_recordings_are_told_apart() -> None:
    names = [recording.name for recording in RECORDINGS]
    assert len(names) == len(set(names))
