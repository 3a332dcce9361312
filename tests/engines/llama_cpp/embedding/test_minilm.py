"""A real embedding model: what is alike lies close, and batches change nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from lmrun.engines.base import LoadedModel
from lmrun.errors import ContextOverflow, InvalidParameter, SettingRefused, UnsupportedParameter
from tests.support.bert import bert_path
from tests.support.engines import Subject, spec

CAT, KITTEN, MARKET = "a small cat", "a little kitten", "the stock market fell"


@pytest.fixture(scope="module")
def model() -> Iterator[LoadedModel]:
    with closing(Subject(bert_path()).load(eval_batch_size=512)) as loaded:
        yield loaded


def embed(model: LoadedModel, *texts: str) -> list[list[float]]:
    inputs = [model.tokenize(text, add_special=True, parse_special=False) for text in texts]
    return model.embed(inputs)


def cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_what_is_alike_lies_close(model: LoadedModel) -> None:
    cat, kitten, market = embed(model, CAT, KITTEN, MARKET)
    assert cosine(cat, kitten) == pytest.approx(0.79, abs=0.01)
    assert cosine(cat, market) == pytest.approx(0.12, abs=0.01)


def test_vectors_have_unit_length_and_the_promised_size(model: LoadedModel) -> None:
    for vector in embed(model, CAT, MARKET, "", "x" * 300):
        assert len(vector) == model.info.embedding_length == 384
        assert math.hypot(*vector) == pytest.approx(1)


def test_an_input_gets_the_same_vector_alone_and_among_many(model: LoadedModel) -> None:
    texts = [f"{CAT} number {number} " + "and so on " * (number % 9) for number in range(80)]
    together = embed(model, *texts)
    assert len(together) == 80
    for number in (0, 63, 64, 79):
        (alone,) = embed(model, texts[number])
        assert cosine(alone, together[number]) == pytest.approx(1, abs=1e-5)


def test_no_input_is_no_vector(model: LoadedModel) -> None:
    assert model.embed([]) == []


def test_an_input_may_fill_the_context_but_not_more(model: LoadedModel) -> None:
    assert len(model.embed([[2001] * 512])) == 1
    with pytest.raises(ContextOverflow, match="513"):
        model.embed([[2001], [2001] * 513])


@pytest.mark.parametrize("wrong", [[], [-1], [30_522]])
def test_an_impossible_input_is_refused(model: LoadedModel, wrong: list[int]) -> None:
    with pytest.raises(InvalidParameter):
        model.embed([wrong])


def test_a_small_batch_size_still_takes_the_longest_input() -> None:
    with closing(Subject(bert_path()).load(eval_batch_size=8)) as model:
        assert len(model.embed([[2001] * 512, [2002]])) == 2


def test_it_says_what_it_is_and_generates_nothing(model: LoadedModel) -> None:
    assert (model.info.type, model.info.architecture) == ("embedding", "bert")
    assert model.info.context_length == 512
    with pytest.raises(UnsupportedParameter):
        model.add(spec(1))
    model.cancel(1)
    assert (model.step(), model.active, model.waiting) == ([], 0, 0)


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"context_length": 513}, "load.context_length"),
        ({"rope_frequency_base": 10_000.0}, "load.rope_frequency_base"),
        ({"rope_frequency_scale": 0.5}, "load.rope_frequency_scale"),
    ],
)
def test_learned_positions_cannot_be_stretched(settings: dict[str, Any], param: str) -> None:
    with pytest.raises(SettingRefused) as refused:
        Subject(bert_path()).load(**settings)
    assert refused.value.param == param
