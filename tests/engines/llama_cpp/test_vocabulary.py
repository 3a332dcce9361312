"""Text to tokens and back, byte for byte."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.support.engines import Subject


@pytest.mark.parametrize("text", ["a , b .", " 's", "Is n't it ?", "\n ! ", "<|im_start|> ,"])
def test_spaces_before_punctuation_come_back(tiny: Subject, text: str) -> None:
    with closing(tiny.load()) as model:
        tokens = model.tokenize(text, add_special=False, parse_special=True)
        assert model.detokenize(tokens).decode() == text
