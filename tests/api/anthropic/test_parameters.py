"""Every parameter is honoured or refused by name."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from anthropic.types.beta.message_count_tokens_params import (
    MessageCountTokensParams as BetaCountParams,
)
from anthropic.types.beta.message_create_params import MessageCreateParamsStreaming as BetaParams
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsStreaming

from lmrun.api.anthropic.convert import to_prediction
from lmrun.api.anthropic.requests import CountRequest, MessagesRequest
from lmrun.api.validate import validate_request
from lmrun.errors import InvalidParameter, UnsupportedParameter
from lmrun.settings.prediction import PredictionConfig
from lmrun.settings.structured import JsonOutput
from tests.api.anthropic.bodies import BODY, TOOL, USER, parse, refusal

HEADERS = {"betas", "user_profile_id", "workspace_id"}
"""What the client calls parameters and sends as headers."""

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@pytest.mark.parametrize("params", [MessageCreateParamsStreaming, BetaParams])
def test_every_parameter_of_the_client_is_known(params: Any) -> None:
    assert set(typing.get_type_hints(params)) - HEADERS <= set(MessagesRequest.model_fields)


@pytest.mark.parametrize("params", [MessageCountTokensParams, BetaCountParams])
def test_every_parameter_of_counting_is_known(params: Any) -> None:
    assert set(typing.get_type_hints(params)) - HEADERS <= set(CountRequest.model_fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("billing_policy", {"type": "x"}),
        ("compaction", {"type": "summarize"}),
        ("container", "container_1"),
        ("container", {"skills": []}),
        ("context_management", {"edits": [{"type": "clear_tool_uses_20250919"}]}),
        ("context_management", {"edits": [{"type": "clear_thinking_20251015"}]}),
        ("diagnostics", {"previous_message_id": "msg_1"}),
        ("fallback_credit_token", "x"),
        ("fallbacks", "default"),
        ("fallbacks", [{"model": "other"}]),
        ("inference_geo", "us"),
        ("mcp_servers", [{"type": "url", "url": "https://example.com", "name": "x"}]),
        ("output_config.task_budget", {"task_budget": {"type": "tokens", "total": 5}}),
        ("speed", "fast"),
        ("thinking", {"type": "between_tools"}),
        ("thread", {"id": "x"}),
        ("tools[0]", [{"type": "web_search_20250305", "name": "web_search"}]),
        ("tools[0]", [{"type": "bash_20250124", "name": "bash"}]),
        ("tools[0].defer_loading", [{**TOOL, "defer_loading": True}]),
        ("tools[0].allowed_callers", [{**TOOL, "allowed_callers": ["code_execution_20260120"]}]),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(name: str, value: Any) -> None:
    error = refusal(**{name.partition("[")[0].partition(".")[0]: value})
    assert isinstance(error, UnsupportedParameter)
    assert error.param == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", None),
        ("max_tokens", -1),
        ("max_tokens", "5"),
        ("metadata.email", {"email": "a@b.c"}),
        ("model", ""),
        ("messages", []),
        ("messages", "hi"),
        ("messages", [USER] * 4097),
        ("output_config.effort", {"effort": "some"}),
        ("output_config.format.schema", {"format": {"type": "json_schema"}}),
        (
            "output_config.format.schema",
            {"format": {"type": "json_schema", "schema": {"a": 2**70}}},
        ),
        ("output_format.type", {"type": "json", "schema": {}}),
        ("deterministic", True),
        ("service_tier", "priority"),
        ("stop_sequences", ["x"] * 17),
        ("stop_sequences[0]", [""]),
        ("stream", "yes"),
        ("system", 5),
        ("system[0]", [{"type": "image"}]),
        ("temperature", 1000),
        ("temperature", "hot"),
        ("thinking.budget_tokens", {"type": "enabled"}),
        ("thinking.budget_tokens", {"type": "enabled", "budget_tokens": 1023}),
        ("thinking.display", {"type": "adaptive", "display": "updates"}),
        ("thinking", "enabled"),
        ("tools[0].name", [{**TOOL, "name": "a.b"}]),
        ("tools[0].input_schema", [{"name": "a"}]),
        ("tools[0].input_schema", [{**TOOL, "input_schema": {"type": ["object", "null"]}}]),
        ("tools[1].name", [TOOL, TOOL]),
        ("tool_choice", {"type": "any"}),
        ("tool_choice", "auto"),
        ("tool_choice.type", {"type": "sometimes"}),
        ("tool_choice.name", {"type": "tool"}),
        ("top_k", -1),
        ("top_p", 1.5),
        ("unheard_of", 1),
    ],
)
def test_what_is_wrong_is_refused_by_name(name: str, value: Any) -> None:
    error = refusal(**{name.partition("[")[0].partition(".")[0]: value})
    assert error.param is not None
    assert name.startswith(error.param)
    assert error.param.split(".")[0].split("[")[0] == name.split(".")[0].split("[")[0]


@pytest.mark.parametrize(
    "parameters",
    [
        {"cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"}},
        {"context_management": {"edits": []}},
        {
            "context_management": {
                "edits": [{"type": "clear_thinking_20251015", "keep": "all"}],
            }
        },
        {"diagnostics": {"previous_message_id": None}},
        {"mcp_servers": []},
        {"metadata": {"user_id": "u"}},
        {"service_tier": "standard_only"},
        {"speed": "standard"},
        {"tools": [{**TOOL, "type": "custom", "strict": True, "cache_control": {"a": 1}}]},
        {"tools": [{**TOOL, "allowed_callers": ["direct"], "defer_loading": False}]},
        {"tools": [], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        {"thinking": {"type": "adaptive", "display": "summarized"}},
    ],
    ids=str,
)
def test_what_changes_nothing_is_taken(parameters: dict[str, Any]) -> None:
    assert to_prediction(parse(**parameters)) == PredictionConfig(max_tokens=5)


def test_settings_reach_the_engine_and_only_those_that_were_sent() -> None:
    request = parse(
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop_sequences=["a", "b"],
        deterministic="strict",
        stream=True,
    )
    prediction = to_prediction(request)
    assert prediction == PredictionConfig(
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop_strings=("a", "b"),
        deterministic="strict",
    )
    assert prediction.model_fields_set == {
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop_strings",
        "deterministic",
    }


@pytest.mark.parametrize(
    "parameters",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {"output_format": {"type": "json_schema", "schema": SCHEMA}},
    ],
)
def test_a_schema_is_enforced_under_either_name(parameters: dict[str, Any]) -> None:
    prediction = to_prediction(parse(**parameters))
    assert prediction.structured == JsonOutput(type="json", json_schema=SCHEMA)


def test_a_schema_has_one_name_at_a_time() -> None:
    wanted = {"type": "json_schema", "schema": SCHEMA}
    error = refusal(output_format=wanted, output_config={"format": wanted})
    assert (error.param, type(error)) == ("output_format", InvalidParameter)


def test_counting_needs_no_max_tokens() -> None:
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    assert validate_request(CountRequest, body).messages
    with pytest.raises(InvalidParameter, match="max_tokens"):
        validate_request(CountRequest, BODY)
