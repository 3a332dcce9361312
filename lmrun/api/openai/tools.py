"""Tools in OpenAI's notation, and in ours. It knows no message and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from lmrun.api import tool_choice
from lmrun.api.fields import SAYS_ALL, UNSUPPORTED
from lmrun.api.openai.response_format import Flag
from lmrun.api.tool_choice import MAX_TOOLS, MODES, ToolName, Wanted
from lmrun.api.tool_schema import ArgumentsSchema
from lmrun.chat.messages import Tool
from lmrun.chat.request import ToolChoice
from lmrun.settings.base import Settings


class FunctionDefinition(Settings):
    """A function that the model may call. `strict` changes nothing where a call is enforced."""

    name: ToolName
    description: Annotated[str, Field(max_length=16_384)] | None = None
    parameters: ArgumentsSchema | None = Field(
        None, description="The JSON schema of the arguments: an object. Left out: no arguments."
    )
    strict: Flag | None = None


def _require_function(value: Any) -> Any:
    if isinstance(value, str) and value != "function":
        raise PydanticCustomError(
            UNSUPPORTED,
            "{kind} is not supported; only function is",
            {"kind": value[:40]},
        )
    return value


FunctionType = Annotated[Literal["function"], BeforeValidator(_require_function)]


class ToolDefinition(Settings):
    """A tool: a function."""

    type: FunctionType
    function: FunctionDefinition


class NamedFunction(Settings):
    name: ToolName


class NamedTool(Settings):
    """The one function to call."""

    type: FunctionType
    function: NamedFunction


class AllowedTools(Settings):
    mode: Literal["auto", "required"]
    tools: Annotated[tuple[NamedTool, ...], Field(min_length=1, max_length=MAX_TOOLS, strict=False)]


class AllowedToolsChoice(Settings):
    """Only some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _check_mode(value: Any) -> Any:
    if not isinstance(value, Mapping) and value not in MODES:
        raise PydanticCustomError(
            SAYS_ALL,
            'it must be "none", "auto", "required", or name a function as '
            '{"type": "function", "function": {"name": "…"}}',
        )
    return value


def _find_form(value: Any) -> str:
    if isinstance(value, str):
        return "mode"
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return "allowed_tools" if kind == "allowed_tools" else "function"


Choice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[NamedTool, Tag("function")]
    | Annotated[AllowedToolsChoice, Tag("allowed_tools")],
    Discriminator(_find_form),
    BeforeValidator(_check_mode),
]


def to_tools(definitions: Sequence[ToolDefinition]) -> tuple[Tool, ...]:
    """The functions, each name once. Raises InvalidParameter."""
    return tool_choice.to_tools([it.function for it in definitions], "function.name")


def to_choice(
    choice: Choice | None, tools: Sequence[Tool], *, parallel: bool
) -> tuple[ToolChoice, tuple[Tool, ...]]:
    """What may be called, and the tools that the model hears of.

    Raises InvalidParameter for a choice that these tools do not have.
    """
    return tool_choice.to_choice(_read(choice), tools, parallel=parallel)


def _read(choice: Choice | None) -> Wanted:
    if isinstance(choice, AllowedToolsChoice):
        names = tuple(named.function.name for named in choice.allowed_tools.tools)
        return Wanted(choice.allowed_tools.mode, among=names)
    if isinstance(choice, NamedTool):
        return Wanted("required", choice.function.name)
    return Wanted(choice or "auto")
