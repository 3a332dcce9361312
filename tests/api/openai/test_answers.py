"""What events become in OpenAI's notation: log probabilities and usage."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from lmrun.api.openai.answers.bodies import to_usage
from lmrun.api.openai.answers.formats import (
    DONE,
    ChatFormat,
    CompletionFormat,
    Format,
    Stamp,
    Whole,
)
from lmrun.api.openai.answers.logprobs import to_chat_logprobs, to_completion_logprobs
from lmrun.chat.answer import fold
from lmrun.chat.events import ChatEnd, MessageDelta, TokenLogprob, Usage

STAMP = Stamp("id-1", 1, "m", "fp")
TOKENS = (
    TokenLogprob(b"H", None, 0),
    TokenLogprob(b"\xf0\x9f", -0.5, 1, (TokenLogprob(b"\xf0\x9f", -0.5), TokenLogprob(b"x", -3.0))),
    TokenLogprob(b"\x98\x80", -math.inf, 1, (TokenLogprob(b"\x98\x81", -0.1),)),
)
END = ChatEnd("eosFound", Usage(3, 5, 2))


def plain(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def events(data: bytes) -> list[Any]:
    return [
        json.loads(part.removeprefix(b"data: "))
        for part in data.split(b"\n\n")
        if part and part != b"data: [DONE]"
    ]


def test_chat_lists_tokens_with_their_bytes_and_alternatives() -> None:
    logprobs = plain(to_chat_logprobs(TOKENS))
    assert logprobs["refusal"] is None
    assert logprobs["content"] == [
        {
            "token": "�",
            "logprob": -0.5,
            "bytes": [240, 159],
            "top_logprobs": [
                {"token": "�", "logprob": -0.5, "bytes": [240, 159]},
                {"token": "x", "logprob": -3.0, "bytes": [120]},
            ],
        },
        {
            "token": "��",
            "logprob": -9999.0,
            "bytes": [152, 128],
            "top_logprobs": [{"token": "��", "logprob": -0.1, "bytes": [152, 129]}],
        },
    ]


def test_completions_list_tokens_with_their_places_and_the_chosen_one_among_the_likeliest() -> None:
    assert plain(to_completion_logprobs(TOKENS)) == {
        "tokens": ["H", "bytes:\\xf0\\x9f", "bytes:\\x98\\x80"],
        "token_logprobs": [None, -0.5, -9999.0],
        "top_logprobs": [
            None,
            {"bytes:\\xf0\\x9f": -0.5, "x": -3.0},
            {"bytes:\\x98\\x81": -0.1, "bytes:\\x98\\x80": -9999.0},
        ],
        "text_offset": [0, 1, 1],
    }


def test_completions_without_alternatives_have_no_mapping() -> None:
    assert plain(to_completion_logprobs(TOKENS[:1]))["top_logprobs"] is None


def test_no_tokens_are_null() -> None:
    assert to_chat_logprobs(()) is None
    assert to_completion_logprobs(()) is None


def test_usage_counts_a_shared_prompt_once() -> None:
    usage = plain(to_usage([Usage(10, 3, 8), Usage(10, 4, 10)]))
    assert usage == {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "total_tokens": 17,
        "prompt_tokens_details": {"cached_tokens": 8},
    }


def test_usage_counts_every_prompt() -> None:
    usage = plain(to_usage([Usage(10, 3, 8), Usage(10, 4, 10), Usage(7, 1, 2), Usage(7, 1)], 2))
    assert usage == {
        "prompt_tokens": 17,
        "completion_tokens": 9,
        "total_tokens": 26,
        "prompt_tokens_details": {"cached_tokens": 10},
    }


def test_usage_tells_of_speculation_only_where_there_was_some() -> None:
    usage = plain(to_usage([Usage(1, 9, 0, 12, 7), Usage(1, 9)]))
    assert usage["completion_tokens_details"] == {
        "accepted_prediction_tokens": 7,
        "rejected_prediction_tokens": 5,
    }


def test_right_guesses_behind_a_stop_string_are_none_of_the_answer() -> None:
    usage = plain(to_usage([Usage(1, 4, 0, 12, 7), Usage(1, 9, 0, 5, 5)]))
    assert usage["completion_tokens_details"] == {
        "accepted_prediction_tokens": 4 + 5,
        "rejected_prediction_tokens": 8,
    }


FORMATS: list[tuple[type[ChatFormat] | type[CompletionFormat], str]] = [
    (ChatFormat, "chat.completion.chunk"),
    (CompletionFormat, "text_completion"),
]


@pytest.mark.parametrize(("kind", "object_"), FORMATS)
@pytest.mark.parametrize("logprobs", [(), TOKENS], ids=["plain", "logprobs"])
def test_every_chunk_names_its_choice(
    kind: type[ChatFormat] | type[CompletionFormat],
    object_: str,
    logprobs: tuple[TokenLogprob, ...],
) -> None:
    form: Format = kind(STAMP, include_usage=True, choices=3)
    for index in range(3):
        delta = MessageDelta('"\n', logprobs)
        data = form.start(index) + form.delta(index, delta) + form.finish(index, "eosFound")
        for chunk in events(data):
            assert chunk["object"] == object_
            assert [choice["index"] for choice in chunk["choices"]] == [index]
            assert chunk["usage"] is None
            assert chunk["id"] == "id-1"
    last = form.end(to_usage([END.usage] * 3))
    assert last.endswith(DONE)
    (chunk,) = events(last)
    assert chunk["choices"] == []
    assert chunk["usage"]["completion_tokens"] == 15


@pytest.mark.parametrize(("kind", "object_"), FORMATS)
def test_a_stream_without_usage_just_ends(
    kind: type[ChatFormat] | type[CompletionFormat], object_: str
) -> None:
    assert kind(STAMP, include_usage=False, choices=1).end(to_usage([END.usage])) == DONE


@pytest.mark.parametrize(("kind", "object_"), FORMATS)
def test_a_whole_answer_holds_all_choices_in_order(
    kind: type[ChatFormat] | type[CompletionFormat], object_: str
) -> None:
    choices = [Whole(fold([MessageDelta(text, TOKENS), END]), END) for text in ("a", "b")]
    form: Format = kind(STAMP, include_usage=False, choices=2)
    answer = json.loads(form.whole(choices, to_usage([END.usage] * 2)))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert all(choice["logprobs"] for choice in answer["choices"])
    texts = [c.get("text") or c["message"]["content"] for c in answer["choices"]]
    assert texts == ["a", "b"]
