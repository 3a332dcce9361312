"""Reasoning is told from the message, and nothing of its marks is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.chat.answer import Answer
from lmrun.chat.formats.plain import PlainParser
from lmrun.chat.reasoning import (
    FORMATS,
    InlineThoughts,
    ReasoningFormat,
    ReasoningParser,
    choose_reasoning,
)
from tests.chat.recordings import read
from tests.support.published_templates import published_templates

THINK = FORMATS[0]


def answer(*chunks: str, is_open: bool = False) -> Answer:
    return read(ReasoningParser(THINK, PlainParser(), is_open=is_open), chunks)


@pytest.mark.parametrize(
    ("text", "thought", "message"),
    [
        ("<think>\nHm.\n</think>\n\nFour.", "Hm.", "Four."),
        ("<think>Hm.</think>Four.", "Hm.", "Four."),
        ("\n <think>\n\n  Hm.\n\n  So. \n</think>\nFour.\n", "Hm.\n\n  So.", "Four.\n"),
        ("<think>\n\n</think>\n\nFour.", "", "Four."),
        ("<think>1 < 2 </ think> </thin</think>4", "1 < 2 </ think> </thin", "4"),
        ("<think>One.</think> <think>Two.</think>Three.", "One.Two.", "Three."),
        ("<think>Never", "Never", ""),
        ("<think>Never</thi", "Never</thi", ""),
        ("<think>Only.</think>\n\n", "Only.", ""),
        ("<thi", "", "<thi"),
        ("<thing>", "", "<thing>"),
        ("\n\nFour.", "", "\n\nFour."),
        ("Say <think>x</think>.", "", "Say <think>x</think>."),
        ("</think>Four.", "", "</think>Four."),
    ],
)
def test_an_answer_may_begin_with_reasoning(text: str, thought: str, message: str) -> None:
    whole = answer(text)
    assert (whole.reasoning, whole.text) == (thought, message)


@pytest.mark.parametrize(
    ("text", "thought", "message"),
    [
        ("\nHm.\n</think>\n\nFour.", "Hm.", "Four."),
        ("</think>Four.", "", "Four."),
        ("Never", "Never", ""),
        ("Once.</think><think>Again.</think>Four.", "Once.Again.", "Four."),
    ],
)
def test_or_inside_of_it_where_the_prompt_opened_it(text: str, thought: str, message: str) -> None:
    whole = answer(text, is_open=True)
    assert (whole.reasoning, whole.text) == (thought, message)


MARKED = st.lists(
    st.sampled_from(["<think>", "</think>", "<th", "ink>", "</", ">", "a", " ", "\n", "é"]),
    max_size=12,
)


@given(MARKED, st.booleans(), st.data())
def test_however_an_answer_is_split_it_says_the_same(
    parts: list[str], is_open: bool, data: st.DataObject
) -> None:
    text = "".join(parts)
    whole = answer(text, is_open=is_open)
    at = data.draw(st.integers(0, len(text)))
    for chunks in ([text[:at], text[at:]], list(text)):
        split = answer(*chunks, is_open=is_open)
        assert (split.reasoning, split.text) == (whole.reasoning, whole.text)
    assert len(whole.reasoning + whole.text) <= len(text)


@pytest.mark.parametrize(
    ("prompt", "is_open"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|Assistant|><think>", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<|im_start|>user\nWhat is <think>?<|im_end|>\n<|im_start|>assistant\n", False),
        ("", False),
    ],
)
def test_a_prompt_opens_reasoning_where_it_ends_with_the_mark(prompt: str, is_open: bool) -> None:
    assert THINK.is_open(prompt) == is_open


@pytest.mark.parametrize(
    ("template", "start"),
    [
        ("Qwen-Qwen3-0.6B", "<think>"),
        ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "<think>"),
        ("LFM2.5-Instruct", "<think>"),
        ("mistralai-Ministral-3-14B-Reasoning-2512", "[THINK]"),
        ("ByteDance-Seed-OSS", "<seed:think>"),
        ("Qwen-Qwen2.5-7B-Instruct", None),
        ("meta-llama-Llama-3.2-3B-Instruct", None),
    ],
)
def test_the_marks_are_those_that_the_template_speaks_of(template: str, start: str | None) -> None:
    found = choose_reasoning(published_templates()[template])
    assert (found.start if found else None) == start


def test_other_marks_work_the_same() -> None:
    marks = ReasoningFormat("<<", ">>")
    whole = read(ReasoningParser(marks, PlainParser(), is_open=False), list("<<Hm>>Four"))
    assert (whole.reasoning, whole.text) == ("Hm", "Four")


def test_what_a_format_takes_for_reasoning_can_stay_in_the_message() -> None:
    inner = ReasoningParser(THINK, PlainParser(), is_open=False)
    whole = read(InlineThoughts(inner), ["<think>Hm.", "</think>Four."])
    assert (whole.reasoning, whole.text) == ("", "Hm.Four.")
