"""/v1/embeddings with OpenAI's own client, on a real port and a real embedding model."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.openai.embeddings import MAX_INPUTS
from tests.support.bert import bert_path
from tests.support.http import Port, Reply, listening
from tests.support.instances import describe, make_spec, open_pool, script

TEXTS = ["a small cat", "a little kitten", "the stock market fell"]
LENGTH = 384


@dataclass
class Live:
    port: Port
    client: openai.OpenAI

    def ask(self, **body: Any) -> Reply:
        return self.port.ask("POST", "/v1/embeddings", {"model": "minilm", **body})


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("models")

    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        talker = make_spec(folder, script({"pieces": ["a"]}), identifier="talker")
        minilm = describe(bert_path(), "minilm", model_key="acme/minilm")
        slashed = make_spec(
            folder, script({"pieces": ["a"]}), identifier="other", model_key="acme/other"
        )
        slashed = replace(slashed, identifier="acme/other")
        async with open_pool(talker, minilm, slashed) as pool:
            yield build_app(pool, Door)

    with (
        listening(make_app) as port,
        openai.OpenAI(base_url=f"{port.url}/v1", api_key="any", max_retries=0) as client,
    ):
        yield Live(port, client)


def cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_the_client_gets_vectors_that_tell_texts_apart(live: Live) -> None:
    answer = live.client.embeddings.create(model="minilm", input=TEXTS)
    cat, kitten, market = (each.embedding for each in answer.data)
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert cosine(cat, kitten) == pytest.approx(0.79, abs=0.01)
    assert cosine(cat, market) == pytest.approx(0.12, abs=0.01)
    assert answer.model == "minilm"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 5 + 5 + 6


def test_base64_holds_the_same_numbers(live: Live) -> None:
    numbers = live.ask(input="a small cat").json["data"][0]["embedding"]
    coded = live.ask(input="a small cat", encoding_format="base64").json["data"][0]["embedding"]
    assert isinstance(coded, str)
    assert array("f", base64.b64decode(coded)).tolist() == numbers
    assert len(numbers) == LENGTH


def test_a_text_and_its_token_ids_are_the_same_input(live: Live) -> None:
    tokens = live.port.ask(
        "POST", "/tokenize", {"model": "minilm", "content": "a small cat", "add_special": True}
    ).json["tokens"]
    shapes: list[Any] = ["a small cat", ["a small cat"], tokens, [tokens]]
    vectors = [live.ask(input=shape).json["data"] for shape in shapes]
    assert all(vector == vectors[0] for vector in vectors[1:])


def test_fewer_dimensions_are_of_unit_length_again(live: Live) -> None:
    (short,) = live.client.embeddings.create(model="minilm", input="a", dimensions=10).data
    assert len(short.embedding) == 10
    assert math.hypot(*short.embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ["a", "b", "c", "word " * 600]}, "input[3]"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ""}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [[1], [2, -1]]}, "input[1][1]"),
        ({"input": [1, True]}, "input[1]"),
        ({"input": [1, 2.5]}, "input[1]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": ["a", [1]]}, "input[1]"),
        ({"input": [None]}, "input[0]"),
        ({"input": [[1], [10**9]]}, "input[1]"),
        ({"input": [10**30]}, "input[0]"),
        ({"input": {"a": 1}}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({}, "input"),
        ({"input": "a", "dimensions": LENGTH + 1}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": True}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "user": 5}, "user"),
        ({"input": "a", "ttl": 0}, "ttl"),
        ({"input": "a", "truncate": True}, "truncate"),
        ({"input": "a", "model": "talker"}, "model"),
    ],
)
def test_what_is_wrong_is_named(live: Live, body: dict[str, Any], param: str) -> None:
    reply = live.ask(**body)
    assert reply.status == 400, reply.body
    assert reply.json["error"]["param"] == param
    assert param in reply.json["error"]["message"] or param == "model"


def test_a_model_that_generates_says_what_to_name_instead(live: Live) -> None:
    with pytest.raises(openai.BadRequestError, match="'talker' generates text") as refused:
        live.client.embeddings.create(model="talker", input="a")
    assert "Name an embedding model" in str(refused.value)


def test_an_embedding_model_that_should_chat_says_what_it_is(live: Live) -> None:
    with pytest.raises(openai.BadRequestError, match="makes embeddings"):
        live.client.chat.completions.create(
            model="minilm", messages=[{"role": "user", "content": "hi"}]
        )


def test_an_unknown_model_is_not_found(live: Live) -> None:
    with pytest.raises(openai.NotFoundError):
        live.client.embeddings.create(model="acme/minilm-2", input="a")


def test_a_parameter_without_effect_is_taken(live: Live) -> None:
    plain = live.client.embeddings.create(model="minilm", input="a")
    with_user = live.client.embeddings.create(model="minilm", input="a", user="u-1")
    assert plain.data == with_user.data


def test_too_much_text_is_too_large(live: Live) -> None:
    reply = live.ask(input=["x" * 3 * 2**20] * 3)
    assert reply.status == 413


def test_the_most_inputs_are_embedded_in_order(live: Live) -> None:
    words = ["cat", "market", "river"]
    answer = live.client.embeddings.create(model="minilm", input=[words[n % 3] for n in range(300)])
    assert [each.index for each in answer.data] == list(range(300))
    for index, each in enumerate(answer.data):
        assert cosine(each.embedding, answer.data[index % 3].embedding) > 0.999


def test_models_of_every_kind_are_listed(live: Live) -> None:
    listed = live.client.models.list().data
    assert [model.id for model in listed] == ["acme/other", "minilm", "talker"]
    assert all(model.owned_by == "lmrun" and model.created > 0 for model in listed)
    assert [live.client.models.retrieve(model.id) for model in listed] == listed
