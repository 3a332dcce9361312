"""From texts and token ids to inputs of an embedding model; wrong ones are named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gguf
import pytest

from lmrun.engines.base import LoadedModel, ModelInfo
from lmrun.errors import ContextOverflow, InvalidParameter, RequestError
from lmrun.worker.embedding.inputs import make_job
from lmrun.worker.frames import Embed, Score
from tests.support.engines import Subject
from tests.support.tiny_bert import SEPARATOR, START, WORDS, make_tiny_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    path = make_tiny_bert(gguf.PoolingType.RANK).write(tmp_path_factory.mktemp("m") / "rank.gguf")
    with closing(Subject(path).load()) as loaded:
        yield loaded


def test_texts_get_their_special_tokens_and_token_ids_stay(model: LoadedModel) -> None:
    job = make_job(model, Embed(3, ("a", (9, 8)), dimensions=2))
    assert (job.id, job.dimensions, job.scores) == (3, 2, False)
    assert job.inputs[0][0] == START and job.inputs[0][-1] == SEPARATOR
    assert job.inputs[1] == (9, 8)


def test_markup_in_a_text_is_text(model: LoadedModel) -> None:
    (tokens,) = make_job(model, Embed(3, ("[SEP]",))).inputs
    assert tokens.count(SEPARATOR) == 1


def test_each_document_is_paired_with_the_query(model: LoadedModel) -> None:
    job = make_job(model, Score(3, "a", ("b", "c d")))
    assert job.scores
    assert job.inputs == (
        tuple(model.tokenize_pair("a", "b")),
        tuple(model.tokenize_pair("a", "c d")),
    )


@pytest.mark.parametrize(
    ("wanted", "error", "param"),
    [
        (Embed(1, ()), InvalidParameter, "input"),
        (Embed(1, ("a", ())), InvalidParameter, "input[1]"),
        (Embed(1, ("a", "a " * 80)), ContextOverflow, "input[1]"),
        (Embed(1, ((5,) * 65,)), ContextOverflow, "input[0]"),
        (Embed(1, ("a", "b", (5, -1))), InvalidParameter, "input[2]"),
        (Embed(1, ((len(WORDS),),)), InvalidParameter, "input[0]"),
        (Embed(1, ((2**63,),)), InvalidParameter, "input[0]"),
        (Score(1, "a", ()), InvalidParameter, "documents"),
        (Score(1, "a", ("b", "b " * 80)), ContextOverflow, "documents[1]"),
        (Score(1, "a " * 80, ("b",)), ContextOverflow, "documents[0]"),
    ],
)
def test_a_wrong_input_is_named(
    model: LoadedModel, wanted: Any, error: type[RequestError], param: str
) -> None:
    with pytest.raises(error) as refused:
        make_job(model, wanted)
    assert refused.value.param == param and param in refused.value.message


class Endless:
    """A model of which no text may be tokenised."""

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def count_at_least(self, text: str) -> int:
        return len(text)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        raise AssertionError("tokenised")

    def tokenize_pair(self, query: str, document: str) -> list[int]:
        raise AssertionError("tokenised")


@pytest.mark.parametrize(
    ("wanted", "param"),
    [(Embed(1, ((5,), "x" * 99)), "input[1]"), (Score(1, "x" * 40, ("x" * 40,)), "documents[0]")],
)
def test_what_is_far_too_long_is_not_even_tokenised(
    model: LoadedModel, wanted: Any, param: str
) -> None:
    with pytest.raises(ContextOverflow, match="at least") as refused:
        make_job(Endless(model.info), wanted)
    assert refused.value.param == param
