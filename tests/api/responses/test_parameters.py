"""Every parameter is honoured or refused by name."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from lmrun.api.responses.convert import to_prediction, to_request
from lmrun.api.responses.requests.bodies import InputTokensRequest, ResponseRequest
from lmrun.api.validate import validate_request
from lmrun.errors import InvalidParameter, RequestError, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import JsonOutput

BODY: dict[str, Any] = {"model": "m", "input": "hi"}
TOOL = {"type": "function", "name": "f"}
LOGPROBS = "message.output_text.logprobs"
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
EMPTY_FILE = {"type": "input_file", "file_data": "data:text/plain;base64,"}
NO_TEXT = {"type": "input_file", "file_data": "data:text/plain;base64,/w=="}
FAR_IMAGE = {"type": "input_image", "image_url": "https://x"}
OPTIONAL = [name for name, field in ResponseRequest.model_fields.items() if not field.is_required()]


def user(part: dict[str, Any]) -> list[Any]:
    return [{"role": "user", "content": [part]}]


def parse(**parameters: Any) -> ResponseRequest:
    return validate_request(ResponseRequest, {**BODY, **parameters})


def refusal(**parameters: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        request = parse(**parameters)
        to_prediction(request)
        to_request(request, ())
    return caught.value


def test_every_parameter_of_the_reference_is_known() -> None:
    assert set(typing.get_type_hints(ResponseCreateParamsStreaming)) <= set(
        ResponseRequest.model_fields
    )
    assert set(typing.get_type_hints(InputTokenCountParams)) <= set(InputTokensRequest.model_fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("background", True),
        ("background_options", {"completion_window": "soonest"}),
        ("conversation", "conv_1"),
        ("context_management", [{"type": "compaction"}]),
        ("access_programs", {"cyber": "standard"}),
        ("image", {"context_compression": "enabled"}),
        ("moderation", {"model": "m"}),
        ("prompt", {"id": "p"}),
        ("prompt_cache_options", {"mode": "explicit"}),
        ("prompt_cache_retention", "24h"),
        ("service_tier", "flex"),
        ("stream_options", {"include_obfuscation": True}),
        ("text", {"verbosity": "low"}),
        ("text", {"format": {"type": "grammar"}}),
        ("reasoning", {"summary": "detailed"}),
        ("reasoning", {"generate_summary": "concise"}),
        ("reasoning", {"context": "all_turns"}),
        ("reasoning", {"mode": "pro"}),
        ("tools", [{"type": "web_search"}]),
        ("tools", [{"type": "mcp", "server_label": "x", "connector_id": "connector_gmail"}]),
        ("tools", [{**TOOL, "defer_loading": True}]),
        ("tools", [{**TOOL, "async": True}]),
        ("tools", [{**TOOL, "allowed_callers": ["programmatic"]}]),
        ("tools", [{**TOOL, "output_schema": {}}]),
        ("tool_choice", {"type": "web_search_preview"}),
        (
            "tool_choice",
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "file_search"}]},
        ),
        ("input", [{"type": "item_reference", "id": "msg_1"}]),
        ("input", [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]),
        ("input", user({"type": "input_audio"})),
        ("input", user({**EMPTY_FILE, "file_id": "f"})),
        ("input", [{**CALL, "namespace": "n"}]),
    ],
)
def test_what_is_known_but_not_supported_is_refused_by_name(name: str, value: Any) -> None:
    error = refusal(**{name: value, "stream": True})
    assert isinstance(error, UnsupportedParameter)
    assert error.param is not None
    assert error.param.startswith(name)
    assert "supported" in str(error)


@pytest.mark.parametrize(
    ("name", "value", "param"),
    [
        ("temperature", 101, "temperature"),
        ("top_p", "1", "top_p"),
        ("max_output_tokens", 0, "max_output_tokens"),
        ("top_logprobs", 21, "top_logprobs"),
        ("include", ["web_search_call.results"], "include[0]"),
        ("metadata", {"k": "v" * 513}, "metadata.k"),
        ("user", "u" * 513, "user"),
        ("safety_identifier", "u" * 513, "safety_identifier"),
        ("prompt_cache_key", "k" * 513, "prompt_cache_key"),
        ("metadata", {str(n): "" for n in range(17)}, "metadata"),
        ("truncation", "middle", "truncation"),
        ("stream_options", {}, "stream_options"),
        ("previous_response_id", "", "previous_response_id"),
        ("text", {"format": {}}, "text.format"),
        ("text", {"format": {"type": "json_schema", "name": "n"}}, "text.format.schema"),
        ("tools", [{"type": "function"}], "tools[0].name"),
        ("tools", [TOOL, TOOL], "tools"),
        ("tools", [{**TOOL, "parameters": {"type": "array"}}], "tools[0].parameters"),
        ("tools", [TOOL] * 129, "tools"),
        ("tools", ["f"], "tools[0]"),
        ("tool_choice", "sometimes", "tool_choice"),
        ("tool_choice", {"type": "function", "name": "g"}, "tool_choice"),
        ("tool_choice", "required", "tool_choice"),
        ("input", 3, "input"),
        ("input", [], "input"),
        ("input", [3], "input[0]"),
        ("input", [{"role": "user"}], "input[0].content"),
        ("input", [{"role": "tool", "content": ""}], "input[0].role"),
        ("input", [{"role": "user", "content": "", "x": 1}], "input[0].x"),
        ("input", user({"text": ""}), "input[0].content[0]"),
        ("input", user(FAR_IMAGE), "input[0].content[0].image_url"),
        ("input", user(NO_TEXT), "input[0].content[0].file_data"),
        ("input", [{"type": "function_call", "call_id": "c", "name": "f"}], "input[0].arguments"),
        ("input", [{"type": "function_call_output", "call_id": "c", "output": ""}], "input"),
        ("input", [{"role": "user", "content": ""}] * 4097, "input"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: Any, param: str) -> None:
    error = refusal(**{name: value})
    assert isinstance(error, InvalidParameter)
    assert error.param == param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("background", False),
        ("context_management", []),
        ("include", ["reasoning.encrypted_content", "message.input_image.image_url"]),
        ("max_tool_calls", 3),
        ("metadata", {"a": "b"}),
        ("parallel_tool_calls", True),
        ("prompt_cache_key", "k"),
        ("prompt_cache_options", {"mode": "implicit"}),
        ("prompt_cache_retention", "in_memory"),
        ("reasoning", {"summary": "auto", "context": "auto", "mode": "standard"}),
        ("safety_identifier", "u"),
        ("service_tier", "auto"),
        ("store", False),
        ("text", {"format": {"type": "text"}, "verbosity": "medium"}),
        ("tools", []),
        ("tool_choice", "auto"),
        ("top_logprobs", 0),
        ("ttl", 60),
        ("user", "u"),
    ],
)
def test_a_value_that_changes_nothing_is_taken(name: str, value: Any) -> None:
    request = parse(**{name: value})
    assert to_prediction(request) == PredictionConfig()
    assert to_request(request, ()) == to_request(parse(), ())


@pytest.mark.parametrize("name", OPTIONAL)
def test_null_means_left_out(name: str) -> None:
    request = validate_request(ResponseRequest, {**BODY, name: None})
    assert to_prediction(request).model_fields_set == set()


def test_what_is_honoured_becomes_a_prediction_setting() -> None:
    request = parse(
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        min_p=0.1,
        repeat_penalty=1.0,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        seed=3,
        deterministic="strict",
        max_output_tokens=9,
        truncation="auto",
        include=[LOGPROBS],
        top_logprobs=4,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "integer"}}},
    )
    assert to_prediction(request) == PredictionConfig(
        temperature=0.5,
        top_p=0.9,
        top_k=7,
        min_p=0.1,
        repeat_penalty=1.0,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        seed=3,
        deterministic="strict",
        max_tokens=9,
        context_overflow_policy="truncateMiddle",
        logprobs=4,
        structured=JsonOutput(type="json", json_schema={"type": "integer"}),
    )
    disabled = to_prediction(parse(truncation="disabled"))
    assert disabled.context_overflow_policy == "stopAtLimit"
    assert to_prediction(parse(include=[LOGPROBS])).logprobs == 0


def test_a_schema_that_is_none_is_refused_by_name() -> None:
    text = {"format": {"type": "json_schema", "name": "n", "schema": {"const": 2**70}}}
    assert refusal(text=text).param == "text.format.schema"
