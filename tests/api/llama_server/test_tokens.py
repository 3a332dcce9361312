"""/tokenize and /detokenize on a real port, with the vocabulary of a real model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp

from lmrun.api.app import build_app
from lmrun.api.door import Door
from lmrun.api.llama_server.requests import MAX_TOKENS
from lmrun.api.llama_server.tokens import MAX_CONTENT_BYTES, MAX_CONTENT_BYTES_WITH_PIECES
from tests.support.http import Port, Reply, listening
from tests.support.instances import describe, open_pool
from tests.support.smollm2 import smollm2_path

IM_START = 1


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    @asynccontextmanager
    async def make_app() -> AsyncIterator[ASGIApp]:
        spec = describe(smollm2_path(), "smollm2", model_key="acme/smollm2")
        async with open_pool(spec) as pool:
            yield build_app(pool, Door)

    with listening(make_app) as port:
        yield port


def tokenize(port: Port, **body: Any) -> Reply:
    return port.ask("POST", "/tokenize", {"model": "smollm2", **body})


def detokenize(port: Port, **body: Any) -> Reply:
    return port.ask("POST", "/detokenize", {"model": "smollm2", **body})


@pytest.mark.parametrize(
    "text", ["", "Hello world", " two  spaces ", "Grüße 🦙\n\tx", "a" * 10_000]
)
def test_a_text_comes_back_from_its_tokens(port: Port, text: str) -> None:
    reply = tokenize(port, content=text)
    assert reply.status == 200
    assert reply.json.keys() == {"tokens"}
    assert detokenize(port, tokens=reply.json["tokens"]).json == {"content": text}


def test_pieces_are_text_or_the_bytes_of_part_of_a_character(port: Port) -> None:
    content = "Hello 🦙"
    pieces = tokenize(port, content=content, with_pieces=True).json["tokens"]
    assert [each["id"] for each in pieces] == tokenize(port, content=content).json["tokens"]
    shown = [each["piece"] for each in pieces]
    assert shown[0] == "Hello"
    assert any(isinstance(piece, list) for piece in shown)
    joined = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in shown)
    assert joined.decode() == content


def test_markup_is_a_token_unless_it_is_to_be_text(port: Port) -> None:
    assert tokenize(port, content="<|im_start|>").json["tokens"] == [IM_START]
    as_text = tokenize(port, content="<|im_start|>", parse_special=False).json["tokens"]
    assert len(as_text) > 1 and IM_START not in as_text


def test_tokens_of_the_model_itself_are_shown(port: Port) -> None:
    assert detokenize(port, tokens=[IM_START]).json["content"] == "<|im_start|>"
    assert detokenize(port, tokens=[]).json["content"] == ""


def test_part_of_a_character_is_a_replacement_character(port: Port) -> None:
    pieces = tokenize(port, content="🦙", with_pieces=True).json["tokens"]
    assert "\ufffd" in detokenize(port, tokens=[pieces[0]["id"]]).json["content"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "content"),
        ({"content": None}, "content"),
        ({"content": 5}, "content"),
        ({"content": [1, "a"]}, "content"),
        ({"content": "a", "add_special": "yes"}, "add_special"),
        ({"content": "a", "with_pieces": 1}, "with_pieces"),
        ({"content": "a", "prompt": "b"}, "prompt"),
        ({"content": "a", "model": ""}, "model"),
        ({"content": "a", "model": None}, "model"),
    ],
)
def test_what_is_wrong_in_a_text_to_tokenize_is_named(
    port: Port, body: dict[str, Any], param: str
) -> None:
    reply = tokenize(port, **body)
    assert reply.status == 400, reply.body
    assert reply.json["error"]["param"] == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "tokens"),
        ({"tokens": "a"}, "tokens"),
        ({"tokens": [1, "a"]}, "tokens[1]"),
        ({"tokens": [1, -1]}, "tokens[1]"),
        ({"tokens": [True]}, "tokens[0]"),
        ({"tokens": [1.5]}, "tokens[0]"),
        ({"tokens": [2**31]}, "tokens[0]"),
        ({"tokens": [10**9]}, "tokens"),
        ({"tokens": [1] * (MAX_TOKENS + 1)}, "tokens"),
    ],
)
def test_what_is_wrong_in_tokens_is_named(port: Port, body: dict[str, Any], param: str) -> None:
    reply = detokenize(port, **body)
    assert reply.status == 400, reply.body
    assert reply.json["error"]["param"] == param


def test_no_model_is_fallen_back_to(port: Port) -> None:
    for path, body in (("/tokenize", {"content": "a"}), ("/detokenize", {"tokens": [1]})):
        assert port.ask("POST", path, {"model": "other", **body}).status == 404
        missing = port.ask("POST", path, body)
        assert (missing.status, missing.json["error"]["param"]) == (400, "model")


def test_sizes_are_bounded(port: Port) -> None:
    assert tokenize(port, content="a b" * (MAX_CONTENT_BYTES // 3)).status == 200
    assert tokenize(port, content="a" * (MAX_CONTENT_BYTES + 1)).status == 413
    refused = tokenize(port, content="a" * (MAX_CONTENT_BYTES_WITH_PIECES + 1), with_pieces=True)
    assert refused.status == 413 and "with_pieces" in refused.json["error"]["message"]
    assert detokenize(port, tokens=[IM_START] * MAX_TOKENS).status == 200
