"""Questions to a vocabulary and a template: exact answers, none too long for a frame."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lmrun.chat.events import PromptText
from lmrun.chat.messages import Conversation, Message, RawPrompt, TokenPrompt
from lmrun.errors import InvalidParameter, TemplateFailed
from lmrun.worker.frames import (
    MAX_FRAME_BYTES,
    Detokenize,
    Detokenized,
    Generate,
    Render,
    Rendered,
    Tokenize,
    Tokenized,
    encode,
)
from lmrun.worker.prompts import PromptMaker
from lmrun.worker.questions import MAX_ANSWER_BYTES, MAX_ANSWER_TOKENS, answer
from tests.support.engines import Subject
from tests.support.instances import make_spec, script

HELLO = Conversation((Message(role="user", content="hi"),))


@pytest.fixture
def scripted(tmp_path: Path) -> Any:
    spec = make_spec(tmp_path, script({"pieces": ["a"]}))
    with closing(Subject(spec.path).load()) as model:
        yield model


def test_a_text_has_its_tokens_and_what_each_says(scripted: Any) -> None:
    prompts = PromptMaker(scripted, None)
    plain = Tokenize(7, "aü", add_special=False, parse_special=True)
    assert answer(scripted, prompts, plain) == Tokenized(7, (97, 195, 188))
    shown = Tokenize(8, "aüa", add_special=False, parse_special=True, with_pieces=True)
    assert answer(scripted, prompts, shown) == Tokenized(
        8, (97, 195, 188, 97), (b"a", b"\xc3", b"\xbc", b"a")
    )


def test_tokens_have_their_text(scripted: Any) -> None:
    prompts = PromptMaker(scripted, None)
    assert answer(scripted, prompts, Detokenize(7, (97, 195))) == Detokenized(7, b"a\xc3")
    with pytest.raises(InvalidParameter) as refused:
        answer(scripted, prompts, Detokenize(7, (97, 10**6)))
    assert refused.value.param == "tokens"


def test_a_prompt_that_its_asker_has_is_only_counted(scripted: Any) -> None:
    prompts = PromptMaker(scripted, None)
    assert answer(scripted, prompts, Render(7, RawPrompt("abc"))) == Rendered(7, "", 3)
    assert answer(scripted, prompts, Render(7, TokenPrompt((97, 98)))) == Rendered(7, "", 2)
    with pytest.raises(InvalidParameter) as refused:
        answer(scripted, prompts, Render(7, TokenPrompt((97, -1))))
    assert refused.value.param == "prompt"


def test_without_a_template_there_is_no_prompt_of_a_conversation(scripted: Any) -> None:
    with pytest.raises(TemplateFailed, match="no chat template"):
        answer(scripted, PromptMaker(scripted, None), Render(7, HELLO))


def test_token_ids_are_reported_as_text_where_the_prompt_is_wanted(scripted: Any) -> None:
    prompts = PromptMaker(scripted, None)
    asked = Generate(7, TokenPrompt(tuple(b"abc")), {}, reports_prompt="all")
    spec, text = prompts.make_spec(asked)
    assert spec.prompt == tuple(b"abc")
    assert text == PromptText("abc", is_whole=True)
    assert prompts.make_spec(Generate(7, TokenPrompt(tuple(b"abc")), {}))[1] is None


def test_an_empty_prompt_of_token_ids_is_refused(scripted: Any) -> None:
    with pytest.raises(InvalidParameter, match="empty"):
        PromptMaker(scripted, None).make_spec(Generate(7, TokenPrompt(()), {}))


class Wordy:
    """A vocabulary in which every token says a lot."""

    def __init__(self, tokens: int, piece_bytes: int) -> None:
        self._tokens = tokens
        self._piece = b"x" * piece_bytes

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [2**30] * self._tokens

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        return self._piece * len(tokens)


ASKED = Tokenize(1, "text", add_special=True, parse_special=True, with_pieces=True)


@pytest.mark.parametrize(
    ("model", "question", "param"),
    [
        (Wordy(MAX_ANSWER_TOKENS + 1, 1), ASKED, "content"),
        (Wordy(1000, MAX_ANSWER_BYTES // 1000 + 1), ASKED, "content"),
        (Wordy(1, MAX_ANSWER_BYTES // 1000 + 1), Detokenize(1, (5,) * 1000), "tokens"),
    ],
)
def test_an_answer_too_long_for_a_frame_is_refused(
    scripted: Any, model: Wordy, question: Any, param: str
) -> None:
    with pytest.raises(InvalidParameter, match="at most") as refused:
        answer(model, PromptMaker(scripted, None), question)
    assert refused.value.param == param


def test_the_longest_answers_fit_into_a_frame(scripted: Any) -> None:
    prompts = PromptMaker(scripted, None)
    longest = Wordy(MAX_ANSWER_TOKENS, 1)
    assert len(encode(answer(longest, prompts, ASKED))) < MAX_FRAME_BYTES
    wordiest = Wordy(1, MAX_ANSWER_BYTES)
    assert len(encode(answer(wordiest, prompts, Detokenize(1, (5,))))) < MAX_FRAME_BYTES
