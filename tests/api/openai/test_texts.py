"""Prompts and inputs: texts or token ids, one or several."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmrun.api.openai.texts import MAX_TOKEN_ID, Texts, parse_texts
from lmrun.errors import InvalidParameter

LIMIT = 4


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", ("a",)),
        ("", ("",)),
        (["a"], ("a",)),
        (["a", ""], ("a", "")),
        ([1, 2], ((1, 2),)),
        ([0, MAX_TOKEN_ID], ((0, MAX_TOKEN_ID),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
        ([1] * (LIMIT + 1), ((1,) * (LIMIT + 1),)),
    ],
)
def test_all_four_shapes_are_taken(value: Any, texts: Texts) -> None:
    assert parse_texts(value, "prompt", LIMIT) == texts


@pytest.mark.parametrize(
    ("value", "param", "says"),
    [
        (None, "prompt", "must be a string, an array"),
        (5, "prompt", "must be a string, an array"),
        ({}, "prompt", "must be a string, an array"),
        ([], "prompt", "it is empty"),
        (["a"] * (LIMIT + 1), "prompt", "it holds 5 texts; at most 4 are taken"),
        ([[1]] * (LIMIT + 1), "prompt", "it holds 5 texts; at most 4 are taken"),
        (["a", 1], "prompt[1]", "must be a string, as the first one is"),
        ([[1], "a"], "prompt[1]", "must be an array of token ids, as the first one is"),
        ([None], "prompt[0]", "must be a string or an array of token ids"),
        ([True], "prompt[0]", "must be a string or an array of token ids"),
        ([1.5], "prompt[0]", "must be a string or an array of token ids"),
        ([1, None], "prompt[1]", "must be a token id"),
        ([1, True], "prompt[1]", "must be a token id"),
        ([1, MAX_TOKEN_ID + 1], "prompt[1]", "must be a token id"),
        ([[1], []], "prompt[1]", "it holds no token"),
        ([[1], [2, -1]], "prompt[1][1]", "must be a token id"),
    ],
)
def test_what_is_wrong_is_named(value: Any, param: str, says: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_texts(value, "prompt", LIMIT)
    assert refused.value.param == param
    assert f"`{param}`: {says}" in refused.value.message


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner)
)


@given(JSON)
@settings(max_examples=300)
def test_any_json_is_texts_or_is_refused_by_name(value: Any) -> None:
    try:
        texts = parse_texts(value, "prompt", LIMIT)
    except InvalidParameter as error:
        assert error.param is not None and error.param.startswith("prompt")
        return
    for text in texts:
        assert isinstance(text, str) or all(type(token) is int for token in text)
