"""Every parameter is honoured or refused by name."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsStreaming as ChatParams,
)
from openai.types.completion_create_params import CompletionCreateParamsStreaming

from lmrun.api.openai.convert import (
    to_prediction,
)
from lmrun.api.openai.requests import (
    MAX_MESSAGES,
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
)
from lmrun.api.validate import validate_request
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import MAX_LOGIT_BIAS, PredictionConfig
from tests.api.openai.bodies import CHAT, KINDS, chat, refusal


def test_every_parameter_of_openais_chat_is_known() -> None:
    assert set(typing.get_type_hints(ChatParams)) <= set(ChatRequest.model_fields)


def test_every_parameter_of_openais_completions_is_known() -> None:
    known = set(CompletionRequest.model_fields)
    assert set(typing.get_type_hints(CompletionCreateParamsStreaming)) <= known


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ChatRequest, "functions", [{"name": "f"}]),
        (ChatRequest, "function_call", {"name": "f"}),
        (ChatRequest, "modalities", ["text", "audio"]),
        (ChatRequest, "audio", {"voice": "alloy"}),
        (ChatRequest, "prediction", {"type": "content", "content": "x"}),
        (ChatRequest, "verbosity", "low"),
        (ChatRequest, "store", True),
        (ChatRequest, "metadata", {"a": "b"}),
        (ChatRequest, "moderation", {}),
        (ChatRequest, "service_tier", "flex"),
        (ChatRequest, "prompt_cache_retention", "24h"),
        (ChatRequest, "prompt_cache_options", {"ttl": "30m"}),
        (ChatRequest, "web_search_options", {}),
        (ChatRequest, "chat_template", "{{ x }}"),
        (ChatRequest, "stream_options", {"include_obfuscation": True}),
        (CompletionRequest, "suffix", "x"),
    ],
)
def test_what_is_known_but_not_supported_is_refused_by_name(
    kind: type[GenerationRequest], name: str, value: Any
) -> None:
    error = refusal(kind, {**dict(KINDS)[kind], name: value, "stream": True})
    assert isinstance(error, UnsupportedParameter)
    assert error.param is not None
    assert error.param.startswith(name)
    assert "supported" in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 1),
        ("top_logprobs", 0),
        ("tools", []),
        ("tool_choice", "auto"),
        ("tool_choice", "none"),
        ("parallel_tool_calls", True),
        ("parallel_tool_calls", False),
        ("functions", []),
        ("function_call", "auto"),
        ("response_format", {"type": "text"}),
        ("modalities", ["text"]),
        ("verbosity", "medium"),
        ("store", False),
        ("metadata", {}),
        ("service_tier", "auto"),
        ("service_tier", "default"),
        ("ttl", 60),
        ("user", "u-1"),
        ("safety_identifier", "u-1"),
        ("prompt_cache_key", "k"),
        ("prompt_cache_retention", "in_memory"),
    ],
)
def test_a_value_that_changes_nothing_is_taken(name: str, value: Any) -> None:
    assert to_prediction(chat(**{name: value})) == PredictionConfig()


OPTIONAL = [
    (kind, base, name)
    for kind, base in KINDS
    for name, field in kind.model_fields.items()
    if not field.is_required()
]


@pytest.mark.parametrize(("kind", "base", "name"), OPTIONAL)
def test_null_means_left_out(
    kind: type[GenerationRequest], base: dict[str, Any], name: str
) -> None:
    request = validate_request(kind, {**base, name: None})
    assert to_prediction(request).model_fields_set == set()


@pytest.mark.parametrize(("kind", "base"), KINDS)
def test_what_is_required_must_be_there(
    kind: type[GenerationRequest], base: dict[str, Any]
) -> None:
    for name in base:
        for json in ({k: v for k, v in base.items() if k != name}, {**base, name: None}):
            error = refusal(kind, json)
            assert error.param == name
            assert f"`{name}` is required" in str(error)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "`temperature`"),
        ("repetition_penalty", "`repeat_penalty`"),
        ("max_token", "`max_tokens`"),
        ("topk", "`top_k`"),
    ],
)
def test_a_misspelt_parameter_is_refused_with_the_right_spelling(name: str, hint: str) -> None:
    error = refusal(ChatRequest, {**CHAT, name: 1})
    assert error.param == name
    assert f"did you mean {hint}?" in str(error)


def test_unknown_parameters_are_all_named() -> None:
    error = refusal(ChatRequest, {**CHAT, "qqq": None, "zzz": {}})
    assert "`qqq`, `zzz`" in str(error)


def test_a_flood_of_unknown_parameters_is_answered_shortly() -> None:
    error = refusal(ChatRequest, {**CHAT, **{f"{'x' * 1000}{n}": 1 for n in range(10_000)}})
    assert len(str(error)) < 1000
    assert "and 9995 more" in str(error)


@pytest.mark.parametrize("json", [None, [], "x", 1, True])
def test_a_body_must_be_an_object(json: Any) -> None:
    assert isinstance(refusal(ChatRequest, json), InvalidParameter)


def test_an_error_speaks_of_json_not_of_python() -> None:
    messages = [
        str(refusal(ChatRequest, {**CHAT, name: value}))
        for name, value in [("stop", ["x"] * 17), ("messages", "x"), ("seed", True), ("stop", {})]
    ]
    assert not [text for text in messages if "tuple" in text.lower() or "True" in text]
    assert "got true" in messages[2]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "logit_bias",
            {"a": 5},
            '`logit_bias`: the key "a" is no token id; ids are whole numbers from 0, such as "42".',
        ),
        (
            "logit_bias",
            {str(n): 1 for n in range(MAX_LOGIT_BIAS + 1)},
            f"`logit_bias`: it holds {MAX_LOGIT_BIAS + 1} tokens; at most {MAX_LOGIT_BIAS} are"
            " taken.",
        ),
        ("logit_bias", [], "`logit_bias`: input should be a valid object, got an array."),
        ("messages", [], "`messages`: it is empty; it must hold at least one message."),
        (
            "messages",
            [{}] * (MAX_MESSAGES + 1),
            f"`messages`: it holds {MAX_MESSAGES + 1} messages; at most {MAX_MESSAGES} are taken.",
        ),
        (
            "messages",
            [{"role": "user", "content": ["x"]}],
            '`messages[0].content`: part 0 is not of the form {"type": "text", "text": "…"}.',
        ),
        ("stop", ["x"] * 17, "`stop`: array should have at most 16 items, not 17."),
    ],
)
def test_an_error_says_what_was_wrong_and_what_would_be_right(
    name: str, value: Any, says: str
) -> None:
    assert str(refusal(ChatRequest, {**CHAT, name: value})) == says
