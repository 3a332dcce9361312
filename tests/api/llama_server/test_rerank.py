"""/v1/rerank and its aliases, on a real port and a tiny real reranker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gguf
import pytest
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.llama_server.requests import MAX_DOCUMENTS
from lmrun.api.llama_server.routes import RERANK_PATHS
from tests.support.http import Port, Reply, listening
from tests.support.instances import describe, make_spec, open_pool, script
from tests.support.tiny_bert import make_tiny_bert

QUERY = "a b"
DOCUMENTS = ["kalo", "mine ru", "kalo", "a"]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    folder: Path = tmp_path_factory.mktemp("models")

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        ranker = make_tiny_bert(gguf.PoolingType.RANK).write(folder / "rank.gguf")
        embedder = make_tiny_bert(gguf.PoolingType.MEAN).write(folder / "mean.gguf")
        specs = (
            describe(ranker, "ranker"),
            describe(embedder, "embedder"),
            make_spec(folder, script({"pieces": ["a"]}), identifier="talker"),
        )
        async with open_pool(*specs) as pool:
            yield build_app(pool, Door)

    with listening(make_app) as port:
        yield port


def rerank(port: Port, path: str = "/v1/rerank", **body: Any) -> Reply:
    given = {"model": "ranker", "query": QUERY, "documents": DOCUMENTS}
    return port.ask("POST", path, {**given, **body})


def test_the_best_come_first_and_equal_ones_in_their_order(port: Port) -> None:
    answer = rerank(port).json
    scores = [each["relevance_score"] for each in answer["results"]]
    indexes = [each["index"] for each in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(indexes) == [0, 1, 2, 3]
    assert indexes.index(0) == indexes.index(2) - 1
    assert answer["model"] == "ranker" and answer["object"] == "list"
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 12
    assert all(each.keys() == {"index", "relevance_score"} for each in answer["results"])


def test_only_the_best_are_given_when_asked_for(port: Port) -> None:
    everything = rerank(port).json["results"]
    assert rerank(port, top_n=2).json["results"] == everything[:2]
    assert rerank(port, top_n=99).json["results"] == everything


def test_documents_are_given_back_when_asked_for(port: Port) -> None:
    results = rerank(port, return_documents=True).json["results"]
    assert all(each["document"] == {"text": DOCUMENTS[each["index"]]} for each in results)


def test_documents_may_be_objects(port: Port) -> None:
    objects = [{"text": text} for text in DOCUMENTS]
    assert rerank(port, documents=objects).json == rerank(port).json
    assert rerank(port, documents=[objects[0], *DOCUMENTS[1:]]).json == rerank(port).json


@pytest.mark.parametrize("path", RERANK_PATHS)
def test_every_alias_answers_alike(port: Port, path: str) -> None:
    assert rerank(port, path).json == rerank(port).json


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"query": 5}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": None}, "documents"),
        ({"documents": [{"text": "a", "title": "b"}]}, "documents[0]"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"documents": ["a", {"title": "b"}]}, "documents[1]"),
        ({"documents": ["a", "b " * 80]}, "documents[1]"),
        ({"documents": ["a"] * (MAX_DOCUMENTS + 1)}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"return_documents": "yes"}, "return_documents"),
        ({"texts": ["a"]}, "texts"),
        ({"max_chunks_per_doc": 5}, "max_chunks_per_doc"),
        ({"model": "talker"}, "model"),
        ({"model": "embedder"}, "model"),
    ],
)
def test_what_is_wrong_is_named(port: Port, body: dict[str, Any], param: str) -> None:
    reply = rerank(port, **body)
    assert reply.status == 400, reply.body
    assert reply.json["error"]["param"] == param


def test_a_query_counts_for_each_document_it_is_read_with(port: Port) -> None:
    assert rerank(port, query="x" * 2**20, documents=["a"] * 9).status == 413


def test_an_unknown_model_is_not_found(port: Port) -> None:
    assert rerank(port, model="other").status == 404
