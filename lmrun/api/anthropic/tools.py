"""Tools in Anthropic's notation, and in ours. It knows no message and no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from lmrun.api.anthropic.blocks.calls import ToolName
from lmrun.api.anthropic.blocks.content import CacheControl
from lmrun.api.anthropic.blocks.tagged import Tagged
from lmrun.api.fields import UNSUPPORTED, only
from lmrun.api.tool_schema import ArgumentsSchema
from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.errors import InvalidParameter
from lmrun.settings.base import Settings

MAX_TOOLS = 512
MAX_EXAMPLES = 64

_SHOWN = 60


def _require_custom(value: Any) -> Any:
    """Tools with a type of their own have no schema in the request: Anthropic's models know it."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if isinstance(kind, str) and kind != "custom":
        raise PydanticCustomError(
            UNSUPPORTED,
            "the tool's type {kind} is not supported: Anthropic's servers or models know what it "
            "means; send a tool with an `input_schema`",
            {"kind": repr(kind[:_SHOWN])},
        )
    return value


class ToolDefinition(Settings):
    """A tool that the client runs. `strict` changes nothing: where a call is enforced, its schema
    is, too."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: Annotated[str, Field(max_length=65_536)] | None = None
    input_schema: ArgumentsSchema = Field(description="The JSON schema of the input: an object.")
    input_examples: Annotated[
        tuple[dict[str, Any], ...] | None, Field(max_length=MAX_EXAMPLES, strict=False)
    ] = Field(None, description="Shown to the model behind the description.")
    strict: bool | None = None
    eager_input_streaming: bool | None = Field(
        None, description="Whether a stream gives the input as it is written, which is the default."
    )
    cache_control: CacheControl = None
    defer_loading: Annotated[Any, only(False)] = None
    allowed_callers: Annotated[Any, only(["direct"])] = None


class AutoChoice(Settings):
    """The model decides."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Settings):
    """Some tool is called."""

    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Settings):
    """This tool is called."""

    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool | None = None


class NoChoice(Settings):
    """No tool is called."""

    type: Literal["none"]


Choice = Annotated[
    AutoChoice | AnyChoice | NamedChoice | NoChoice,
    Tagged({"auto": AutoChoice, "any": AnyChoice, "tool": NamedChoice, "none": NoChoice}),
]

Tools = Annotated[
    tuple[Annotated[ToolDefinition, BeforeValidator(_require_custom)], ...],
    Field(max_length=MAX_TOOLS, strict=False),
]


def to_tools(definitions: Sequence[ToolDefinition]) -> tuple[Tool, ...]:
    """The tools, each name once. Raises InvalidParameter."""
    names: set[str] = set()
    for index, definition in enumerate(definitions):
        if definition.name in names:
            where = f"tools[{index}].name"
            raise InvalidParameter(f"`{where}`: {definition.name!r} is there already.", param=where)
        names.add(definition.name)
    return tuple(
        Tool(definition.name, _describe(definition), definition.input_schema)
        for definition in definitions
    )


def to_choice(choice: Choice | None, tools: Sequence[Tool]) -> ToolChoice:
    """What may be called. Raises InvalidParameter for a choice that these tools do not have."""
    if isinstance(choice, NoChoice):
        return ToolChoice("none")
    if choice is None:
        return ToolChoice()
    parallel = not choice.disable_parallel_tool_use
    if isinstance(choice, AutoChoice):
        return ToolChoice("auto", parallel=parallel)
    if not tools:
        raise InvalidParameter(
            "`tool_choice`: a call is wanted, but there are no `tools`.", param="tool_choice"
        )
    if isinstance(choice, AnyChoice):
        return ToolChoice("required", parallel=parallel)
    if choice.name not in [tool.name for tool in tools]:
        raise InvalidParameter(
            f"`tool_choice.name`: `tools` has no {choice.name!r}.", param="tool_choice.name"
        )
    return ToolChoice("required", choice.name, parallel=parallel)


def find_held(definitions: Sequence[ToolDefinition]) -> frozenset[str]:
    """The tools whose input a stream gives only once it is complete."""
    return frozenset(it.name for it in definitions if it.eager_input_streaming is False)


def _describe(definition: ToolDefinition) -> str | None:
    if not definition.input_examples:
        return definition.description
    examples = [json.dumps(example, ensure_ascii=False) for example in definition.input_examples]
    return "\n".join([definition.description or "", "Examples of its input:", *examples]).strip()
