"""Lark grammars that enforce tool calls, for formats to put together. It knows no single format.

JSON of a schema is compact: `%json` allows no white space that a schema does not ask for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lmrun.chat.formats.base import GRAMMAR_BEGIN
from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.errors import InvalidParameter
from lmrun.settings.structured import MAX_GRAMMAR_BYTES, GrammarOutput

ARGUMENTS = "arguments_{index}"
"""The rule of a tool's arguments, by its place among the tools that may be called."""

_COMBINED = frozenset(
    {
        *("additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames"),
        *("allOf", "anyOf", "oneOf", "not", "$ref", "if", "dependentSchemas", "minProperties"),
    }
)
"""What may speak of properties that a schema does not list."""


def enforce_objects(
    tools: Sequence[Tool],
    choice: ToolChoice,
    *,
    call: str,
    between: str | None,
    markers: Mapping[str, str],
    trigger: str | None,
    arguments: str = "arguments",
) -> GrammarOutput | None:
    """For formats whose calls are objects `{"name": …, "arguments": {…}}`.

    `call`: what one call is, in Lark, where the rule `object` is its object. `between`: what stands
    between two calls; None where the format has one call only. `trigger`: the marker with which the
    first call begins; None: `auto` is not enforced. `arguments`: what the member is called.
    """
    rules = [f"call: {call}", write_choice("object", len(tools))]
    for index, tool in enumerate(tools):
        begin = quote(f'{{"name": {json.dumps(tool.name)}, "{arguments}": ')
        rules.append(f'object_{index}: {begin} {ARGUMENTS.format(index=index)} "}}"')
    rules += write_arguments(tools)
    return make_output(rules, choice, between=between, markers=markers, trigger=trigger)


def make_output(
    rules: Sequence[str],
    choice: ToolChoice,
    *,
    between: str | None,
    markers: Mapping[str, str],
    trigger: str | None,
    around: tuple[str, str] = ("", ""),
) -> GrammarOutput | None:
    """The grammar of one `call` or, where `choice` and the format allow it, several. `rules`:
    those that define `call`. `around`: what stands before the first call and behind the last.
    None for `auto` without a trigger. Raises InvalidParameter for one that would be too large."""
    if choice.mode == "auto" and trigger is None:
        return None
    several = choice.parallel and between is not None
    calls = f"call ({between} call)*" if several else "call"
    calls = f"calls: {around[0]} {calls} {around[1]}"
    grammar = GRAMMAR_BEGIN + "\n".join([calls, *rules]) + "\n"
    if len(grammar) > MAX_GRAMMAR_BYTES:
        raise InvalidParameter(
            f"The tools are too large to be enforced: together they make {len(grammar)} characters "
            f"of grammar, the limit is {MAX_GRAMMAR_BYTES}.",
            param="tools",
        )
    return GrammarOutput(
        type="lark",
        grammar=grammar,
        triggers=(trigger,) if trigger is not None and choice.mode == "auto" else (),
        markers=dict(markers),
        best_effort=choice.mode == "auto",
    )


def write_choice(rule: str, count: int) -> str:
    """A rule that is one of `rule_0`, `rule_1` and so on."""
    return f"{rule}: " + " | ".join(f"{rule}_{index}" for index in range(count))


def write_arguments(tools: Sequence[Tool]) -> list[str]:
    """A rule for each tool's arguments: JSON that satisfies its schema."""
    return [
        f"{ARGUMENTS.format(index=index)}: {write_json(to_object_schema(tool.parameters))}"
        for index, tool in enumerate(tools)
    ]


def write_json(schema: Any) -> str:
    """JSON that satisfies `schema`, as part of a rule."""
    return f"%json {json.dumps(schema)}"


def to_object_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments, which are an object even where it does not say so.

    Where it lists properties and says nothing of others, there are no others: the schema would let
    a model invent them, and no tool expects that.
    """
    schema = {"type": "object", **parameters}
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not _COMBINED.isdisjoint(schema):
        return schema
    if set(schema.get("required", ())) <= set(properties):
        schema["additionalProperties"] = False
    return schema


def quote(text: str) -> str:
    """`text` as a Lark string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
