"""Text to tokens and back, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmrun.engines.base import LoadedModel
from tests.support.engines import Subject


@pytest.fixture(scope="module")
def vocabulary(tiny: Subject) -> Iterator[LoadedModel]:
    with closing(tiny.load()) as model:
        yield model


@pytest.mark.parametrize("text", ["a , b .", " 's", "Is n't it ?", "\n ! ", "<|im_start|> ,"])
def test_spaces_before_punctuation_come_back(vocabulary: LoadedModel, text: str) -> None:
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=True)
    assert vocabulary.detokenize(tokens).decode() == text


@given(st.text() | st.text(alphabet=" \n\tab<|im_start>", max_size=400))
def test_a_text_has_at_least_as_many_tokens_as_are_counted_at_once(
    vocabulary: LoadedModel, text: str
) -> None:
    tokens = vocabulary.tokenize(text, add_special=False, parse_special=True)
    assert vocabulary.count_at_least(text) <= len(tokens)


def test_a_long_text_is_known_to_be_long(vocabulary: LoadedModel) -> None:
    assert vocabulary.count_at_least("x" * 8_000_000) > 100_000
