"""What a format's grammar derives is what its parser reads: calls whose arguments satisfy their
schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import jsonschema
import pytest

from lmrun.chat.formats.base import GRAMMAR_BEGIN, ToolFormat
from lmrun.chat.formats.choose import FORMATS
from lmrun.chat.formats.default import Default
from lmrun.chat.messages import Tool, ToolCall
from lmrun.chat.request import ToolChoice
from lmrun.errors import InvalidParameter
from tests.chat.formats.derivation import Derivation
from tests.chat.recordings import read
from tests.chat.toolbox import TOOLS, make_tool

OFFERED = [TOOLS[name] for name in ("get_weather", "get_time", "search", "add")]
ALL = (*FORMATS, Default())

NOT_LAZY = {"functionary_recipients", "llama"}
"""Formats whose calls begin as any text may."""

each_format = pytest.mark.parametrize("format", ALL, ids=[each.name for each in ALL])


def read_calls(format: ToolFormat, tools: Sequence[Tool], text: str) -> tuple[ToolCall, ...]:
    """The calls of an answer that must be nothing but calls, all of them complete."""
    answer = read(format.make_parser(tools), [text])
    assert answer.text == ""
    assert answer.end is not None and answer.end.stop_reason == "toolCalls"
    return answer.tool_calls


def check_arguments(calls: Iterable[ToolCall], tools: Sequence[Tool]) -> None:
    parameters = {tool.name: tool.parameters for tool in tools}
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), parameters[call.name])


@each_format
@pytest.mark.parametrize("seed", range(6))
def test_a_required_call_satisfies_its_schema(format: ToolFormat, seed: int) -> None:
    """Whether its markers are control tokens or text."""
    output = format.make_grammar(OFFERED, ToolChoice("required"))
    assert output is not None and output.grammar.startswith(GRAMMAR_BEGIN) and not output.triggers
    text = Derivation(output, has_control_tokens=seed < 3).derive(seed)
    calls = read_calls(format, OFFERED, text)
    assert calls, text
    check_arguments(calls, OFFERED)


@each_format
@pytest.mark.parametrize("seed", range(3))
def test_without_parallel_calls_there_is_one(format: ToolFormat, seed: int) -> None:
    output = format.make_grammar(OFFERED, ToolChoice("required", parallel=False))
    assert output is not None
    text = Derivation(output, has_control_tokens=True).derive(seed)
    (call,) = read_calls(format, OFFERED, text)
    check_arguments([call], OFFERED)


@each_format
def test_a_lazy_grammar_begins_with_its_trigger(format: ToolFormat) -> None:
    output = format.make_grammar(OFFERED, ToolChoice("auto"))
    if output is None:
        assert format.name in NOT_LAZY
        return
    derivation = Derivation(output, has_control_tokens=True)
    assert output.triggers
    for trigger in output.triggers:
        tokens = derivation.vocabulary.split(trigger)
        assert derivation.make_matcher().consume_tokens(tokens), trigger
    text = derivation.derive(0)
    assert text.startswith(output.triggers)
    check_arguments(read_calls(format, OFFERED, text), OFFERED)


@each_format
def test_schemas_of_all_kinds_are_enforced_or_refused_by_name(format: ToolFormat) -> None:
    """Constraints on text, alternatives, references, and no properties at all."""
    kinds: dict[str, Any] = {
        "enumeration": {"type": "string", "enum": ["a", "b c"]},
        "optional": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "bounded": {"type": "string", "minLength": 2, "maxLength": 5},
        "pattern": {"type": "string", "pattern": "^[a-z]+$"},
        "numbers": {"type": "array", "items": {"type": "integer", "minimum": 3}, "maxItems": 2},
        "anything": {},
        "reference": {"$ref": "#/$defs/point"},
    }
    for name, schema in kinds.items():
        tool = make_tool(f"take_{name}", ("value",), value=schema)
        point = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
        tools = [Tool(tool.name, None, {**tool.parameters, "$defs": {"point": point}})]
        try:
            output = format.make_grammar(tools, ToolChoice("required"))
        except InvalidParameter as error:
            assert f"take_{name}" in error.message
            continue
        assert output is not None
        text = Derivation(output, has_control_tokens=True).derive(1)
        check_arguments(read_calls(format, tools, text), tools)
