"""What requests become: messages, prompts, prediction configs."""

from __future__ import annotations

from typing import Any

import pytest

from lmrun.api.openai.convert import (
    fold_seed,
    to_prediction,
    to_request,
)
from lmrun.api.openai.requests import ChatRequest, GenerationRequest
from lmrun.api.prompt_limits import MAX_TEXT_BYTES
from lmrun.chat.messages import Message
from lmrun.errors import BodyTooLarge, InvalidParameter, RequestError, UnsupportedParameter
from tests.api.openai.bodies import CHAT, USER, chat, completion, refusal


@pytest.mark.parametrize(
    ("message", "kind", "path"),
    [
        ({"role": "tool", "content": "x"}, InvalidParameter, "messages[0]"),
        ({**USER, "tool_call_id": "1"}, InvalidParameter, "messages[0]"),
        ({**USER, "reasoning_content": "x"}, InvalidParameter, "messages[0]"),
        ({"role": "function", "content": "x"}, UnsupportedParameter, "messages[0].role"),
        ({"role": "wizard", "content": "x"}, InvalidParameter, "messages[0].role"),
        ({"role": ["user"], "content": "x"}, InvalidParameter, "messages[0].role"),
        ({"role": "user"}, InvalidParameter, "messages[0]"),
        ({"role": "user", "content": None}, InvalidParameter, "messages[0]"),
        ({"role": "assistant", "content": None}, InvalidParameter, "messages[0]"),
        ({"role": "user", "content": 1}, InvalidParameter, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, InvalidParameter, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text"}]}, InvalidParameter, "messages[0].content"),
        ({**USER, "name": "Bob"}, InvalidParameter, "messages[0]"),
        ({**USER, "nmae": "Bob"}, InvalidParameter, "messages[0].nmae"),
        ("hi", InvalidParameter, "messages[0]"),
        (
            {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
            InvalidParameter,
            "messages[0].tool_calls",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
            InvalidParameter,
            "messages[0].content",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            UnsupportedParameter,
            "messages[0].content",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {}}]},
            InvalidParameter,
            "messages[0].content",
        ),
    ],
)
def test_a_message_is_refused_with_its_place(
    message: Any, kind: type[RequestError], path: str
) -> None:
    error = refusal(ChatRequest, {**CHAT, "messages": [message]})
    assert isinstance(error, kind)
    assert error.param is not None
    assert error.param.startswith(path)


def test_an_answer_can_be_sent_back_as_openais_client_dumps_it() -> None:
    echoed = {
        "role": "assistant",
        "content": "Hello",
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    request = chat(messages=[USER, echoed, USER])
    assert to_request(request).messages[1] == Message("assistant", "Hello")


def test_roles_and_text_parts_become_messages() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    request = chat(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "system", "content": ""},
            {"role": "user", "content": parts},
        ]
    )
    assert to_request(request).messages == (
        Message("system", "Be brief."),
        Message("system", ""),
        Message("user", "one\ntwo"),
    )


@pytest.mark.parametrize("count", [0, 4097])
def test_the_number_of_messages_is_bounded(count: int) -> None:
    assert refusal(ChatRequest, {**CHAT, "messages": [USER] * count}).param == "messages"
    assert chat(messages=[USER] * 4096)


@pytest.mark.parametrize(
    ("stop", "strings"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), ([], ()), (["x"] * 16, ("x",) * 16)],
)
def test_stop_is_a_string_or_several(stop: Any, strings: tuple[str, ...]) -> None:
    assert to_prediction(chat(stop=stop)).stop_strings == strings


@pytest.mark.parametrize("stop", ["", [""], ["x"] * 17, [1], 1, {}, True, "x" * 1025, [None]])
def test_a_wrong_stop_is_refused(stop: Any) -> None:
    error = refusal(ChatRequest, {**CHAT, "stop": stop})
    assert (error.param or "").startswith("stop")


def test_logit_bias_takes_ids_as_strings() -> None:
    assert to_prediction(chat(logit_bias={"50256": -100, "0": 1.5})).logit_bias == {
        50256: -100,
        0: 1.5,
    }


@pytest.mark.parametrize(
    "bias",
    [
        {"-1": 1},
        {"a": 1},
        {"1.0": 1},
        {" 1": 1},
        {"01": 1},
        {"٣": 1},
        {"4294967296": 1},
        {"2147483648": 1},
        {"1": 101},
        {"1": -100.5},
        {"1": "1"},
        {"1": True},
        {"1": None},
        {str(n): 1 for n in range(1025)},
        {str(n): "x" for n in range(200_000)},
        [],
        [1],
        1,
    ],
    ids=lambda bias: str(bias)[:20],
)
def test_a_wrong_logit_bias_is_refused(bias: Any) -> None:
    error = refusal(ChatRequest, {**CHAT, "logit_bias": bias})
    assert (error.param or "").startswith("logit_bias")
    assert len(str(error)) < 1000


def test_only_what_was_chosen_is_passed_on() -> None:
    chosen = to_prediction(chat(temperature=0, top_k=40, max_completion_tokens=7, seed=3))
    assert chosen.model_fields_set == {"temperature", "top_k", "max_tokens", "seed"}
    assert (chosen.temperature, chosen.max_tokens, chosen.seed) == (0, 7, 3)


def test_both_names_of_max_tokens_must_agree() -> None:
    assert to_prediction(chat(max_tokens=7, max_completion_tokens=7)).max_tokens == 7
    with pytest.raises(InvalidParameter) as caught:
        to_prediction(chat(max_tokens=7, max_completion_tokens=8))
    assert caught.value.param == "max_completion_tokens"


def test_no_limit_can_be_said_as_lm_studio_says_it() -> None:
    assert to_prediction(chat(max_tokens=-1)).max_tokens == -1


@pytest.mark.parametrize(
    "request_",
    [
        chat(max_tokens=0),
        completion(max_tokens=0),
        completion(max_tokens=0, logprobs=1),
        completion(max_tokens=0, echo=False),
    ],
    ids=str,
)
def test_no_tokens_at_all_is_no_answer(request_: GenerationRequest) -> None:
    with pytest.raises(InvalidParameter) as caught:
        to_prediction(request_)
    assert caught.value.param == "max_tokens"


def test_no_tokens_are_enough_to_score_a_prompt() -> None:
    chosen = to_prediction(completion(max_tokens=0, echo=True, logprobs=0))
    assert (chosen.max_tokens, chosen.echo, chosen.logprobs) == (0, True, 0)


def test_log_probabilities_have_two_notations() -> None:
    assert to_prediction(chat(logprobs=True)).logprobs == 0
    assert to_prediction(chat(logprobs=True, top_logprobs=5)).logprobs == 5
    assert to_prediction(completion(logprobs=5)).logprobs == 5
    off = to_prediction(chat(logprobs=False))
    assert off.logprobs is None
    assert "logprobs" in off.model_fields_set
    with pytest.raises(InvalidParameter) as caught:
        to_prediction(chat(top_logprobs=5))
    assert caught.value.param == "top_logprobs"


def test_stream_options_need_a_stream() -> None:
    with pytest.raises(InvalidParameter) as caught:
        to_prediction(chat(stream_options={"include_usage": True}))
    assert caught.value.param == "stream_options"


@pytest.mark.parametrize(
    ("seed", "folded"),
    [(0, 0), (7, 7), (2**32 - 1, 2**32 - 1), (2**32, 1), (2**63 - 1, 0x80000000)],
)
def test_a_seed_is_folded_to_32_bits_always_alike(seed: int, folded: int) -> None:
    assert fold_seed(seed) == folded
    assert to_prediction(chat(seed=seed)).seed == folded


def test_the_text_of_a_prompt_is_bounded() -> None:
    half = "ü" * (MAX_TEXT_BYTES // 4)
    request = chat(messages=[{"role": "user", "content": half}] * 2)
    assert to_request(request)
    with pytest.raises(BodyTooLarge):
        to_request(chat(messages=[{"role": "user", "content": half}] * 3))
