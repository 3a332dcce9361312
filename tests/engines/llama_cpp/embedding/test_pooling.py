"""Every pooling type, against the same model in numpy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import gguf
import numpy as np
import pytest

from lmrun.engines.base import LoadedModel
from lmrun.engines.llama_cpp.embedding.pairs import fill
from lmrun.errors import ContextOverflow, InvalidParameter, LoadFailed, UnsupportedParameter
from tests.support.engines import Subject
from tests.support.tiny_bert import CONTEXT, EMBEDDING, SEPARATOR, START, make_tiny_bert

NONE, MEAN, CLS, LAST, RANK = (
    gguf.PoolingType.NONE,
    gguf.PoolingType.MEAN,
    gguf.PoolingType.CLS,
    gguf.PoolingType.LAST,
    gguf.PoolingType.RANK,
)
TEXTS = ["a b c", "kalo mine ru", "z", "o n e t w o t h r e e"]


@contextmanager
def load(path: Path) -> Iterator[LoadedModel]:
    """Without flash attention, which computes in half precision."""
    with closing(Subject(path).load(flash_attention=False)) as model:
        yield model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bert")


@pytest.fixture(scope="module")
def reranker(folder: Path) -> Iterator[LoadedModel]:
    with load(make_tiny_bert(RANK).write(folder / "rank.gguf")) as model:
        yield model


def tokenize(model: LoadedModel, text: str) -> list[int]:
    return model.tokenize(text, add_special=True, parse_special=False)


@pytest.mark.parametrize(("pooling", "name"), [(MEAN, "mean"), (CLS, "cls"), (LAST, "last")])
def test_vectors_are_pooled_as_the_model_declares(
    folder: Path, pooling: gguf.PoolingType, name: str
) -> None:
    reference = make_tiny_bert(pooling)
    with load(reference.write(folder / f"{name}.gguf")) as model:
        assert (model.info.type, model.info.pooling) == ("embedding", name)
        inputs = [tokenize(model, text) for text in TEXTS]
        assert inputs[0][0] == START and inputs[0][-1] == SEPARATOR
        for vector, tokens in zip(model.embed(inputs), inputs, strict=True):
            assert np.allclose(vector, reference.pool(tokens), atol=2e-3)


def test_where_nothing_is_declared_the_mean_is_taken(folder: Path) -> None:
    reference, mean = make_tiny_bert(NONE), make_tiny_bert(MEAN)
    with load(reference.write(folder / "none.gguf")) as model:
        assert model.info.pooling == "mean"
        tokens = tokenize(model, TEXTS[0])
        assert np.allclose(model.embed([tokens])[0], mean.pool(tokens), atol=2e-3)


@pytest.mark.parametrize("dimensions", [1, 7, EMBEDDING])
def test_fewer_dimensions_are_the_first_ones_at_unit_length(folder: Path, dimensions: int) -> None:
    with load(make_tiny_bert(MEAN).write(folder / "short.gguf")) as model:
        tokens = tokenize(model, TEXTS[1])
        (whole,), (short,) = model.embed([tokens]), model.embed([tokens], dimensions)
        assert len(short) == dimensions and math.hypot(*short) == pytest.approx(1)
        length = math.hypot(*whole[:dimensions])
        assert short == pytest.approx([value / length for value in whole[:dimensions]])
        assert model.embed([], dimensions) == []


@pytest.mark.parametrize("dimensions", [-1, 0, EMBEDDING + 1, 2**31])
def test_dimensions_that_are_not_there_are_refused(folder: Path, dimensions: int) -> None:
    with load(make_tiny_bert(MEAN).write(folder / "refused.gguf")) as model:
        with pytest.raises(InvalidParameter, match=str(EMBEDDING)) as refused:
            model.embed([[5]], dimensions)
        assert refused.value.param == "dimensions"


def test_a_reranker_scores_pairs(reranker: LoadedModel) -> None:
    reference = make_tiny_bert(RANK)
    pairs = [reranker.tokenize_pair("a b", document) for document in TEXTS]
    assert reranker.info.pooling == "rank"
    scores = reranker.score(pairs)
    assert scores == pytest.approx([reference.score(pair) for pair in pairs], abs=5e-3)
    assert len({round(score, 2) for score in scores}) > 1
    assert reranker.score(pairs[2:3]) == pytest.approx(scores[2:3], abs=1e-5)
    assert reranker.score([]) == []


def test_a_pair_is_one_text_with_a_separator_after_both(reranker: LoadedModel) -> None:
    query, document = tokenize(reranker, "a b"), tokenize(reranker, "mine")
    assert reranker.tokenize_pair("a b", "mine") == [*query, *document[1:]]
    assert reranker.tokenize_pair("", "") == [START, SEPARATOR, SEPARATOR]


def test_markup_in_a_pair_is_text(reranker: LoadedModel) -> None:
    assert reranker.tokenize_pair("[SEP]", "[CLS]").count(SEPARATOR) == 2


def test_a_template_gets_both_texts_as_they_are() -> None:
    template = "<q>{query}</q><d>{document}</d>"
    assert fill(template, "{document}", "{query}") == "<q>{document}</q><d>{query}</d>"


def test_a_pair_longer_than_the_context_is_refused(reranker: LoadedModel) -> None:
    pair = reranker.tokenize_pair("a", "b " * CONTEXT)
    with pytest.raises(ContextOverflow, match=str(len(pair))):
        reranker.score([pair])


def test_a_reranker_gives_no_embeddings(reranker: LoadedModel) -> None:
    with pytest.raises(UnsupportedParameter, match="reranker"):
        reranker.embed([[5]])


def test_other_models_do_not_score(folder: Path) -> None:
    with load(make_tiny_bert(CLS).write(folder / "no-rank.gguf")) as model:
        with pytest.raises(UnsupportedParameter, match="no reranker"):
            model.score([[5]])
        with pytest.raises(UnsupportedParameter, match="no reranker"):
            model.tokenize_pair("a", "b")


def test_a_reranker_without_its_output_layer_is_refused(folder: Path) -> None:
    path = make_tiny_bert(RANK, has_head=False).write(folder / "headless.gguf")
    with pytest.raises(LoadFailed, match="without a score"):
        Subject(path).load()


def test_a_classifier_of_several_labels_is_no_reranker(folder: Path) -> None:
    path = make_tiny_bert(RANK, labels=3).write(folder / "labels.gguf", labels=3)
    with pytest.raises(LoadFailed, match="3 labels"):
        Subject(path).load()
